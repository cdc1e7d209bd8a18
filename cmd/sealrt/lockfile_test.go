package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/builder/remote"
)

func TestLockThatCannotBeWrittenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "Kubefile.lock")
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeLock(name, &remote.Lock{}); err == nil {
		t.Error("a folder was written over")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("the folder has %v, %v", list, err)
	}
}
