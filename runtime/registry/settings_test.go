package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), SettingsFile)
	want := Settings{Cluster: "c", Host: "h", Port: 5555, Listen: "10.0.0.1:5557"}
	text, err := want.Format()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSettings(file); err != nil || got != want || !got.Master() {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "{", `{"port": 0}`, `{"port": 70000}`, `{"port": 1, "prot": 2}`} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSettings(file); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestConfigOfAnImage(t *testing.T) {
	tests := map[string]struct {
		want Config
		err  string
	}{
		"":                             {},
		"# nothing\n":                  {},
		"port: 5000\nupstream: true\n": {want: Config{Port: 5000, Upstream: true}},
		"masterPort: 1\n":              {want: Config{MasterPort: 1}},
		"port: 5000\nstorage: /data\n": {err: "line 2: field storage not found"},
		"port: x\n":                    {err: "line 1"},
		"port: -1\n":                   {err: "-1 is no port"},
		"port: [\n":                    {err: "line"},
	}
	for text, tt := range tests {
		got, err := ParseConfig("etc/registry_config.yml", []byte(text))
		if (err != nil) != (tt.err != "") || err == nil && got != tt.want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.err) || !strings.HasPrefix(err.Error(), "etc/registry_config.yml: ")) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
