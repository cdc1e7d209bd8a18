//go:build !linux

package layer

import "os"

// setCapability does nothing: only Linux has file capabilities.
func setCapability(*os.File, string) error { return nil }
