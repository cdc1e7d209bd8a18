//go:build !linux

package layer

import "testing"

func owners(t *testing.T, _ string) map[string][2]int {
	t.Skip("owners are compared on Linux")
	return nil
}

func capability(*testing.T, string) string { return "" }

func TestFromOverlayIsAnError(t *testing.T) {
	if err := lastError(FromOverlay(t.TempDir())); err == nil {
		t.Error("no error")
	}
}
