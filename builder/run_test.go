package builder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// runOptions returns Options for a Kubefile with RUN, for this machine.
func runOptions(t *testing.T, text string, files map[string]string) Options {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("RUN needs Linux")
	}
	o := options(t, text, files)
	o.Platform = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	return o
}

func TestRunChangesTheTreeSoFar(t *testing.T) {
	var log bytes.Buffer
	o := runOptions(t, `FROM scratch
COPY . .
ARG who=world
ENV GREETING="hello $who"
RUN cat etc/a; echo $GREETING $who $ARCH > etc/b; rm etc/gone; rm -r dir; mkdir dir; echo new > dir/new
WORKDIR /etc
RUN ["sh", "-c", "pwd; echo c > c; touch ../dir/.x; rm ../dir/.x"]
RUN <<EOF
cat b
echo d > d
EOF
RUN cat > e <<x && echo done
$GREETING
x
RUN touch /tmp/nothing || true
`, map[string]string{"etc/a": "content of a\n", "etc/gone": "", "dir/old": "", "dir/older": ""})
	output(&o, &log)
	b := mustBuild(t, o)
	want := map[string]string{
		"dir/": "", "dir/new": "new\n", "etc/": "", "etc/a": "content of a\n", "etc/b": "hello world world " + runtime.GOARCH + "\n",
		"etc/c": "c\n", "etc/d": "d\n", "etc/e": "hello world\n",
	}
	if diff := cmp.Diff(want, b.files(t)); diff != "" {
		t.Error(diff)
	}
	for _, said := range []string{"content of a\n", "/rootfs/etc\n", "hello world world", "done\n"} {
		if !strings.Contains(log.String(), said) {
			t.Errorf("the log lacks %q:\n%s", said, &log)
		}
	}
	last := b.config.History[len(b.config.History)-1]
	if !last.EmptyLayer || last.CreatedBy != "RUN /bin/sh -c touch /tmp/nothing || true" {
		t.Errorf("history of a RUN that changed nothing: %+v", last)
	}
	if diff := cmp.Diff([]string{"etc", "etc/c"}, layerNames(t, o, b, 2)); diff != "" {
		t.Errorf("the second RUN's layer: %s", diff)
	}
	log.Reset()
	if again := mustBuild(t, o); again.desc.Digest != b.desc.Digest || log.Len() > 0 {
		t.Errorf("a second build ran commands: %s", &log)
	}
	leftovers(t, o)
}

// layerNames lists the entries of layer n of an image.
func layerNames(t *testing.T, o Options, b built, n int) []string {
	t.Helper()
	entries := listLayer(t, o.Store, b.manifest.Layers[n])
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// leftovers fails when temporary directories are left beside the store.
func leftovers(t *testing.T, o Options) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(o.Store.Root(), "trees", temporaryPrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunSeesWhiteoutsOfTheBase(t *testing.T) {
	o := runOptions(t, "FROM scratch\nCOPY . .\nRUN rm gone; rm -r opaque; mkdir opaque; echo x > opaque/new\n",
		map[string]string{"gone": "", "opaque/old": "", "keep": ""})
	mustBuild(t, o)
	var log bytes.Buffer
	o2 := runOptions(t, "FROM test:1\nRUN ls; ls opaque; echo y > opaque/more\n", nil)
	o2.Store = o.Store
	output(&o2, &log)
	b := mustBuild(t, o2)
	if log.String() != "bin\netc\nkeep\nopaque\nnew\n" {
		t.Errorf("the command saw\n%s", &log)
	}
	if diff := cmp.Diff([]string{"keep", "opaque/more", "opaque/new"}, b.names(t)); diff != "" {
		t.Error(diff)
	}
}

func TestRunFailsWithItsPosition(t *testing.T) {
	o := runOptions(t, "FROM scratch\nCOPY f /\n\nRUN echo said; exit 3\nCOPY f /g\n", map[string]string{"f": ""})
	var log bytes.Buffer
	output(&o, &log)
	got := failing(t, o)
	if got != "Kubefile:4:1: RUN echo said; exit 3: exit code 3" || log.String() != "said\n" {
		t.Errorf("error %q, log %q", got, &log)
	}
	leftovers(t, o)
}

func TestCancelledRunLeavesNothing(t *testing.T) {
	o := runOptions(t, "FROM scratch\nRUN echo up; sleep 60\n", nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	output(&o, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }))
	_, err := Build(ctx, o)
	if errors.Is(err, sandbox.ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	leftovers(t, o)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRunWithoutMainBinaryNamesTheLine(t *testing.T) {
	for _, text := range []string{
		"FROM scratch\nLABEL io.sealrt.distro=k3s\nRUN true\n",
		"FROM scratch\nCOPY f /\nRUN curl -sf https://127.0.0.1:1/ | INSTALL_K3S_VERSION=v1.25.3 sh -\n",
	} {
		got := failing(t, runOptions(t, text, map[string]string{"f": ""}))
		if !strings.HasPrefix(got, "Kubefile:3:1: RUN ") || !strings.Contains(got, "the image is to boot k3s, but has no bin/k3s") {
			t.Errorf("error %s", got)
		}
	}
}

func TestBuildRemovesWhatADeadOneLeft(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY f /\n", map[string]string{"f": ""})
	if err := os.MkdirAll(filepath.Join(o.Store.Root(), "trees", temporaryPrefix+"dead", "upper"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, o)
	leftovers(t, o)
}

// A directory that is made and not yet locked looks like that of a dead process.
func TestTemporaryTreesOutliveBuildsBesideThem(t *testing.T) {
	s := newStore(t)
	trees, err := openTrees(s)
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := PruneTrees(s); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 2000 {
		dir, remove, err := trees.temporary()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "upper"), 0o755); err != nil {
			t.Error(err)
		}
		remove()
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTreesOfLayersThatAreGoneArePruned(t *testing.T) {
	o := runOptions(t, "FROM scratch\nCOPY f /\nRUN touch g\n", map[string]string{"f": ""})
	b := mustBuild(t, o)
	tree := filepath.Join(o.Store.Root(), "trees", b.manifest.Layers[0].Digest.Hex)
	if _, err := os.Stat(tree); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(o.Store.Root(), "trees", temporaryPrefix+"dead", "d")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := PruneTrees(o.Store); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tree); err != nil {
		t.Errorf("a tree in use was pruned: %v", err)
	}
	leftovers(t, o)
	if err := o.Store.Untag(t.Context(), o.Tags[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := PruneTrees(o.Store); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tree); err == nil {
		t.Error("the tree of a layer that is gone is still there")
	}
	if err := PruneTrees(newStore(t)); err != nil {
		t.Errorf("a store without trees: %v", err)
	}
}

func TestChangedLeavesOutTracesOfCopyingUp(t *testing.T) {
	upper := t.TempDir()
	for _, d := range []string{"etc", "etc/deep"} {
		if err := os.Mkdir(filepath.Join(upper, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(upper, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tr := newTree()
	tr.apply([]layer.Entry{file("etc/deep/x", "")})
	if got, err := changed(tr, upperEntries(t, upper)); err != nil || len(got) > 0 {
		t.Errorf("changes %v, %v, want none", got, err)
	}
	if err := os.Chmod(filepath.Join(upper, "etc/deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := changed(tr, upperEntries(t, upper)); err != nil || len(got) != 2 || got[1].Name != "etc/deep" {
		t.Errorf("changes %v, %v, want the mode of etc/deep and its parent", got, err)
	}
}

func TestRunCannotMakeWhiteoutsByName(t *testing.T) {
	for _, name := range []string{"f", "nothing"} {
		o := runOptions(t, "FROM scratch\nCOPY f /\nRUN touch .wh."+name+"\n", map[string]string{"f": ""})
		if text := failing(t, o); !strings.Contains(text, ".wh."+name+": names that start with .wh. are reserved") {
			t.Errorf("%q", text)
		}
		leftovers(t, o)
	}
}

func upperEntries(t *testing.T, upper string) []layer.Entry {
	t.Helper()
	var list []layer.Entry
	for e, err := range layer.FromOverlay(upper) {
		if err != nil {
			t.Fatal(err)
		}
		e.UID, e.GID = 0, 0
		list = append(list, e)
	}
	return list
}

func TestChangesHaveOneForm(t *testing.T) {
	tr := newTree()
	tr.apply([]layer.Entry{file("d/a", "a"), file("d/b/c", "c"), file("d/b/e", "e"), file("same", "x"), file("other", "x"), file("gone", "")})
	dir := func(name string) layer.Entry { return layer.Entry{Name: name, Mode: os.ModeDir | 0o755} }
	touched := file("other", "y")
	for name, entries := range map[string][]layer.Entry{
		"opaque":     {dir("d"), layer.Opaque("d"), dir("d/b"), file("d/b/c", "c"), file("same", "x"), touched, layer.Whiteout("gone"), layer.Whiteout("never")},
		"one by one": {dir("d"), layer.Whiteout("d/a"), dir("d/b"), layer.Whiteout("d/b/e"), touched, layer.Whiteout("gone")},
	} {
		got, err := changed(tr, entries)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range got {
			names = append(names, e.Name)
		}
		want := []string{".wh.gone", "d", "d/.wh.a", "d/b", "d/b/.wh.e", "other"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
