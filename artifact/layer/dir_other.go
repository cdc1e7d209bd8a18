//go:build !linux

package layer

import (
	"io"
	"os"
)

// openBeneath never opens a file: os.Root does.
func openBeneath(*os.File, string) (*os.File, bool) { return nil, false }

// contentBeneath never opens a file: os.Root does.
func contentBeneath(*os.File, string) (io.ReadCloser, bool) { return nil, false }
