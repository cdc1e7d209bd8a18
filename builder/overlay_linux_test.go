package builder

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCapabilitiesOfAFileAreNoticed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ping")
	if err := os.WriteFile(name, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if hasCapabilities(name) {
		t.Error("a new file has capabilities")
	}
	// cap_net_raw+ep, in the form of version 2 (struct vfs_cap_data of linux/capability.h)
	value := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(name, "security.capability", value, 0); err != nil {
		t.Skipf("this user or file system cannot give files capabilities: %v", err)
	}
	if !hasCapabilities(name) {
		t.Error("capabilities of a file are not noticed")
	}
}
