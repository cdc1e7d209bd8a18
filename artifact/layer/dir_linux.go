package layer

import (
	"os"

	"golang.org/x/sys/unix"
)

// openBeneath opens a file without leaving dir (openat2(2), Linux 5.6). When it cannot, for whatever reason, os.Root
// finds out why.
func openBeneath(dir *os.File, name string) (*os.File, bool) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, false
	}
	return os.NewFile(uintptr(fd), name), true
}
