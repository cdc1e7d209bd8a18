package k3s_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

func TestImagesGetTheirNameWhenTheyAreWhole(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "data-dir: /srv/k3s")
	c.Images[0].Images, c.Images[0].Kind.Type = []string{"pause"}, artifact.TypeRootfs
	app := runtime.Image{Digest: "sha256:bb", Images: []string{"shop"}}
	for version, want := range map[string][]string{
		"v1.25.3+k3s1": nil, "v1.34.9+k3s1": nil, // which would lose the pin of images that it remembers
		"v1.34.10+k3s1": {"touch /srv/k3s/agent/images/.cache.json"},
	} {
		c.Images[0].Kind.Version = version
		var ran []string
		for _, i := range []runtime.Image{c.Images[0], app} {
			for n, s := range (k3s.Driver{}).Import(c, i) {
				switch do := s.Do.(type) {
				case runtime.Feed:
					if n != 0 || do.File != "/srv/k3s/agent/images/sealrt-"+strings.TrimPrefix(i.Digest, "sha256:")+".tar" || do.Into != "/srv/k3s" {
						t.Errorf("%s: images go to %+v", version, do)
					}
				case runtime.Exec:
					ran = append(ran, strings.Join(do.Argv, " "))
				}
			}
		}
		if diff := cmp.Diff(want, ran); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}

func TestImagesThatNobodyWouldGiveBackAreNotCollected(t *testing.T) {
	for _, tt := range []struct {
		version string
		script  bool
		want    bool
	}{{"v1.25.3+k3s1", false, false}, {"v1.25.3+k3s1", true, true}, {"v1.29.1+k3s1", true, false}} {
		c := cluster(tt.version, "")
		c.Registry.Script = tt.script
		for _, m := range c.Members {
			args, _ := prepared(t, c, m)["kubelet-arg"].([]any)
			if got := slices.Contains(args, any("image-gc-high-threshold=100")); got != tt.want {
				t.Errorf("%+v: %s is told %v", tt, m.Name(), args)
			}
		}
	}
}

func TestADataDirIsUsedEverywhere(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Others = document("data-dir: /srv/k3s")
	for _, m := range c.Members {
		if got := prepared(t, c, m)["data-dir"]; got != "/srv/k3s" {
			t.Errorf("%s is told %v", m.Name(), got)
		}
		n := k3s.Driver{}.Needs(c, m)
		if !slices.ContainsFunc(n.Disks, func(d runtime.Disk) bool { return d.Path == "/srv/k3s" }) || !strings.Contains(n.NoSELinux, "data-dir is /srv/k3s") {
			t.Errorf("%s needs %+v", m.Name(), n)
		}
	}
	steps, err := k3s.Driver{}.Prepare(c, c.Members[0])
	if err != nil {
		t.Fatal(err)
	}
	if claim, _ := steps[0].Do.(runtime.Claim); !slices.Contains(claim.Paths, "/srv/k3s") {
		t.Errorf("claimed are %q", claim.Paths)
	}
	for _, s := range (k3s.Driver{}).Snapshot(c, c.Image()) {
		if text := s.Do.String(); strings.Contains(text, "/var/lib/rancher") {
			t.Errorf("the snapshot reads the usual place: %s", text)
		}
	}
}

// The archives that an author left in images/ are where k3s looks too, and all go
// with the image, or with the app, that they came with.
func TestArchivesOfAnImageComeAndGoWithIt(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Images[0].Images, c.Images[0].Kind.Type = nil, artifact.TypeRootfs
	c.Images[0].Paths = append(c.Images[0].Paths, "images/more.tar.gz")
	fed := func(i runtime.Image) []string {
		steps := k3s.Driver{}.Import(c, i)
		if len(steps) == 0 {
			return nil
		}
		f, _ := steps[0].Do.(runtime.Feed)
		return f.Files()
	}
	const dir = "/var/lib/rancher/k3s/agent/images/"
	if diff := cmp.Diff([]string{dir + "sealrt-aa.tar", dir + "sealrt-aa-more.tar"}, fed(c.Image())); diff != "" {
		t.Error(diff)
	}
	next := cluster("v1.26.1+k3s1", "")
	next.Images[0].Digest = "sha256:bb"
	var gone []string
	for _, s := range (k3s.Driver{}).Discard(c, next, c.Members[3]) {
		if r, ok := s.Do.(runtime.Remove); ok {
			gone = append(gone, r.Paths...)
		}
	}
	if diff := cmp.Diff(fed(c.Image()), gone); diff != "" {
		t.Errorf("an upgrade takes others away: %s", diff)
	}

	app := runtime.Image{Digest: "sha256:cc", Images: []string{"shop"}, Paths: []string{"images/shop.tar"}, Kind: artifact.Kind{Type: artifact.TypeApp}}
	c.Images = append(c.Images, app)
	life, err := runtime.New(c, k3s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.Uninstall(app)
	if err != nil {
		t.Fatal(err)
	}
	dropped := 0
	for _, phase := range plan.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if w, ok := s.Do.(runtime.Withdraw); ok {
					dropped++
					if diff := cmp.Diff(fed(app), w.Files); diff != "" {
						t.Errorf("%s: %s", task.Member.Name(), diff)
					}
					if !slices.Contains(w.Forget, "place the images of "+app.Ref.Familiar()) {
						t.Errorf("they would not come again: %q", w.Forget)
					}
				}
			}
		}
	}
	if dropped != 4 {
		t.Errorf("the app is dropped on %d hosts", dropped)
	}
}
