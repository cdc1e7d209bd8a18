package builder

import (
	"errors"

	"golang.org/x/sys/unix"
)

// onLinux says whether RUN commands can run here at all.
const onLinux = true

// markOpaque hides what lower directories have in dir (Linux Documentation/filesystems/overlayfs.rst, "whiteouts and
// opaque directories"). Where this process may not set root's attribute, the sandbox mounts with the user's. It must
// be one of them only: a mount that uses the other takes it for an attribute like any, and copies it up.
func markOpaque(dir string) error {
	err := unix.Lsetxattr(dir, "trusted.overlay.opaque", []byte("y"), 0)
	if errors.Is(err, unix.EPERM) {
		err = unix.Lsetxattr(dir, "user.overlay.opaque", []byte("y"), 0)
	}
	return err
}

// markDeleted hides what lower directories have at name.
func markDeleted(name string) error {
	err := unix.Mknod(name, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil // the layer replaces what it deletes
	}
	return err
}

// hasCapabilities says whether a file gives who runs it capabilities (capabilities(7)).
func hasCapabilities(name string) bool {
	n, err := unix.Lgetxattr(name, "security.capability", nil)
	return err == nil && n > 0
}
