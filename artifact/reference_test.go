package artifact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestParseReference(t *testing.T) {
	sha := "sha256:" + strings.Repeat("a", 64)
	type want struct{ Full, Familiar, Domain, Path, Tag, Object string }
	for in, w := range map[string]want{
		"k3s":                          {"docker.io/library/k3s:latest", "k3s:latest", "docker.io", "library/k3s", "latest", "latest"},
		"k3s:v1.25.3":                  {"docker.io/library/k3s:v1.25.3", "k3s:v1.25.3", "docker.io", "library/k3s", "v1.25.3", "v1.25.3"},
		"index.docker.io/a/b":          {"docker.io/a/b:latest", "a/b:latest", "docker.io", "a/b", "latest", "latest"},
		"localhost:5000/k3s:v1":        {"localhost:5000/k3s:v1", "localhost:5000/k3s:v1", "localhost:5000", "k3s", "v1", "v1"},
		"registry.k8s.io/pause@" + sha: {"registry.k8s.io/pause@" + sha, "registry.k8s.io/pause@" + sha, "registry.k8s.io", "pause", "", sha},
		"pause:3.9@" + sha:             {"docker.io/library/pause:3.9@" + sha, "pause:3.9@" + sha, "docker.io", "library/pause", "3.9", sha},
		"[::1]:5000/a:b":               {"[::1]:5000/a:b", "[::1]:5000/a:b", "[::1]:5000", "a", "b", "b"},
	} {
		r, err := artifact.ParseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(w, want{r.String(), r.Familiar(), r.Domain(), r.Path(), r.Tag(), r.Object()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
		for _, s := range []string{r.String(), r.Familiar()} {
			if again, err := artifact.ParseReference(s); err != nil || again != r {
				t.Errorf("%s: read back from %s as %v, %v", in, s, again, err)
			}
		}
	}
	for _, bad := range []string{"", "K3s:v1", "a b", "k3s:", "k3s@sha256:12", "a@sha512:" + strings.Repeat("a", 128), ":v1"} {
		if r, err := artifact.ParseReference(bad); err == nil {
			t.Errorf("%q was read as %s", bad, r)
		}
	}
	for bad, want := range map[string]string{
		"https://registry.example.com/k3s:v1":  "leave out https://",
		"ko://github.com/team/app/cmd/web":     "run `ko resolve`",
		"docker://registry.example.com/k3s:v1": "write registry.example.com/k3s:v1",
		"127.0.0.1:5000":                       "registry without a repository",
		"localhost:5000":                       "registry without a repository",
		"10.0.0.1":                             "registry without a repository",
	} {
		_, err := artifact.ParseReference(bad)
		artifacttest.WantError(t, err, bad, want)
	}
}

func TestReferenceInJSON(t *testing.T) {
	in := map[string]artifact.Reference{"image": artifacttest.MustRef(t, "k3s:v1")}
	b, err := json.Marshal(in)
	artifacttest.Check(t, err)
	if string(b) != `{"image":"docker.io/library/k3s:v1"}` {
		t.Errorf("written as %s", b)
	}
	var out map[string]artifact.Reference
	artifacttest.Check(t, json.Unmarshal(b, &out))
	if out["image"] != in["image"] {
		t.Errorf("read back as %v", out)
	}
}

func TestKindOf(t *testing.T) {
	labels := func(kv ...string) *v1.ConfigFile {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return &v1.ConfigFile{Architecture: "amd64", Config: v1.Config{Labels: m}}
	}
	for _, tc := range []struct {
		name string
		cfg  *v1.ConfigFile
		meta artifact.Metadata
		want artifact.Kind
		err  string
	}{
		{"no labels is an app", labels(), artifact.Metadata{}, artifact.Kind{artifact.TypeApp, "", "", "amd64"}, ""},
		{"labels", labels(artifact.LabelType, "rootfs", artifact.LabelDistro, "k3s", artifact.LabelDistroVersion, "v1.25.3"), artifact.Metadata{}, artifact.Kind{artifact.TypeRootfs, "k3s", "v1.25.3", "amd64"}, ""},
		{"a distro alone is a rootfs", labels(artifact.LabelDistro, "k0s"), artifact.Metadata{}, artifact.Kind{artifact.TypeRootfs, "k0s", "", "amd64"}, ""},
		{"a patch stays one", labels(artifact.LabelType, "patch"), artifact.Metadata{Distro: "k3s"}, artifact.Kind{artifact.TypePatch, "k3s", "", "amd64"}, ""},
		{"metadata alone", labels(), artifact.Metadata{"k3s", "v1", "x86_64"}, artifact.Kind{artifact.TypeRootfs, "k3s", "v1", "amd64"}, ""},
		{"the longer version", labels(artifact.LabelDistroVersion, "v1.25.3"), artifact.Metadata{Version: "v1.25.3+k3s1"}, artifact.Kind{artifact.TypeApp, "", "v1.25.3+k3s1", "amd64"}, ""},
		{"versions differ", labels(artifact.LabelDistroVersion, "v1.25.3"), artifact.Metadata{Version: "v1.26.0"}, artifact.Kind{}, "v1.26.0"},
		{"distros differ", labels(artifact.LabelDistro, "k3s"), artifact.Metadata{Distro: "k0s"}, artifact.Kind{}, "k0s"},
		{"architectures differ", labels(), artifact.Metadata{Arch: "aarch64"}, artifact.Kind{}, "aarch64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := artifact.KindOf(tc.cfg).Merge(tc.meta)
			if tc.err != "" {
				artifacttest.WantError(t, err, tc.err)
			} else if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSameVersion(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"v1.25.3", "v1.25.3+k3s1", true}, {"1.25.3+k3s1", "v1.25.3", true}, {"v1.25.3+k3s1", "v1.25.3+k3s2", false},
		{"v1.25.3", "v1.25.30", false}, {"v1.25.3+k3s1", "v1.25.3+k3s1", true},
	} {
		if got := artifact.SameVersion(tc.a, tc.b); got != tc.want {
			t.Errorf("SameVersion(%s, %s) = %v", tc.a, tc.b, got)
		}
	}
}
