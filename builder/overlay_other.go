//go:build !linux

package builder

import "github.com/sealrt/sealrt/builder/sandbox"

// onLinux says whether RUN commands can run here at all.
const onLinux = false

// Only RUN needs overlays, and it needs Linux.
func markOpaque(string) error { return sandbox.ErrUnsupported }

func markDeleted(string) error { return sandbox.ErrUnsupported }

func hasCapabilities(string) bool { return false }
