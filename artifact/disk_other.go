//go:build !linux

package artifact

import "golang.org/x/sys/unix"

// syncStore makes everything written safe on disk, in one go.
func syncStore(string) error { return unix.Sync() }

// bootID returns what is another string after each boot of the machine.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }
