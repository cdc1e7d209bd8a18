package layer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// setCapability gives f the file capabilities of value (capabilities(7)). A file system without attributes goes without.
func setCapability(f *os.File, value string) error {
	err := unix.Fsetxattr(int(f.Fd()), "security.capability", []byte(value), 0)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
