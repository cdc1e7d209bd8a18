//go:build !linux

package layer

import (
	"errors"
	"iter"
	"os"
)

// FromOverlay yields an error: only Linux has overlay mounts.
func FromOverlay(string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		yield(Entry{}, errors.New("read overlay: only Linux has overlay mounts: build on Linux"))
	}
}

func markOpaque(*os.Root) error { return errors.ErrUnsupported }

func markDeleted(*os.Root, string) error { return errors.ErrUnsupported }
