package builder

import "golang.org/x/sys/unix"

// onLinux says whether RUN commands can run here at all.
const onLinux = true

// hasCapabilities says whether a file gives who runs it capabilities (capabilities(7)).
func hasCapabilities(name string) bool {
	n, err := unix.Lgetxattr(name, "security.capability", nil)
	return err == nil && n > 0
}
