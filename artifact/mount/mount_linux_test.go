package mount

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/artifact/store"
)

// images are lists of layers by what is special about them. Owners other than root are left out where they cannot be had.
func images(owners bool) map[string][][]tar.Header {
	own := func(h tar.Header, uid, gid int) tar.Header {
		if owners {
			return owned(h, uid, gid)
		}
		return h
	}
	base := []tar.Header{dir("etc", 0o755), own(file("etc/a"), 3, 4), file("etc/b"), own(dir("home", 0o750), 1000, 1000),
		dir("home/u", 0o700), file("home/u/x"), dir("tmp", 0o1777), at(dir("old", 0o711), 100), file("old/x"), dir("old/sub", 0o755), file("old/sub/y")}
	return map[string][][]tar.Header{
		"no layer":  nil,
		"one layer": {base},
		"the root":  {{at(dir(".", 0o711), 77), file("x")}, {dir("etc", 0o755)}},
		"modes, links and times": {base, {tar.Header{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755, ModTime: time.Unix(5, 7000)},
			capable(file("ping")),
			link(tar.TypeSymlink, "l", "/etc/a"), file("h"), link(tar.TypeLink, "h2", "h")}},
		"files deleted and replaced":                    {base, {dir("etc", 0o755), gone("etc/.wh.a"), at(file("etc/b"), 9), gone(".wh.home")}},
		"a directory emptied":                           {base, {at(dir("old", 0o700), 5), gone("old/.wh..wh..opq"), file("old/new")}},
		"a directory emptied and not stated":            {base, {gone("old/.wh..wh..opq"), file("old/new")}},
		"a directory emptied, and one in it made again": {base, {gone("home/.wh..wh..opq"), file("home/u/new")}},
		"a directory replaced by one":                   {base, {gone(".wh.old"), at(dir("old", 0o700), 5), file("old/new")}},
		"a directory replaced by a file":                {base, {file("old")}, {file("x")}},
		"and that by a directory":                       {base, {file("old")}, {dir("old", 0o755), file("old/z")}},
		"directories that are not stated":               {base, {own(file("home/u/y"), 7, 7), file("old/sub/z")}},
		"directories that no layer states":              {base, {file("opt/bin/x")}, {file("opt/bin/y"), gone("opt/bin/.wh.x")}},
		"directories not stated, then stated":           {{file("d/e/x")}, {at(dir("d", 0o700), 4), dir("d/e", 0o711)}, {file("d/e/y")}},
		"whiteouts of what is not there":                {base, {gone("etc/.wh.nothing"), gone("nowhere/deep/.wh.x"), dir("empty", 0o755), gone("empty/.wh.x"), gone("none/.wh..wh..opq")}},
		"whiteouts in a directory that is new":          {{gone("d/.wh.x"), dir("d", 0o755)}, {file("other")}},
		"whiteouts below a file":                        {{file("f")}, {gone("f/.wh.x")}, {file("g")}},
		"whiteouts in a directory that goes":            {base, {gone("old/sub/.wh.y")}, {gone(".wh.old")}},
		"whiteouts in an emptied directory":             {base, {dir("old", 0o755), gone("old/.wh..wh..opq"), gone("old/.wh.x"), gone("old/sub/.wh.y")}},
		"a deleted directory made again without entry":  {base, {gone(".wh.home")}, {file("home/u/z")}},
		"through a link of a layer below":               {{dir("usr", 0o755), dir("usr/lib", 0o751), link(tar.TypeSymlink, "lib", "usr/lib")}, {file("lib/x"), dir("lib/m", 0o755), file("lib/m/y")}, {file("z"), gone("lib/.wh.x")}},
		"a directory in place of a link":                {{dir("usr", 0o755), link(tar.TypeSymlink, "lib", "usr")}, {dir("lib", 0o755), file("lib/x")}},
		"a hard link to a layer below":                  {base, {dir("etc", 0o755), link(tar.TypeLink, "etc/c", "etc/a")}, {file("top")}},
		"a whiteout through a link":                     {{dir("usr", 0o755), file("usr/x"), file("usr/y"), link(tar.TypeSymlink, "lib", "usr")}, {gone("lib/.wh.x")}},
		"the same layer twice":                          {base, {gone(".wh.old")}, base},
		"names that options are made of":                {{dir("a:b,c\\d", 0o755), file("a:b,c\\d/x")}, {gone("a:b,c\\d/.wh.x"), file("a:b,c\\d/y=z")}},
	}
}

// compareTrees mounts and unpacks images.
func compareTrees(t *testing.T, owners bool) {
	began := time.Now().Add(-time.Second)
	all := images(owners)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			i := addImage(t, s, "k3s:v1", all[name]...)
			want := snapshot(t, unpackImage(t, s, i), began)
			got := snapshot(t, mountImage(t, s, i), began)
			for path, line := range want { // the time of the change in one, of the statement in the other
				if strings.HasPrefix(line, "d") && strings.Count(line, " ") == 1 && strings.HasPrefix(got[path], line+" ") {
					got[path] = line
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("unpack, mount:\n%s", diff)
			}
		})
	}
}

func TestMountShowsTheTreeThatUnpackWrites(t *testing.T) {
	needMount(t)
	compareTrees(t, os.Getenv("MOUNT_TEST_OWNERS") != "no" && os.Geteuid() == 0)
}

// The marks of overlays are other attributes in user namespaces.
func TestMountShowsTheSameInAUserNamespace(t *testing.T) {
	runInNamespace(t, "^TestMountShowsTheTreeThatUnpackWrites$")
}

// runInNamespace runs a test of this package as root of a user namespace of its own.
func runInNamespace(t *testing.T, test string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", test, "-test.v")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "MOUNT_TEST_OWNERS=no")
	size := 1
	if os.Geteuid() == 0 {
		size = 65536
		cmd.Env = append(cmd.Env, "MOUNT_TEST_OWNERS=")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: size}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: size}},
	}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "--- SKIP") || err != nil && len(out) == 0 {
		t.Skipf("no overlays in user namespaces here: %v\n%s", err, out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// manyLayers are as many as docker allows, each with a file, a change of the layer below and a deletion.
func manyLayers(n int) [][]tar.Header {
	var layers [][]tar.Header
	for i := range n {
		layers = append(layers, []tar.Header{dir("d", 0o755), file(fmt.Sprintf("d/%d", i)), file("last"), dir("gone", 0o700), gone(fmt.Sprintf("d/.wh.%d", i-2)), file(fmt.Sprintf("sub/%d/x", i))})
	}
	return layers
}

func TestMount127Layers(t *testing.T) {
	needMount(t)
	began := time.Now().Add(-time.Second)
	s := newStore(t)
	i := addImage(t, s, "k3s:v1", manyLayers(127)...)
	want := snapshot(t, unpackImage(t, s, i), began)
	tree := mountImage(t, s, i)
	if diff := cmp.Diff(want, snapshot(t, tree, began)); diff != "" {
		t.Errorf("unpack, mount:\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(tree, "d", "new"), nil, 0o600); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("writing: %v", err)
	}
}

// Before Linux 6.7 all directories are named in one page of options.
func TestMount127LayersTheOldWay(t *testing.T) {
	needMount(t)
	dir := t.TempDir()
	o := overlay{source: "sealrt-test"}
	for i := range 128 {
		lower := filepath.Join(dir, strings.Repeat("long", 20), fmt.Sprint(i))
		check(t, os.MkdirAll(lower, 0o755))
		check(t, os.WriteFile(filepath.Join(lower, "last"), fmt.Append(nil, i), 0o600))
		check(t, os.WriteFile(filepath.Join(lower, fmt.Sprint("f", i)), nil, 0o600))
		o.lowers = append(o.lowers, lower)
	}
	target := filepath.Join(dir, "m")
	check(t, os.Mkdir(target, 0o755))
	check(t, o.mountOld(target))
	defer func() { check(t, unmount(target)) }()
	entries, err := os.ReadDir(target)
	last, readErr := os.ReadFile(filepath.Join(target, "last"))
	if len(entries) != 129 || string(last) != "0" || err != nil || readErr != nil {
		t.Errorf("%d entries, last of %s: %v %v", len(entries), last, err, readErr)
	}
}

// members lists a directory.
func members(t *testing.T, dir ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir...))
	check(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLayersAreUnpackedOnceAndPrunedWhenNobodyUsesThem(t *testing.T) {
	needMount(t)
	s := newStore(t)
	shared := []tar.Header{dir("bin", 0o755), file("bin/k3s")}
	one := addImage(t, s, "one:1", []tar.Header{file("a")}, shared)
	two := addImage(t, s, "two:1", []tar.Header{file("b")}, shared)
	m := Of(s)
	mountImage(t, s, one)
	layer := filepath.Join(s.Root(), "mount", "layers", shared1(one), "tree", "bin", "k3s")
	before, err := os.Stat(layer)
	check(t, err)
	tree := mountImage(t, s, two)
	after, err := os.Stat(layer)
	check(t, err)
	if !os.SameFile(before, after) || len(members(t, s.Root(), "mount", "layers")) != 3 {
		t.Error("the shared layer was unpacked again")
	}

	if again, err := m.Mount(t.Context(), two.ref, two.digest, two.manifest); again != tree || err != nil {
		t.Errorf("mounted again: %s, %v", again, err)
	}
	check(t, m.Unmount(t.Context(), tree))
	if err := m.Unmount(t.Context(), tree); err == nil || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("unmounted twice: %v", err)
	}
	unused, err := m.Unused(t.Context())
	check(t, err)
	freed, err := m.Prune(t.Context())
	check(t, err)
	if want := []Unused{{"mount/layers/" + two.manifest.Layers[0].Digest.Hex + userMark(), freed}}; !cmp.Equal(unused, want) {
		t.Errorf("unused %v, pruned %v", unused, want)
	}
	if got := members(t, s.Root(), "mount", "layers"); freed == 0 || len(got) != 2 {
		t.Errorf("%d bytes freed, left %v", freed, got)
	}
	if b, err := os.ReadFile(filepath.Join(s.Root(), "mount", "images", one.digest.Hex, "tree", "bin", "k3s")); string(b) != "bin/k3s" || err != nil {
		t.Errorf("what is mounted was pruned: %q %v", b, err)
	}
	list, err := m.List(t.Context())
	if len(list) != 1 || list[0].Ref != one.ref || list[0].Digest != one.digest || err != nil {
		t.Errorf("mounted: %v, %v", list, err)
	}
	check(t, m.Unmount(t.Context(), list[0].Dir))
	if _, err = m.Prune(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"layers", "images"} {
		if got := members(t, s.Root(), "mount", name); len(got) > 0 {
			t.Errorf("left in %s: %v", name, got)
		}
	}
}

// shared1 names the second layer of an image.
func shared1(i testImage) string { return i.manifest.Layers[1].Digest.Hex + userMark() }

func TestUnmountRefusesWhereSomebodyIsAtWork(t *testing.T) {
	needMount(t)
	s := newStore(t)
	i := addImage(t, s, "k3s:v1", []tar.Header{file("a")})
	tree := mountImage(t, s, i)
	f, err := os.Open(filepath.Join(tree, "a"))
	check(t, err)
	if err := Of(s).Unmount(t.Context(), tree); err == nil || !strings.Contains(err.Error(), "somebody is at work in it") {
		t.Errorf("error %v", err)
	}
	check(t, f.Close())
	check(t, Of(s).Unmount(t.Context(), tree))
}

// A mount that only another mount namespace has keeps its layers, and can be had here too.
func TestPruneSparesWhatIsMountedInAnotherNamespace(t *testing.T) {
	needMount(t)
	s := newStore(t)
	i := addImage(t, s, "k3s:v1", []tar.Header{file("a")}, []tar.Header{file("b/c")})
	tree := mountImage(t, s, i)
	cmd := exec.CommandContext(t.Context(), "/bin/sleep", "1000") // takes a copy of all mounts with it
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Skipf("no mount namespaces here: %v", err)
	}
	stop := func() { cmd.Process.Kill(); cmd.Wait() }
	defer stop()
	check(t, unix.Unmount(tree, 0))

	_, err := Of(s).Prune(t.Context())
	check(t, err)
	if got := members(t, s.Root(), "mount", "layers"); len(got) != 2 {
		t.Fatalf("left of two layers: %v", got)
	}
	if err := Of(s).Unmount(t.Context(), tree); err == nil || !strings.Contains(err.Error(), "in another mount namespace") {
		t.Errorf("error %v", err)
	}
	if again := mountImage(t, s, i); again != tree {
		t.Errorf("mounted at %s, not %s", again, tree)
	}
	if got := members(t, tree); !cmp.Equal(got, []string{"a", "b"}) {
		t.Errorf("mounted here: %v", got)
	}
	check(t, Of(s).Unmount(t.Context(), tree))
	stop()
	_, err = Of(s).Prune(t.Context())
	check(t, err)
	if got := members(t, s.Root(), "mount", "layers"); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestADamagedLayerLeavesNothing(t *testing.T) {
	needMount(t)
	s := newStore(t)
	i := addImage(t, s, "k3s:v1", []tar.Header{file("a")}, []tar.Header{file("b")})
	blob := s.BlobPath(i.manifest.Layers[1].Digest)
	raw, err := os.ReadFile(blob)
	check(t, err)
	raw[600] ^= 1
	check(t, os.WriteFile(blob, raw, 0o600))
	_, err = Of(s).Mount(t.Context(), i.ref, i.digest, i.manifest)
	if err == nil || !strings.HasPrefix(err.Error(), "mount k3s:v1: layer 2 of 2: ") || !strings.Contains(err.Error(), "the source is damaged") {
		t.Errorf("error %v", err)
	}
	if got := append(members(t, s.Root(), "mount", "layers"), members(t, s.Root(), "mount", "images")...); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// What a killed process left is removed, and neither half a layer nor half a mount is taken for whole.
func TestMountAfterOneThatWasKilled(t *testing.T) {
	needMount(t)
	s := newStore(t)
	i := addImage(t, s, "k3s:v1", []tar.Header{file("a")})
	for _, left := range []string{"mount/tmp-x/" + i.manifest.Layers[0].Digest.Hex + "/tree/half", "mount/images/" + i.digest.Hex + "/tree"} {
		check(t, os.MkdirAll(filepath.Join(s.Root(), left), 0o700))
	}
	if got := members(t, mountImage(t, s, i)); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("mounted: %v", got)
	}
	if got := members(t, s.Root(), "mount"); !cmp.Equal(got, []string{"images", "layers", "lock"}) {
		t.Errorf("left: %v", got)
	}
}

func TestManyMayMountAtOnce(t *testing.T) {
	needMount(t)
	s := newStore(t)
	shared := []tar.Header{dir("bin", 0o755), file("bin/k3s")}
	var all []testImage
	for i := range 8 {
		name := fmt.Sprint("k3s:", i%4) // each twice
		all = append(all, addImage(t, s, name, shared, []tar.Header{file(name)}))
	}
	var g errgroup.Group
	for _, i := range all {
		g.Go(func() error {
			other, err := store.Open(s.Root()) // as another process has it
			if err != nil {
				return err
			}
			tree, err := Of(other).Mount(t.Context(), i.ref, i.digest, i.manifest)
			t.Cleanup(func() { _ = unmount(tree) }) // for when this fails
			if err == nil {
				_, err = os.Stat(filepath.Join(tree, "bin", "k3s"))
			}
			return errors.Join(err, other.Close())
		})
	}
	check(t, g.Wait())
	list, err := Of(s).List(t.Context())
	check(t, err)
	for _, i := range list {
		check(t, Of(s).Unmount(t.Context(), i.Dir))
	}
	if layers := members(t, s.Root(), "mount", "layers"); len(list) != 4 || len(layers) != 5 {
		t.Errorf("%d mounts of %d layers", len(list), len(layers))
	}
}
