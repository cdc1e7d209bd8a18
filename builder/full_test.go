package builder

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/sealrt/sealrt/builder/sandbox"
)

func TestFullDiskSaysWhatToDoNext(t *testing.T) {
	trees, err := openTrees(newStore(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = trees.make("tree", func(tree string) error {
		return fmt.Errorf("extract layer: %w", &os.PathError{Op: "write", Path: tree, Err: syscall.ENOSPC})
	})
	if err == nil || !strings.Contains(err.Error(), "--root") || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("unpacking on a full disk: %v", err)
	}
	if left, err := os.ReadDir(trees.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCommandThatFilledTheDiskSaysSo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a file system that is always full")
	}
	l := &local{store: newStore(t)}
	exit := &sandbox.ExitError{Code: 1}
	if err := l.blameSpace(exit); err != error(exit) {
		t.Errorf("with room on the disk: %v", err)
	}
	if err := os.RemoveAll(l.store.Root()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc", l.store.Root()); err != nil { // which has no room
		t.Fatal(err)
	}
	err := l.blameSpace(exit)
	if !errors.Is(err, exit) || !strings.Contains(err.Error(), "--root") {
		t.Errorf("on a full disk: %v", err)
	}
}
