package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
)

// What an included file has that is not understood must not make all of it useless.
func TestIncludedFilesAreReadAsTheFileItself(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := put("config", "Include *.conf\nHost b\n Include below\nHost *\n HostName all\n")
	put("1.conf", "Match exec \"true\"\n HostName not-this\nHost a\n HostName of-a\n")
	put("below", "HostName of-b\n")
	for name, want := range map[string]string{"a": "of-a", "b": "of-b", "c": "all"} {
		got, err := host.HostName(host.SSHOptions{Address: host.Address{Host: name}, Config: config, Home: dir})
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
	}
	put("below", "Match exec \"true\"\n HostName not-this\n")
	_, err := host.HostName(host.SSHOptions{Address: host.Address{Host: "a"}, Config: config, Home: dir})
	if err == nil || !strings.Contains(err.Error(), config+":3: Error parsing Include directive") {
		t.Errorf("got %v, want the line of the Include", err)
	}
}
