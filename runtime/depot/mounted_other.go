//go:build !linux

package depot

import "errors"

// Hosts run Linux: this is for clients, which only list blobs.
func mounted(string) bool { return false }

func detach(string) error { return errors.ErrUnsupported }

func syncFileSystem(string) error { return nil }
