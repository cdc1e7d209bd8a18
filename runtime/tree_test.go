package runtime_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
)

// loadable is a step that loads a small image, of which a store has the blobs.
func loadable(t *testing.T, x *bed) runtime.Step {
	t.Helper()
	images, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { images.Close() })
	ref, d := artifacttest.Tagged(t, images)
	x.Images = images
	i := runtime.Image{Ref: ref, Digest: d.Digest.String()}
	return runtime.Step{ID: "load", Do: runtime.Load{Ref: ref.String(), Digest: i.Digest, Rootfs: i.Rootfs()}}
}

func TestLoadedTreeIsUnmountedAndItsUnitRemovedByUndo(t *testing.T) {
	x := newBed(t)
	step := loadable(t, x)
	load, _ := step.Do.(runtime.Load)
	x.a.Respond([]string{runtime.HelperPath, "host", "missing"}, "[]", 0)
	if err := x.Run(t.Context(), onA(step)); err != nil {
		t.Fatal(err)
	}
	if n := count(x.a, runtime.HelperPath+" host adopt"); n == 0 {
		t.Errorf("nothing was adopted: %q", x.a.Transcript())
	}
	unit := "var-lib-sealrt-rootfs-" + path.Base(load.Rootfs) + ".mount"
	file := "/etc/systemd/system/" + unit
	x.a.WriteFile(file, 0o644, nil) // as the helper does
	x.a.SetUnit(unit, true, true)
	x.a.WriteFile("/proc/self/mounts", 0o444, []byte("sealrt-x "+load.Rootfs+" overlay ro 0 0\n"))
	seen := len(x.a.Transcript())
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	ran := x.a.Transcript()[seen:]
	for _, want := range []string{"systemctl disable --now " + unit, "umount -l " + load.Rootfs} {
		if !slices.Contains(ran, want) {
			t.Errorf("no %q in %q", want, ran)
		}
	}
	if slices.Contains(x.a.Files(), file) {
		t.Errorf("%s is left", file)
	}
}

func TestLoadRefusesAUnitThatIsSomebodyElses(t *testing.T) {
	x := newBed(t)
	step := loadable(t, x)
	load, _ := step.Do.(runtime.Load)
	unit := "/etc/systemd/system/var-lib-sealrt-rootfs-" + path.Base(load.Rootfs) + ".mount"
	x.a.WriteFile(unit, 0o644, nil)
	if err := x.Run(t.Context(), onA(step)); err == nil || !strings.Contains(err.Error(), unit+": already there") {
		t.Error(err)
	}
}

func TestLoadHoldsWhenTheHostSaysSo(t *testing.T) {
	x := newBed(t)
	step := loadable(t, x)
	load, _ := step.Do.(runtime.Load)
	for answer, want := range map[string]int{"": 1, load.Digest + "\n": 0} {
		x.a.Respond([]string{runtime.HelperPath, "host", "adopt", "--check"}, answer, 0)
		left, err := x.engine().Pending(t.Context(), onA(step))
		if err != nil || len(left.Phases) != want {
			t.Errorf("answer %q: %d phases are left, %v", answer, len(left.Phases), err)
		}
	}
}

func TestFeedHandsImagesOn(t *testing.T) {
	for _, tc := range []struct {
		feed runtime.Feed
		want string
	}{
		{runtime.Feed{Image: "sha256:aa", Argv: []string{"ctr", "import", "-"}}, "host feed sha256:aa -- ctr import -"},
		{runtime.Feed{Image: "sha256:aa", Argv: []string{"docker", "load"}, Docker: true}, "host feed sha256:aa --format docker -- docker load"},
		{runtime.Feed{Image: "sha256:aa", Names: []string{"a:1", "b:1"}, Argv: []string{"cat"}}, "host feed sha256:aa --name a:1 --name b:1 -- cat"},
		{runtime.Feed{Image: "sha256:aa", File: "/agent/images/all.tar"}, "host feed sha256:aa --file /agent/images/all.tar"},
	} {
		x := newBed(t)
		if err := x.Run(t.Context(), onA(runtime.Step{ID: "feed", Do: tc.feed})); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(x.a.Transcript(), func(c string) bool { return strings.HasSuffix(c, tc.want) }) {
			t.Errorf("no %q in %q", tc.want, x.a.Transcript())
		}
	}
}

func TestFeedToAFileIsUndone(t *testing.T) {
	x := newBed(t)
	before := x.a.Files()
	feed := runtime.Feed{Image: "sha256:aa", File: "/agent/images/all.tar", Tarballs: []string{"extra.tar.gz"}}
	if err := x.Run(t.Context(), onA(runtime.Step{ID: "feed", Do: feed})); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/agent/images/all.tar", "/agent/images/all-extra.tar", "/agent/.all.tar.sealrt"} {
		x.a.WriteFile(file, 0o644, nil)
	}
	x.a.WriteFile("/proc/self/mounts", 0o444, nil)
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	after := slices.DeleteFunc(x.a.Files(), func(p string) bool {
		return strings.HasPrefix(p, "/proc") || slices.Contains(before, p) || strings.HasPrefix(p, "/var")
	})
	if diff := cmp.Diff([]string(nil), after, cmp.Transformer("empty", func(s []string) int { return len(s) })); diff != "" {
		t.Errorf("left: %v", after)
	}
}

func TestDropIsDoneUntilTheHostHasNothingToRemove(t *testing.T) {
	x := newBed(t)
	plan := onA(runtime.Step{ID: "drop", Do: runtime.Drop{Images: []string{"sha256:aa"}, Handed: true}})
	x.a.Respond([]string{runtime.HelperPath, "host", "drop", "--check"}, "superfluous\n", 0)
	if err := x.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	drop := "SEALRT_WORK=test " + runtime.HelperPath + " host drop --handed sha256:aa"
	if n := count(x.a, "env "+drop); n != 1 {
		t.Errorf("dropped %d times: %q", n, x.a.Transcript())
	}
	x.a.Respond([]string{runtime.HelperPath, "host", "drop", "--check"}, "", 0)
	left, err := x.engine().Pending(t.Context(), plan)
	if err != nil || len(left.Phases) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	x.a.Respond([]string{runtime.HelperPath, "host", "drop", "--check"}, "", 127) // sealrt is not there yet
	if left, err = x.engine().Pending(t.Context(), plan); err != nil || len(left.Phases) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRelocateRefusesADirectoryWithThingsInIt(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile(runtime.Home+"/index.json", 0o644, nil)
	x.a.Respond([]string{"test", "-L", runtime.Home}, "", 1)
	err := x.Run(t.Context(), onA(runtime.Step{ID: "data directory", Do: runtime.Relocate{To: "/data"}}))
	if err == nil || !strings.Contains(err.Error(), "is a directory already") {
		t.Error(err)
	}
}

func TestRelocateIsDoneOnceAndRefusesAnotherPlace(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"readlink"}, "/data\n", 0)
	x.a.Respond([]string{"test", "-L", runtime.Home}, "", 0)
	at := func(dir string) runtime.Plan {
		return onA(runtime.Step{ID: "data directory", Do: runtime.Relocate{To: dir}})
	}
	if left, err := x.engine().Pending(t.Context(), at("/data")); err != nil || len(left.Phases) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := x.engine().Run(t.Context(), at("/other")); err == nil || !strings.Contains(err.Error(), "link to /data already") {
		t.Error(err)
	}
}
