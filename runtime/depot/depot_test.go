package depot

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// sample is a cluster image of two layers of a tree and two container images
// that share a layer.
func sample(t testing.TB) (builder, *Set) {
	b := newBuilder(t)
	base := artifacttest.Noise(1, 100_000)
	rest := b.packed(b.container("example.com/a:1", base, []byte("a")), b.container("example.com/b:1", base, []byte("b")))
	ref := b.image("cluster:1", []files{
		{file("bin/k3s", "program"), file("etc/old", "old")},
		{file("etc/.wh.old", ""), file("etc/new", "new")},
	}, rest...)
	return b, b.set(ref)
}

func TestSetSendsBlobsAndNotTheLayersThatPackThem(t *testing.T) {
	_, s := sample(t)
	if len(s.Layers) != 3 { // two of the tree, one with index.json
		t.Errorf("%d layers travel", len(s.Layers))
	}
	if len(s.Images) != 7 { // base, a, b, two configs, two manifests
		t.Errorf("%d blobs of container images", len(s.Images))
	}
	seen := map[v1.Hash]bool{}
	for _, d := range s.Blobs() {
		if seen[d.Digest] {
			t.Errorf("%s travels twice", d.Digest)
		}
		seen[d.Digest] = true
		for _, offset := range []int64{0, d.Size / 2} {
			r, err := s.Open(t.Context(), d, offset)
			check(t, err)
			b, err := io.ReadAll(r)
			check(t, err)
			if int64(len(b)) != d.Size-offset || offset == 0 && artifacttest.DigestOf(b) != d.Digest {
				t.Errorf("%s from %d: %d bytes of %d", d.Digest, offset, len(b), d.Size)
			}
			check(t, r.Close())
		}
	}
}

func TestSetOfImageThatLacksABlobNamesTheContainerImage(t *testing.T) {
	b := newBuilder(t)
	rest := b.packed(b.container("example.com/a:1", []byte("a")))
	rest = slices.DeleteFunc(rest, func(l files) bool { return l[0].Content == "a" })
	_, err := SetOf(t.Context(), b.store, b.image("cluster:1", nil, rest...))
	if err == nil || !strings.Contains(err.Error(), "example.com/a:1") || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
}

func TestAdoptShowsTheTree(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		_, s := sample(t)
		d := h.open(t)
		dir := adopt(t, d, s)
		want := map[string]string{"bin/k3s": "program", "etc/new": "new", "images/index.json": string(s.Index), "images/oci-layout": `{"imageLayoutVersion":"1.0.0"}`}
		if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
			t.Error(diff)
		}
		if dir != filepath.Join(h.dir, "rootfs", s.Manifest.Digest.Hex[:16]) {
			t.Errorf("it is at %s", dir)
		}
		if mounted(dir) != (h.mode == mounts) {
			t.Errorf("mounted: %v", mounted(dir))
		}
		if h.mode == mounts {
			if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
				t.Errorf("the tree can be written to: %v", err)
			}
		}
		wants, err := d.Missing(t.Context(), s.Blobs())
		if err != nil || len(wants) > 0 {
			t.Errorf("missing after that: %v, %v", wants, err)
		}
	})
}

func TestAdoptAgainDoesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		_, s := sample(t)
		d := h.open(t)
		dir := adopt(t, d, s)
		before, err := os.Stat(dir)
		check(t, err)
		d.reached = func(stage string) { t.Errorf("it came to %q", stage) }
		adopt(t, d, s)
		after, err := os.Stat(dir)
		check(t, err)
		if !os.SameFile(before, after) {
			t.Error("the tree is another one")
		}
	})
}

func TestTreeIsThereAfterABoot(t *testing.T) {
	h := newHost(t, mounts)
	_, s := sample(t)
	d := h.open(t)
	dir := adopt(t, d, s)
	want := treeOf(t, dir)
	_, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}})
	check(t, err)
	h.powerCut(t)
	if yes, err := d.Adopted(t.Context(), s.Manifest.Digest); yes || err != nil {
		t.Errorf("adopted without a mount: %v, %v", yes, err)
	}
	h.boot(t)
	if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
		t.Error(diff)
	}
	h.powerCut(t) // a mount that did not come up is made by adopting, of what is there
	if sent := deliver(t, d, s); sent != 0 {
		t.Errorf("%d bytes are sent again", sent)
	}
	adopt(t, d, s)
	if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestAdoptNamesWhatIsMissing(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		_, s := sample(t)
		d := h.open(t)
		for _, lost := range []v1.Hash{s.Manifest.Digest, s.Layers[0].Digest, s.Images[0].Digest} {
			deliver(t, d, s)
			check(t, os.Remove(d.store.BlobPath(lost)))
			d.reached = func(stage string) { t.Errorf("it came to %q", stage) }
			_, err := d.Adopt(t.Context(), s.Listing)
			if !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), lost.String()) {
				t.Error(err)
			}
			if yes, err := d.Adopted(t.Context(), s.Manifest.Digest); yes || err != nil {
				t.Errorf("adopted: %v, %v", yes, err)
			}
		}
		d.reached = nil
		adopt(t, d, s)
	})
}

func TestAdoptedImageThatLostABlobGetsItAgain(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		_, s := sample(t)
		d := h.open(t)
		adopt(t, d, s)
		i := slices.IndexFunc(s.Images, func(b Blob) bool { return b.In == v1.Hash{} })
		lost := d.store.BlobPath(s.Images[i].Digest)
		for name, harm := range map[string]func() error{
			"gone":      func() error { return os.Remove(lost) },
			"cut short": func() error { return os.Truncate(lost, s.Images[i].Size-1) },
		} {
			check(t, harm())
			if yes, err := d.Adopted(t.Context(), s.Manifest.Digest); yes || err != nil {
				t.Errorf("%s: adopted: %v, %v", name, yes, err)
			}
			if sent := deliver(t, d, s); sent != s.Images[i].Size {
				t.Errorf("%s: %d bytes are sent, not the %d of the blob", name, sent, s.Images[i].Size)
			}
			adopt(t, d, s)
			if yes, err := d.Adopted(t.Context(), s.Manifest.Digest); !yes || err != nil {
				t.Errorf("%s: adopted again: %v, %v", name, yes, err)
			}
		}
	})
}

// counting counts the bytes that are read of a source.
type counting struct {
	artifact.Source
	n *atomic.Int64
}

func (c counting) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := c.Source.Open(ctx, ref, d, offset)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r, c), r}, nil
}

func (c counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func TestSetReadsOnlyTheHeadersOfPlainLayers(t *testing.T) {
	b := newBuilder(t)
	ref := b.image("cluster:1", nil, b.packed(b.container("example.com/a:1", artifacttest.Noise(1, 8<<20)))...)
	var read atomic.Int64
	_, err := SetOf(t.Context(), counting{b.store, &read}, ref)
	check(t, err)
	if n := read.Load(); n > 1<<20 {
		t.Errorf("%d bytes were read to list the blobs", n)
	}
}

func TestAdoptCompletesAfterAKillAtAnyStage(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		_, s := sample(t)
		stages := []string{"unpacking 1", "unpacking 2", "unpacked", "written", "shown"}
		if h.mode == copies {
			stages = slices.DeleteFunc(stages, func(s string) bool { return s == "written" })
		}
		raw, err := json.Marshal(s.Listing)
		check(t, err)
		for _, stage := range stages {
			t.Run(stage, func(t *testing.T) {
				h := newHost(t, h.mode)
				d := h.open(t)
				deliver(t, d, s)
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "DEPOT_TEST_ADOPT="+h.dir, "DEPOT_TEST_MODE="+string(h.mode), "DEPOT_TEST_STAGE="+stage)
				cmd.Stdin = bytes.NewReader(raw)
				out, err := cmd.CombinedOutput()
				if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
					t.Fatalf("it was not killed: %v: %s", err, out)
				}
				if yes, err := d.Adopted(t.Context(), s.Manifest.Digest); yes || err != nil {
					t.Errorf("adopted: %v, %v", yes, err)
				}
				dir := adopt(t, d, s)
				if got := treeOf(t, dir)["etc/new"]; got != "new" {
					t.Errorf("the tree has %q", got)
				}
				_, err = d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}})
				check(t, err)
				for _, unfinished := range []string{"store/mount/tmp-*", "rootfs/.*", "units/.*", "store/adopted/.*"} {
					left, err := filepath.Glob(filepath.Join(h.dir, unfinished))
					check(t, err)
					if len(left) > 0 {
						t.Errorf("left: %v", left)
					}
				}
			})
		}
	})
}

func TestWriteIsResumedWhereItStopped(t *testing.T) {
	h := newHost(t, copies)
	content := artifacttest.Noise(7, 6<<20)
	b := v1.Descriptor{Digest: artifacttest.DigestOf(content), Size: int64(len(content))}
	d := h.open(t)
	half := io.MultiReader(bytes.NewReader(content[:3<<20]), iotest.ErrReader(errors.New("the network is gone")))
	if err := d.Write(t.Context(), b, 0, half); err == nil || !strings.Contains(err.Error(), "network is gone") {
		t.Fatal(err)
	}
	again := h.open(t)
	wants, err := again.Missing(t.Context(), []v1.Descriptor{b})
	check(t, err)
	if len(wants) != 1 || wants[0].Offset != 3<<20 {
		t.Fatalf("missing: %+v", wants)
	}
	check(t, again.Write(t.Context(), b, wants[0].Offset, bytes.NewReader(content[wants[0].Offset:])))
	r, size, err := again.Blob(t.Context(), b.Digest)
	check(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || size != b.Size || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	fi, err := os.Stat(again.store.BlobPath(b.Digest))
	if err != nil || fi.Mode() != 0o444 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestWriteRefusesOtherBytes(t *testing.T) {
	d := newHost(t, copies).open(t)
	b := v1.Descriptor{Digest: artifacttest.DigestOf([]byte("good")), Size: 4}
	if err := d.Write(t.Context(), b, 0, strings.NewReader("evil")); !artifact.IsDamaged(err) {
		t.Error(err)
	}
	if _, _, err := d.Blob(t.Context(), b.Digest); !errors.Is(err, artifact.ErrNotFound) {
		t.Error(err)
	}
}

func TestWriteOfTheEndAloneSaysWhatToDo(t *testing.T) {
	d := newHost(t, copies).open(t)
	b := v1.Descriptor{Digest: artifacttest.DigestOf([]byte("good")), Size: 4}
	if err := d.Write(t.Context(), b, 2, strings.NewReader("od")); err == nil || !strings.Contains(err.Error(), "send it again") {
		t.Error(err)
	}
}

func TestUpgradeDropsOnlyWhatNobodyNeeds(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		b := newBuilder(t)
		shared := files{file("bin/shared", "shared")}
		base := artifacttest.Noise(1, 50_000)
		old := b.set(b.image("cluster:1", []files{shared, {file("bin/a", "1")}}, b.packed(b.container("example.com/a:1", base, []byte("1")))...))
		next := b.set(b.image("cluster:2", []files{shared, {file("bin/a", "2")}}, b.packed(b.container("example.com/a:2", base, []byte("2")))...))
		d := h.open(t)
		oldDir := adopt(t, d, old)
		keep := Keeping{Images: []v1.Hash{old.Manifest.Digest}}
		yes, err := d.Superfluous(t.Context(), keep)
		if err != nil || !yes {
			t.Errorf("layers that are unpacked are no burden: %v, %v", yes, err)
		}
		_, err = d.Drop(t.Context(), keep)
		check(t, err)
		if yes, err := d.Superfluous(t.Context(), keep); err != nil || yes {
			t.Errorf("something is left: %v, %v", yes, err)
		}
		if sent := deliver(t, d, old); sent != 0 {
			t.Errorf("a second run sends %d bytes", sent)
		}
		sent := deliver(t, d, next)
		if whole := size(next); h.mode == mounts && sent > whole-int64(len(base))-next.Layers[0].Size || sent > whole-int64(len(base)) {
			t.Errorf("the upgrade sends %d bytes of %d", sent, whole)
		}
		dir := adopt(t, d, next)
		if got := treeOf(t, oldDir)["bin/a"]; got != "1" {
			t.Errorf("the old tree has %q while the new one comes", got)
		}
		_, err = d.Drop(t.Context(), Keeping{Images: []v1.Hash{next.Manifest.Digest}})
		check(t, err)
		if _, err := os.Stat(oldDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old tree: %v", err)
		}
		tree := treeOf(t, dir)
		if tree["bin/a"] != "2" || tree["bin/shared"] != "shared" {
			t.Errorf("the new tree is %v", tree)
		}
		for _, i := range next.Images {
			if _, err := os.Stat(d.store.BlobPath(i.Digest)); err != nil {
				t.Error(err)
			}
		}
		left, err := d.store.Inventory(t.Context())
		check(t, err)
		if len(left) != 2+len(next.Images) {
			t.Errorf("%d blobs are left", len(left))
		}
		if h.mode == mounts {
			if units := h.enabled(); len(units) != 1 {
				t.Errorf("units: %v", units)
			}
			check(t, checkDirs(h.dir, map[string]int{"units": 1, "store/mount/layers": 3, "store/mount/images": 1, "rootfs": 1, "store/adopted": 1}))
		}
	})
}

// checkDirs compares how much is in directories.
func checkDirs(root string, want map[string]int) error {
	for dir, n := range want {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) != n {
			return fmt.Errorf("%s: %v, want %d, %w", dir, entries, n, err)
		}
	}
	return nil
}

func size(s *Set) (n int64) {
	for _, b := range s.Blobs() {
		n += b.Size
	}
	return n
}

func TestDropRefusesImagesThatAreNotAdopted(t *testing.T) {
	_, s := sample(t)
	d := newHost(t, copies).open(t)
	deliver(t, d, s)
	if _, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}}); !errors.Is(err, artifact.ErrNotFound) {
		t.Error(err)
	}
	if sent := deliver(t, d, s); sent != 0 {
		t.Errorf("%d bytes were lost", sent)
	}
}

func TestListIsWhatDropRemoves(t *testing.T) {
	b, s := sample(t)
	d := newHost(t, copies).open(t)
	adopt(t, d, s)
	keep := Keeping{Images: []v1.Hash{s.Manifest.Digest}}
	_, err := d.Drop(t.Context(), keep)
	check(t, err)
	if list, err := d.List(t.Context(), keep); err != nil || len(list) > 0 {
		t.Errorf("nothing is superfluous: %v, %v", list, err)
	}
	other := b.set(b.image("other:1", nil, b.packed(b.container("example.com/other:1", artifacttest.Noise(7, 50_000)))...))
	adopt(t, d, other)
	list, err := d.List(t.Context(), keep)
	check(t, err)
	before, err := d.store.Inventory(t.Context())
	check(t, err)
	_, err = d.Drop(t.Context(), keep)
	check(t, err)
	after, err := d.store.Inventory(t.Context())
	check(t, err)
	want := []string{other.Ref}
	for _, h := range before {
		if !slices.Contains(after, h) {
			want = append(want, h.String())
		}
	}
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) || len(want) < 3 {
		t.Errorf("listed\n%q, removed\n%q", names, want)
	}
}

func TestHandedImagesGoAndAreNotSentAgain(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		b, s := sample(t)
		d := h.open(t)
		adopt(t, d, s)
		keep := Keeping{Images: []v1.Hash{s.Manifest.Digest}, Handed: true}
		freed, err := d.Drop(t.Context(), keep)
		check(t, err)
		if freed < 100_000 {
			t.Errorf("freed %d", freed)
		}
		if sent := deliver(t, d, s); sent != 0 {
			t.Errorf("a second run sends %d bytes", sent)
		}
		adopt(t, d, s)
		images, err := d.Images(t.Context())
		check(t, err)
		if n := len(images.Entries()); n != 0 {
			t.Errorf("%d images are offered", n)
		}
		if err := d.WriteArchive(t.Context(), io.Discard, s.Manifest.Digest, FormatOCI, v1.Platform{}, nil); err == nil || !strings.Contains(err.Error(), "master") {
			t.Error(err)
		}
		// another image with the same blobs gets them
		other := b.set(b.image("other:1", nil, b.packed(b.container("example.com/a:1", artifacttest.Noise(1, 100_000)))...))
		adopt(t, d, other)
	})
}

func TestDropKeepsWhatOthersNamedInTheStore(t *testing.T) {
	_, s := sample(t)
	d := newHost(t, copies).open(t)
	adopt(t, d, s)
	ref, _ := artifacttest.Tagged(t, d.store)
	check(t, d.Close())
	_, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}})
	check(t, err)
	artifacttest.RequireWholeStore(t, d.store, ref)
}

func TestImagesOfAllClusterImagesTheLastFirst(t *testing.T) {
	b := newBuilder(t)
	d := newHost(t, copies).open(t)
	for i, name := range []string{"cluster:1", "cluster:2"} {
		own := b.container(fmt.Sprintf("example.com/own:%d", i+1), []byte(name))
		s := b.set(b.image(name, nil, b.packed(b.container("example.com/same:1", []byte("of "+name)), own)...))
		adopt(t, d, s)
	}
	images, err := d.Images(t.Context())
	check(t, err)
	var names []string
	for _, e := range images.Entries() {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"example.com/own:1", "example.com/own:2", "example.com/same:1"}, names); diff != "" {
		t.Error(diff)
	}
	_, m, _, err := artifact.Manifest(t.Context(), images, artifacttest.MustRef(t, "example.com/same:1"), nil)
	check(t, err)
	if want := artifacttest.DigestOf([]byte("of cluster:2")); m.Layers[0].Digest != want {
		t.Error("the name means the image of the older cluster image")
	}
	for _, e := range images.Entries() {
		all, err := layout.Follow(t.Context(), images, e.Desc)
		if err != nil || len(all.Lacks) > 0 {
			t.Errorf("%s: %v, %v", e.Name, all.Lacks, err)
		}
	}
}

func TestArchivesHoldTheImages(t *testing.T) {
	_, s := sample(t)
	d := newHost(t, copies).open(t)
	adopt(t, d, s)
	for _, tc := range []struct {
		names []string
		blobs int
	}{{nil, 7}, {[]string{"example.com/a:1"}, 4}} {
		var out bytes.Buffer
		check(t, d.WriteArchive(t.Context(), &out, s.Manifest.Digest, FormatOCI, v1.Platform{}, tc.names))
		list := archive(t, out.Bytes())
		blobs := 0
		for name, content := range list {
			if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && hex != "" {
				blobs++
				if artifacttest.DigestOf([]byte(content)).Hex != hex {
					t.Errorf("%s is not what its name says", name)
				}
			}
		}
		if list["index.json"] == "" || blobs != tc.blobs {
			t.Errorf("%v: %d blobs", tc.names, blobs)
		}
	}
}

func TestDockerGetsAnArchiveOfItsOwnForm(t *testing.T) {
	b := newBuilder(t)
	d := newHost(t, copies).open(t)
	_, dir, name, _ := airgaptest.TwoImages(t)
	s := b.set(b.image("cluster:1", nil, airgaptest.Files(t, dir)))
	adopt(t, d, s)
	var out bytes.Buffer
	check(t, d.WriteArchive(t.Context(), &out, s.Manifest.Digest, FormatDocker, v1.Platform{OS: "linux", Architecture: "amd64"}, []string{name}))
	if list := archive(t, out.Bytes()); !strings.Contains(list["manifest.json"], name) {
		t.Errorf("manifest.json is %q", list["manifest.json"])
	}
}

func TestBlobsThatShareALayerWithTheTreeAreTakenOut(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		b := newBuilder(t)
		mixed := files{file("bin/k3s", "program")}
		for _, l := range b.packed(b.container("example.com/a:1", artifacttest.Noise(1, 50_000), []byte("a"))) {
			mixed = append(mixed, l...)
		}
		s := b.set(b.image("cluster:1", []files{mixed}))
		if len(s.Layers) != 1 || !s.Layers[0].Packs || len(s.Blobs()) != 3 {
			t.Fatalf("%d layers, %d blobs travel", len(s.Layers), len(s.Blobs()))
		}
		d := h.open(t)
		dir := adopt(t, d, s)
		_, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}})
		check(t, err)
		tree := treeOf(t, dir)
		if len(tree) != 3 || tree["images/index.json"] != string(s.Index) || tree["bin/k3s"] != "program" {
			t.Errorf("the tree is %v", tree)
		}
		check(t, d.WriteArchive(t.Context(), io.Discard, s.Manifest.Digest, FormatOCI, v1.Platform{}, nil))
		if sent := deliver(t, d, s); sent != 0 {
			t.Errorf("a second run sends %d bytes", sent)
		}
	})
}

func TestManyLayersFitIntoThePageOfAMount(t *testing.T) {
	h := newHost(t, mounts)
	b := newBuilder(t)
	var tree []files
	for i := range 120 {
		tree = append(tree, files{file(fmt.Sprintf("etc/%d", i), fmt.Sprint(i)), file("etc/last", fmt.Sprint(i))})
	}
	d := h.open(t)
	d.Note = func(text string) { t.Errorf("note: %s", text) }
	dir := adopt(t, d, b.set(b.image("cluster:1", tree)))
	got := treeOf(t, dir)
	if !mounted(dir) || len(got) != 121 || got["etc/last"] != "119" {
		t.Errorf("mounted: %v, %d files, the last is %q", mounted(dir), len(got), got["etc/last"])
	}
}

func TestTreeIsCopiedWithANoteWhereItCannotBeMounted(t *testing.T) {
	h := newHost(t, mounts)
	h.dir = filepath.Join(h.dir, strings.Repeat("long/", 20))
	check(t, os.MkdirAll(filepath.Join(h.dir, "units"), 0o755))
	b := newBuilder(t)
	var tree []files
	for i := range 60 {
		tree = append(tree, files{file(fmt.Sprint(i), "")})
	}
	d := h.open(t)
	var notes []string
	d.Note = func(text string) { notes = append(notes, text) }
	s := b.set(b.image("cluster:1", tree))
	dir := adopt(t, d, s)
	if mounted(dir) || len(treeOf(t, dir)) != 60 || len(notes) != 1 || !strings.Contains(notes[0], "copied") {
		t.Errorf("mounted: %v, notes: %q", mounted(dir), notes)
	}
	_, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}})
	check(t, err)
	check(t, checkDirs(h.dir, map[string]int{"units": 0, "store/mount/layers": 0, "store/mount/images": 0, "store/l": 0}))
	if sent := deliver(t, d, s); sent != 0 {
		t.Errorf("a second run sends %d bytes", sent)
	}
}

func TestFullDiskLeavesNothingHalfWrittenAndCompletesLater(t *testing.T) {
	h := newHost(t, mounts)
	check(t, syscall.Mount("tmpfs", h.dir, "tmpfs", 0, "size=4m"))
	t.Cleanup(func() { check(t, detach(h.dir)) })
	check(t, os.Mkdir(filepath.Join(h.dir, "units"), 0o755))
	b := newBuilder(t)
	s := b.set(b.image("cluster:1", []files{{file("zeros", strings.Repeat("\x00", 6<<20))}}))
	d := h.open(t)
	deliver(t, d, s)
	_, err := d.Adopt(t.Context(), s.Listing)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free") {
		t.Fatal(err)
	}
	check(t, checkDirs(h.dir, map[string]int{"rootfs": 0, "units": 0, "store/adopted": 0, "store/mount/layers": 0, "store/mount/images": 0}))
	check(t, syscall.Mount("tmpfs", h.dir, "tmpfs", syscall.MS_REMOUNT, "size=32m"))
	dir := adopt(t, d, s)
	if n := len(treeOf(t, dir)["zeros"]); n != 6<<20 {
		t.Errorf("%d bytes", n)
	}
}

func TestBlobThatDoesNotFitSaysSoAndIsWrittenLater(t *testing.T) {
	h := newHost(t, mounts)
	check(t, syscall.Mount("tmpfs", h.dir, "tmpfs", 0, "size=2m"))
	t.Cleanup(func() { check(t, detach(h.dir)) })
	content := artifacttest.Noise(7, 6<<20)
	b := v1.Descriptor{Digest: artifacttest.DigestOf(content), Size: int64(len(content))}
	d := h.open(t)
	if err := d.Write(t.Context(), b, 0, bytes.NewReader(content)); err == nil || !strings.Contains(err.Error(), "free space") {
		t.Fatal(err)
	}
	check(t, checkDirs(h.dir, map[string]int{"store/blobs/sha256": 0}))
	check(t, syscall.Mount("tmpfs", h.dir, "tmpfs", syscall.MS_REMOUNT, "size=32m"))
	check(t, d.Write(t.Context(), b, 0, bytes.NewReader(content)))
}

func TestLayerThatIsUnpackedInAnotherFormIsSentAgain(t *testing.T) {
	b := newBuilder(t)
	through := files{file("lib/x", "x")}
	one := b.set(b.image("cluster:1", []files{through}))
	two := b.set(b.image("cluster:2", []files{{airgaptest.File{Name: "usr/lib", Kind: tar.TypeDir}, airgaptest.File{Name: "lib", Kind: tar.TypeSymlink, Link: "usr/lib"}}, through}))
	d := newHost(t, mounts).open(t)
	adopt(t, d, one)
	_, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{one.Manifest.Digest}})
	check(t, err)
	deliver(t, d, two) // without the layer, which is unpacked
	if _, err := d.Adopt(t.Context(), two.Listing); !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "run the command again") {
		t.Fatal(err)
	}
	dir := adopt(t, d, two)
	if got := treeOf(t, dir)["usr/lib/x"]; got != "x" {
		t.Errorf("the tree is %v", treeOf(t, dir))
	}
}

func TestDiskUsedIsWhatIsPromised(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		b := newBuilder(t)
		rest := b.packed(b.container("example.com/a:1", artifacttest.Noise(1, 20<<20)), b.container("example.com/b:1", artifacttest.Noise(2, 12<<20)))
		program := string(artifacttest.Noise(3, 2<<20)) + strings.Repeat("\x00", 2<<20) // half of it compresses
		s := b.set(b.image("cluster:1", []files{{file("bin/kubelet", program)}}, rest...))
		d := h.open(t)
		var peak int64
		d.reached = func(string) { peak = max(peak, used(t, h.dir)) }
		adopt(t, d, s)
		_, err := d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}})
		check(t, err)
		after, blobs := used(t, h.dir), size(s)
		promisedPeak, promisedAfter := s.Needed(true)
		t.Logf("blobs %d, peak %.2f (promised %.2f), after %.2f (promised %.2f)", blobs, float64(peak)/float64(blobs),
			float64(promisedPeak)/float64(blobs), float64(after)/float64(blobs), float64(promisedAfter)/float64(blobs))
		const small = 1 << 20 // directories, records, the index
		if peak > blobs*22/10 || peak > promisedPeak+small {
			t.Errorf("the peak is %d, promised %d, of %d", peak, promisedPeak, blobs)
		}
		if after > blobs*12/10 || after > promisedAfter+small {
			t.Errorf("after it is %d, promised %d, of %d", after, promisedAfter, blobs)
		}
		_, err = d.Drop(t.Context(), Keeping{Images: []v1.Hash{s.Manifest.Digest}, Handed: true})
		check(t, err)
		if _, node := s.Needed(false); used(t, h.dir) > node+small {
			t.Errorf("a node has %d, promised %d", used(t, h.dir), node)
		}
	})
}

func TestTarballsAreHandedOnUncompressed(t *testing.T) {
	b := newBuilder(t)
	d := newHost(t, copies).open(t)
	plain := airgaptest.Tar(t, file("manifest.json", "[]"))
	s := b.set(b.image("cluster:1", []files{{file("images/x.tar.gz", gzipped(t, plain)), file("images/y.tar", string(plain)), file("images/notes.txt", "")}}))
	adopt(t, d, s)
	list, err := d.Tarballs(s.Manifest.Digest)
	check(t, err)
	var names []string
	for _, path := range list {
		names = append(names, filepath.Base(path))
		r, err := OpenTarball(path)
		check(t, err)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
		check(t, r.Close())
	}
	if diff := cmp.Diff([]string{"x.tar.gz", "y.tar"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestWriteFileAppearsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent", "images", "all.tar")
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	broken := errors.New("broken")
	err := WriteFile(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 0 {
			t.Errorf("who watches the directory sees %v, %v", entries, err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	for _, p := range []string{path, Unfinished(path)} {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
	check(t, WriteFile(path, func(w io.Writer) error { _, err := io.WriteString(w, "whole"); return err }))
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "whole" {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestUnitNamesAreThoseOfSystemd(t *testing.T) {
	for dir, want := range map[string]string{ // systemd-escape --path --suffix=mount
		"/var/lib/sealrt/rootfs/0123": "var-lib-sealrt-rootfs-0123.mount",
		"/data-1/x y":                 `data\x2d1-x\x20y.mount`,
		"/.hidden":                    `\x2ehidden.mount`,
	} {
		if got := UnitName(dir); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
}

func TestAdoptEndsWithItsContext(t *testing.T) {
	eachMode(t, func(t *testing.T, h host) {
		_, s := sample(t)
		d := h.open(t)
		deliver(t, d, s)
		ctx, cancel := context.WithCancel(t.Context())
		d.reached = func(string) { cancel() }
		if _, err := d.Adopt(ctx, s.Listing); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		d.reached = nil
		adopt(t, d, s)
	})
}

// A reset takes rootfs/ for a sign of images.
func TestOpeningMakesNoPlaceForTrees(t *testing.T) {
	home := t.TempDir()
	d, err := Open(filepath.Join(home, "store"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "rootfs")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
