package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
)

func TestHostNameIsWhatTheConfigurationCallsTheMachine(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("Host alias\n  HostName 192.0.2.7\nHost *.corp\n  HostName %h.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"alias": "192.0.2.7", "a.corp": "a.corp.example.com", "plain": "plain"} {
		got, err := host.HostName(host.SSHOptions{Address: host.Address{Host: given}, Config: config})
		if err != nil || got != want {
			t.Errorf("%s is called %q, want %q (%v)", given, got, want, err)
		}
	}
}
