package mount

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestAStoreThatCannotBeUsedIsToldWithTheWayOut(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EROFS:  "read-only file system: choose another place with --root",
		syscall.EACCES: "permission denied: run as root, or choose another place with --root",
		syscall.EIO:    "input/output error",
	} {
		err := notOurs(&os.PathError{Op: "open", Path: "lock", Err: cause})
		if !errors.Is(err, cause) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error %v, want one that ends in %q", err, want)
		}
	}
}
