//go:build !linux

package layer

import "os"

// openBeneath never opens a file: os.Root does.
func openBeneath(*os.File, string) (*os.File, bool) { return nil, false }
