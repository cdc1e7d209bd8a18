package depot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/mount"
	"github.com/sealrt/sealrt/artifact/store"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files are the entries of a layer, by name.
type files []airgaptest.File

func file(name, content string) airgaptest.File { return airgaptest.File{Name: name, Content: content} }

// builder makes cluster images in a store.
type builder struct {
	t     testing.TB
	store *store.Store
}

func newBuilder(t testing.TB) builder {
	s, err := store.Open(filepath.Join(t.TempDir(), "client"))
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return builder{t, s}
}

// inner is a container image: its blobs by digest, and its entry.
type inner struct {
	blobs map[v1.Hash][]byte
	entry v1.Descriptor
}

func (i inner) add(b []byte) v1.Descriptor {
	h := artifacttest.DigestOf(b)
	i.blobs[h] = b
	return v1.Descriptor{Digest: h, Size: int64(len(b))}
}

// container makes a container image of layers.
func (b builder) container(name string, layers ...[]byte) inner {
	b.t.Helper()
	i := inner{blobs: map[v1.Hash][]byte{}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	m.Config = i.add([]byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","author":%q,"rootfs":{"type":"layers"}}`, name)))
	m.Config.MediaType = types.OCIConfigJSON
	for _, l := range layers {
		d := i.add(l)
		d.MediaType = types.OCILayer
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	check(b.t, err)
	i.entry = i.add(raw)
	i.entry.MediaType = types.OCIManifestSchema1
	i.entry.Annotations = map[string]string{artifact.AnnotationRefName: name, artifact.AnnotationContainerdName: name}
	return i
}

// packed returns the layers that hold container images, as a build makes them:
// one for each blob, and one for the index.
func (b builder) packed(images ...inner) []files {
	b.t.Helper()
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	var list []files
	seen := map[v1.Hash]bool{}
	for _, i := range images {
		idx.Manifests = append(idx.Manifests, i.entry)
		for h, content := range i.blobs {
			if !seen[h] {
				seen[h] = true
				list = append(list, files{file("images/"+layout.BlobPath(h), string(content))})
			}
		}
	}
	raw, err := json.Marshal(idx)
	check(b.t, err)
	return append(list, files{file("images/index.json", string(raw)), file("images/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)})
}

// image makes a cluster image; layers of the tree are compressed.
func (b builder) image(name string, tree []files, rest ...files) artifact.Reference {
	b.t.Helper()
	var layers []v1.Descriptor
	for _, l := range tree {
		layers = append(layers, airgaptest.PutLayer(b.t, b.store, true, l...))
	}
	for _, l := range rest {
		layers = append(layers, airgaptest.PutLayer(b.t, b.store, false, l...))
	}
	return b.manifest(name, layers)
}

func (b builder) manifest(name string, layers []v1.Descriptor) artifact.Reference {
	b.t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: layers}
	m.Config = artifacttest.AddJSON(b.t, b.store, types.OCIConfigJSON, v1.ConfigFile{Architecture: "amd64", OS: "linux", Author: name})
	d := artifacttest.AddJSON(b.t, b.store, types.OCIManifestSchema1, m)
	return artifacttest.MustRef(b.t, name).WithDigest(d.Digest)
}

func (b builder) set(ref artifact.Reference) *Set {
	b.t.Helper()
	s, err := SetOf(b.t.Context(), b.store, ref)
	check(b.t, err)
	return s
}

// mode is how a host shows trees.
type mode string

const (
	mounts mode = "mounts"
	copies mode = "copies"
)

// host is the directory of a host's depot.
type host struct {
	dir  string
	mode mode
}

// eachMode runs a test on a host that mounts, where this user may, and on one
// that copies.
func eachMode(t *testing.T, test func(t *testing.T, h host)) {
	for _, m := range []mode{mounts, copies} {
		t.Run(string(m), func(t *testing.T) { test(t, newHost(t, m)) })
	}
}

func newHost(t *testing.T, m mode) host {
	t.Helper()
	if m == mounts {
		needMount(t)
	}
	dir, err := os.MkdirTemp("", "h") // a short name: it is in every option of a mount
	check(t, err)
	h := host{dir, m}
	t.Cleanup(func() {
		h.powerCut(t)
		check(t, removeAll(dir))
	})
	check(t, os.Mkdir(filepath.Join(dir, "units"), 0o755))
	return h
}

func needMount(t testing.TB) {
	t.Helper()
	if err := mount.Usable(); err != nil {
		t.Skipf("no overlays here: %v; copies are shown beside, and e2e/depot_test.go shows mounts", err)
	}
}

// removeAll removes what may hold directories that nobody may write to.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(p, 0o755)
		}
		return err
	})
	return os.RemoveAll(dir)
}

// powerCut ends what is mounted below the host's directory.
func (h host) powerCut(t testing.TB) {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mounts")
	check(t, err)
	for line := range strings.Lines(string(raw)) {
		if dir := strings.Fields(line)[1]; strings.HasPrefix(dir, h.dir+"/") {
			check(t, detach(dir))
		}
	}
}

// boot starts the units that are enabled.
func (h host) boot(t testing.TB) {
	t.Helper()
	for unit := range h.enabled() {
		check(t, h.units().mount(unit))
	}
}

func (h host) enabled() map[string]bool {
	raw, _ := os.ReadFile(filepath.Join(h.dir, "enabled"))
	set := map[string]bool{}
	for _, unit := range strings.Fields(string(raw)) {
		set[unit] = true
	}
	return set
}

// open opens the host's depot for this test.
func (h host) open(t testing.TB) *Depot {
	t.Helper()
	d, err := h.depot()
	check(t, err)
	t.Cleanup(func() { check(t, d.Close()) })
	return d
}

func (h host) depot() (*Depot, error) {
	d, err := Open(filepath.Join(h.dir, "store"))
	if err != nil {
		return nil, err
	}
	d.UnitDir = filepath.Join(h.dir, "units")
	if h.mode == mounts {
		d.Units = h.units()
	}
	return d, nil
}

func (h host) units() units { return units{h.dir} }

// units is a service manager that mounts what unit files say with mount(2), as
// mount(8) of older systems does.
type units struct{ dir string }

func (u units) Start(_ context.Context, unit string) error {
	set := host{dir: u.dir}.enabled()
	set[unit] = true
	return errors.Join(u.write(set), u.mount(unit))
}

func (u units) Stop(_ context.Context, unit string) error {
	set := host{dir: u.dir}.enabled()
	delete(set, unit)
	_, where, _, err := u.parse(unit)
	if err == nil && mounted(where) {
		err = detach(where)
	}
	return errors.Join(err, u.write(set))
}

func (u units) write(set map[string]bool) error {
	var list []string
	for unit := range set {
		list = append(list, unit)
	}
	return os.WriteFile(filepath.Join(u.dir, "enabled"), []byte(strings.Join(list, "\n")), 0o600)
}

func (u units) parse(unit string) (what, where, options string, err error) {
	raw, err := os.ReadFile(filepath.Join(u.dir, "units", unit))
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "What":
			what = value
		case "Where":
			where = value
		case "Options":
			options = value
		}
	}
	return what, where, options, err
}

func (u units) mount(unit string) error {
	what, where, options, err := u.parse(unit)
	if err != nil {
		return err
	}
	if UnitName(where) != unit {
		return fmt.Errorf("the unit of %s is called %s", where, unit)
	}
	var data []string
	var flags uintptr
	for _, o := range strings.Split(options, ",") {
		switch o {
		case "ro":
			flags |= syscall.MS_RDONLY
		case "nodev":
			flags |= syscall.MS_NODEV
		case "nosuid":
			flags |= syscall.MS_NOSUID
		case "nofail":
		default:
			data = append(data, o)
		}
	}
	return syscall.Mount(what, where, "overlay", flags, strings.Join(data, ","))
}

// deliver writes what the depot lacks of a set, and returns the bytes sent.
func deliver(t testing.TB, d *Depot, s *Set) (sent int64) {
	t.Helper()
	wants, err := d.Missing(t.Context(), s.Blobs())
	check(t, err)
	for _, w := range wants {
		r, err := s.Open(t.Context(), w.Descriptor, w.Offset)
		check(t, err)
		check(t, d.Write(t.Context(), w.Descriptor, w.Offset, r))
		check(t, r.Close())
		sent += w.Size - w.Offset
	}
	return sent
}

func adopt(t testing.TB, d *Depot, s *Set) string {
	t.Helper()
	deliver(t, d, s)
	dir, err := d.Adopt(t.Context(), s.Listing)
	check(t, err)
	return dir
}

// treeOf lists the files of a directory with their content.
func treeOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	check(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Type() == fs.ModeSymlink {
			return err
		}
		raw, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		tree[rel] = string(raw)
		return err
	}))
	return tree
}

// used is how many bytes the files of a directory take, each once, mounts left
// out.
func used(t testing.TB, dir string) (n int64) {
	t.Helper()
	seen := map[uint64]bool{}
	var top syscall.Stat_t
	check(t, syscall.Stat(dir, &top))
	check(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(p, &st)
		}
		if err != nil {
			return err
		}
		if st.Dev != top.Dev {
			return fs.SkipDir
		}
		if !seen[st.Ino] {
			seen[st.Ino] = true
			n += st.Blocks * 512
		}
		return nil
	}))
	return n
}

// archive lists what is in a tar, with the content.
func archive(t testing.TB, raw []byte) map[string]string {
	t.Helper()
	list := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		hdr, err := tr.Next()
		if err != nil {
			return list
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(tr)
		check(t, err)
		list[hdr.Name] = b.String()
	}
}

func gzipped(t testing.TB, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	check(t, errors.Join(err, w.Close()))
	return out.String()
}
