package depot

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/sealrt/sealrt/artifact/mount"
)

// TestMain gives the tests a mount namespace of their own, and is the process
// that is killed while it adopts.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DEPOT_TEST_ADOPT"); dir != "" {
		fmt.Fprintln(os.Stderr, adoptUntil(host{dir, mode(os.Getenv("DEPOT_TEST_MODE"))}, os.Getenv("DEPOT_TEST_STAGE")))
		os.Exit(1)
	}
	if os.Getenv("DEPOT_TEST_PRIVATE") != "" || mount.Usable() != nil {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), "DEPOT_TEST_PRIVATE=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end is the signal
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// adoptUntil adopts what standard input lists and kills this process at a
// stage.
func adoptUntil(h host, stage string) error {
	var l Listing
	if err := json.NewDecoder(os.Stdin).Decode(&l); err != nil {
		return err
	}
	d, err := h.depot()
	if err != nil {
		return err
	}
	calls := 0
	d.reached = func(s string) {
		if s == "unpacking" {
			calls++
			s = fmt.Sprint(s, " ", calls)
		}
		if s == stage {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	_, err = d.Adopt(context.Background(), l)
	return fmt.Errorf("it went on to the end: %w", err)
}
