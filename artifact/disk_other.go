//go:build !linux

package artifact

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncStore makes everything written safe on disk, in one go.
func syncStore(string) error { return unix.Sync() }

// startWriteback does nothing: the kernel decides.
func startWriteback(*os.File, int64, int64) {}

// bootID returns what is another string after each boot of the machine.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }
