//go:build !linux

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncStore makes everything written safe on disk, in one go.
func syncStore(string) error { return unix.Sync() }

// syncsWhole says no: sync only begins to write.
func syncsWhole(string) bool { return false }

// exchange gives the first file the name of the second.
func exchange(a, b string) error { return os.Rename(a, b) }

// bootID returns what is another string after each boot of the machine.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }
