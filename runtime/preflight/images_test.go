package preflight_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/preflight"
)

func TestDockerIsToldWhichDigestsItWouldNotFind(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct {
		runtime string
		images  []string
		want    []string
	}{
		{"docker", []string{"docker.io/library/a:1", "quay.io/b:2" + digest}, []string{"quay.io/b:2" + digest}},
		{"docker", []string{"docker.io/library/a:1"}, nil},
		{"containerd", []string{"quay.io/b:2" + digest}, nil},
		{"", []string{"quay.io/b" + digest}, nil},
	} {
		x := newTwo(t)
		x.c.Runtime, x.c.Images[0].Images = tt.runtime, tt.images
		var got []string
		for _, f := range x.run(t).At(preflight.Error) {
			if f.Check == "docker" {
				_, names, _ := strings.Cut(f.Cause, ": ")
				got = append(got, names)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s, %v: %s", tt.runtime, tt.images, diff)
		}
	}
}

func TestADockerFromBeforeIsNamedWithWhatElseToDo(t *testing.T) {
	for runtimeOf, want := range map[string]string{
		"docker":     "sealrt does not touch what it did not install: remove it, or use another host, or take containerd as the runtime",
		"containerd": "sealrt does not touch what it did not install: remove it, or use another host",
	} {
		h := hosttest.New("a")
		h.WriteFile("/usr/bin/dockerd", 0o755, nil)
		h.SetUnit("docker", true, true)
		c := newTwo(t).c
		c.Members, c.Runtime = c.Members[:1], runtimeOf
		r, err := preflight.Run(t.Context(), c, needy{needs: runtime.Needs{Conflicts: []string{"docker"}}}, map[string]host.Host{"10.0.0.1": h}, preflight.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range r.Findings {
			got = append(got, f.Cause+": "+f.Do)
		}
		if diff := cmp.Diff([]string{"docker is there already (the unit docker runs, /usr/bin/dockerd), and needy cannot be beside it: " + want}, got); diff != "" {
			t.Errorf("%s: %s", runtimeOf, diff)
		}
	}
}
