package registry

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// helperScript is a docker-credential program that keeps one secret in a file beside it.
const helperScript = `#!/bin/sh
file=$(dirname "$0")/kept
case $1 in
store) cat > "$file" ;;
get)
	registry=$(cat)
	if [ -e "$file" ] && grep -q "\"$registry\"" "$file"; then cat "$file"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$file" ;;
esac
`

func TestCredentialsOfDockersHelper(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	f.Set(withBasic("bob", "secret"))
	dir := t.TempDir()
	artifacttest.Check(t, os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helperScript), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	file := filepath.Join(dir, "config.json")
	artifacttest.Check(t, os.WriteFile(file, []byte(`{"credsStore":"test","detachKeys":"ctrl-q"}`), 0o600))
	o := Options{DockerConfig: file}

	_, err := fastRegistry(o).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, "no credentials were sent", "docker-credential-test", file)
	if _, err := fastRegistry(o).Login(t.Context(), f.Host(), "bob", "wrong"); !errors.Is(err, artifact.ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err == nil {
		t.Error("a refused login was kept")
	}
	where, err := fastRegistry(o).Login(t.Context(), "https://"+f.Host()+"/v2/", "bob", "secret")
	artifacttest.Check(t, err)
	if !strings.Contains(where, "docker-credential-test") {
		t.Errorf("kept in %s", where)
	}
	if b, _ := os.ReadFile(file); strings.Contains(string(b), f.Host()) {
		t.Errorf("the secret is in the file too: %s", b)
	}
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, fastRegistry(o), f.Ref(t, "a:v1"), src, ref)

	artifacttest.Check(t, fastRegistry(o).Logout(t.Context(), f.Host()))
	if err := fastRegistry(o).Logout(t.Context(), f.Host()); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("second logout: %v", err)
	}

	// What the file says of one registry goes first, and a helper that is missing is named.
	artifacttest.Check(t, os.WriteFile(file, []byte(`{"credsStore":"gone"}`), 0o600))
	_, err = fastRegistry(o).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, "docker-credential-gone", "executable file not found", file)
	artifacttest.Check(t, os.WriteFile(file, []byte(`{"credsStore":"gone","auths":{"`+f.Host()+`":{"auth":"Ym9iOnNlY3JldA=="}}}`), 0o600))
	_, err = fastRegistry(Options{AuthFile: file}).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.Check(t, err)
	artifacttest.Check(t, os.WriteFile(file, []byte(`{"credsStore":"../evil"}`), 0o600))
	_, err = fastRegistry(o).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, "docker-credential-NAME")
}

func TestRegistryName(t *testing.T) {
	for in, want := range map[string]string{
		"registry.example.com":         "registry.example.com",
		"https://registry.example.com": "registry.example.com",
		"http://10.0.0.1:5000/":        "10.0.0.1:5000",
		"10.0.0.1:5000/v2/":            "10.0.0.1:5000",
		"https://index.docker.io/v1/":  "docker.io",
		"[::1]:5000":                   "[::1]:5000",
		"":                             "",
		"registry.example.com/team":    "",
		"me@registry.example.com":      "",
	} {
		got, err := registryName(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
