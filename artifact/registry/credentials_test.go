package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// TestCredentialsAreFoundWhereOtherToolsKeepThem is about the files of podman and docker, in which an entry may also be for
// a part of a registry, or name a helper.
func TestCredentialsAreFoundWhereOtherToolsKeepThem(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	f.Set(withBasic("bob", "secret"))
	const good, bad = "Ym9iOnNlY3JldA==", "Ym9iOndyb25n" // bob:secret, bob:wrong
	entry := func(key, auth string) string { return fmt.Sprintf("%q:{\"auth\":%q}", f.Host()+key, auth) }
	for _, tc := range []struct {
		name  string
		files map[string]string // below the user's directories
		works bool
	}{
		{"podman", map[string]string{"run/containers/auth.json": `{"auths":{` + entry("", good) + `}}`}, true},
		{"podman, for good", map[string]string{"config/containers/auth.json": `{"auths":{` + entry("", good) + `}}`}, true},
		{"docker", map[string]string{"docker/config.json": `{"auths":{` + entry("", good) + `}}`}, true},
		{"docker, old form", map[string]string{"docker/config.json": fmt.Sprintf(`{"auths":{"http://%s/v1/":{"auth":%q}}}`, f.Host(), good)}, true},
		{"podman before docker", map[string]string{
			"run/containers/auth.json": `{"auths":{` + entry("", good) + `}}`, "docker/config.json": `{"auths":{` + entry("", bad) + `}}`,
		}, true},
		{"one team", map[string]string{"run/containers/auth.json": `{"auths":{` + entry("", bad) + "," + entry("/team", good) + `}}`}, true},
		{"another team", map[string]string{"run/containers/auth.json": `{"auths":{` + entry("", bad) + "," + entry("/other", good) + `}}`}, false},
		{"a helper for one registry", map[string]string{
			"docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, f.Host()),
			"bin/kept":           fmt.Sprintf(`{"ServerURL":%q,"Username":"bob","Secret":"secret"}`, f.Host()),
		}, true},
		{"nothing", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, sub := range []string{"run", "config", "docker", "bin"} {
				artifacttest.Check(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
			}
			artifacttest.Check(t, os.WriteFile(filepath.Join(dir, "bin/docker-credential-test"), []byte(helperScript), 0o755))
			for name, content := range tc.files {
				artifacttest.Check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
				artifacttest.Check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			}
			t.Setenv("HOME", dir)
			t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
			t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
			t.Setenv("DOCKER_CONFIG", filepath.Join(dir, "docker"))
			t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
			err := pushAs(t, f, Options{DockerConfig: filepath.Join(dir, "docker/config.json")})
			if (err == nil) != tc.works {
				t.Errorf("error %v, should work: %v", err, tc.works)
			}
		})
	}
}

// pushAs pushes an image to the repository of a team, with the credentials that there are.
func pushAs(t *testing.T, f *artifacttest.FakeRegistry, o Options) error {
	t.Helper()
	src := registrytest.Store(t)
	ref := artifacttest.MustRef(t, "app:v1")
	artifacttest.Check(t, src.Tag(t.Context(), ref, artifacttest.AddImage(t, src, "amd64", []string{"a", t.Name()})))
	_, err := artifact.Copy(t.Context(), fastRegistry(o), f.Ref(t, "team/app:v1"), src, ref, artifact.CopyOptions{})
	return err
}
