//go:build !linux

package builder

import "github.com/sealrt/sealrt/builder/sandbox"

// Only RUN needs overlays, and it needs Linux.
func markOpaque(string) error { return sandbox.ErrUnsupported }

func markDeleted(string) error { return sandbox.ErrUnsupported }
