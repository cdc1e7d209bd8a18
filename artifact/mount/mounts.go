package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// ErrPermission is wrapped by errors that say this process may not mount.
var ErrPermission = errors.New("this user may not mount: run as root, or in a user namespace (unshare --user --map-root-user --map-auto --mount)")

// ErrNotMounted is wrapped by errors that say an image or directory is not mounted.
var ErrNotMounted = errors.New("not mounted")

// Store is what is needed of a store of images.
type Store interface {
	artifact.Source
	// Root returns the absolute path of the store.
	Root() string
	// Hold keeps blobs from being swept, and Prune from being called, until release.
	Hold(ctx context.Context) (release func() error, err error)
}

// Mounts are the mounted images of a store. Its methods may be called by several processes at once, which take turns.
type Mounts struct {
	store  Store
	dir    string
	change Change
}

// Change sees the verified bytes of a layer and calls use, once, with those that are to be unpacked.
type Change func(ctx context.Context, d v1.Descriptor, r io.Reader, use func(io.Reader) error) error

// Of returns the mounts of a store. It touches nothing.
func Of(store Store) *Mounts {
	return &Mounts{store: store, dir: filepath.Join(store.Root(), "mount")}
}

// Through returns mounts of the same store whose layers are unpacked as change has them. All mounts of a store have to be
// through the same, since they share the layers.
func (m *Mounts) Through(change Change) *Mounts {
	return &Mounts{store: m.store, dir: m.dir, change: change}
}

// read calls use with the layer d as it is to be unpacked.
func (m *Mounts) read(ctx context.Context, ref artifact.Reference, d v1.Descriptor, use func(io.Reader) error) error {
	return artifact.ReadLayer(ctx, m.store, ref, d, func(r io.Reader) error {
		if m.change == nil {
			return use(r)
		}
		return m.change(ctx, d, r, use)
	})
}

// Mounted is an image that is mounted.
type Mounted struct {
	Dir       string             `json:"dir"`                 // where its tree is
	Ref       artifact.Reference `json:"ref"`                 // by which it was mounted
	Digest    v1.Hash            `json:"digest"`              // of its manifest
	Elsewhere bool               `json:"elsewhere,omitempty"` // in another mount namespace only, not for this process
}

// record is the file that lies beside a mount.
type record struct {
	Ref    artifact.Reference `json:"ref"`
	Digest v1.Hash            `json:"digest"`
	Source string             `json:"source"`           // of the mount, by which it is known in every mount namespace
	Layers []string           `json:"layers"`           // names of unpacked layers
	Pinned bool               `json:"pinned,omitempty"` // by Lowers: somebody else mounts it, now or after the next boot
}

// image is a directory in images/, mounted or not.
type image struct {
	record
	dir       string // absolute
	here      bool   // mounted in this mount namespace
	elsewhere bool   // mounted in another one
}

func (i image) tree() string { return filepath.Join(i.dir, treeName) }

const (
	layersName = "layers"
	imagesName = "images"
	treeName   = "tree"
	recordName = "mount.json"
	tmpPrefix  = "tmp-"
	userSuffix = "-user" // ends the names of layers whose marks are attributes of users: only mounts in user namespaces read them
)

func (m *Mounts) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// Mount mounts the image of the manifest d with the content manifest, read-only, and returns the directory. An image
// that is mounted already stays as it is. ref names it in errors and for Unmount. Until Unmount, or until the machine or
// the mount namespace ends, nothing of it is removed by Prune. Without the right to mount the error wraps ErrPermission,
// and nothing was unpacked.
func (m *Mounts) Mount(ctx context.Context, ref artifact.Reference, d v1.Hash, manifest *v1.Manifest) (dir string, err error) {
	if err := canMount(); err != nil {
		return "", fmt.Errorf("mount %s: %w", ref.Familiar(), err)
	}
	release, err := m.store.Hold(ctx) // the blobs stay, and nobody prunes
	if err != nil {
		return "", fmt.Errorf("mount %s: %w", ref.Familiar(), err)
	}
	defer func() { err = errors.Join(err, release()) }()
	err = m.alone(ctx, func() error {
		dir, err = m.mount(ctx, ref, d, manifest)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("mount %s: %w", ref.Familiar(), err)
	}
	return dir, nil
}

func (m *Mounts) mount(ctx context.Context, ref artifact.Reference, d v1.Hash, manifest *v1.Manifest) (string, error) {
	images, err := m.images()
	if err != nil {
		return "", err
	}
	final := m.path(imagesName, d.Hex)
	tree := filepath.Join(final, treeName)
	if i := slices.IndexFunc(images, func(i image) bool { return i.dir == final }); i >= 0 {
		switch old := images[i]; {
		case old.here:
			return tree, nil
		case old.elsewhere, old.Pinned:
			return tree, m.attach(old.record, final)
		}
		if err := m.discard(final); err != nil { // it was mounted before the machine was started
			return "", err
		}
	}
	w, err := m.newWork(ref)
	if err != nil {
		return "", err
	}
	defer w.end()
	s, err := w.unpack(ctx, manifest.Layers)
	if err != nil {
		return "", full(m.dir, err)
	}
	r, err := w.prepare(s, d, final)
	if err != nil {
		return "", full(m.dir, err)
	}
	if err := m.attach(r, final); err != nil {
		return "", errors.Join(err, m.discard(final))
	}
	return tree, nil
}

// attach mounts what prepare left in dir.
func (m *Mounts) attach(r record, dir string) error {
	o := overlay{source: r.Source, lowers: []string{filepath.Join(dir, topName)}}
	for _, key := range r.Layers {
		if strings.HasSuffix(key, userSuffix) != (userMark() != "") {
			return errors.New("it is mounted in a user namespace, and its layers are good for those only: unmount it there first")
		}
		o.lowers = append(o.lowers, m.path(layersName, key, treeName))
	}
	if len(r.Layers) == 0 {
		o.lowers = append(o.lowers, filepath.Join(dir, emptyName)) // the kernel wants two
	}
	return o.mount(filepath.Join(dir, treeName))
}

// Unmount ends the mount at dir, which Mount returned, and removes what belongs to this mount alone; the unpacked layers
// stay until Prune. A directory that is none is an error wrapping ErrNotMounted; one where somebody is at work is an error
// that says so.
func (m *Mounts) Unmount(ctx context.Context, dir string) error {
	if _, err := os.Stat(m.dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmount %s: %w", dir, ErrNotMounted)
	}
	err := m.alone(ctx, func() error {
		images, err := m.images()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(images, func(i image) bool { return sameFile(i.tree(), dir) })
		switch {
		case i < 0 || !images[i].here && !images[i].elsewhere:
			return ErrNotMounted
		case !images[i].here:
			return fmt.Errorf("it is mounted in another mount namespace: unmount it there")
		}
		if err := unmount(images[i].tree()); err != nil {
			return err
		}
		here, elsewhere, err := mountSources()
		if source := images[i].Source; err != nil || here[source] || elsewhere[source] {
			return err
		}
		return m.discard(images[i].dir)
	})
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// sameFile says whether two paths lead to one directory.
func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	inA, errA := os.Stat(a)
	inB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(inA, inB)
}

// List returns the images that are mounted, sorted by directory.
func (m *Mounts) List(ctx context.Context) ([]Mounted, error) {
	images, err := m.images()
	if err != nil {
		return nil, fmt.Errorf("list the mounts of %s: %w", m.store.Root(), notOurs(err))
	}
	var list []Mounted
	for _, i := range images {
		if i.here || i.elsewhere {
			list = append(list, Mounted{Dir: i.tree(), Ref: i.Ref, Digest: i.Digest, Elsewhere: !i.here})
		}
	}
	return list, nil
}

// images lists what is in images/.
func (m *Mounts) images() ([]image, error) {
	entries, err := os.ReadDir(m.path(imagesName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	here, elsewhere, err := mountSources()
	if err != nil {
		return nil, err
	}
	var list []image
	for _, e := range entries {
		i := image{dir: m.path(imagesName, e.Name())}
		raw, err := os.ReadFile(filepath.Join(i.dir, recordName))
		if err == nil {
			err = json.Unmarshal(raw, &i.record)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && i.Source == "" {
			i.record = record{} // lost in a crash of the machine, as was the mount
		}
		i.here, i.elsewhere = here[i.Source], elsewhere[i.Source]
		list = append(list, i)
	}
	return list, nil
}

// discard removes a directory; under a name by which nobody takes it for whole, if it takes time.
func (m *Mounts) discard(dir string) error {
	doomed := m.path(tmpPrefix + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir))
	if err := os.Rename(dir, doomed); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return removeTree(doomed)
}

// reap removes what those who are gone were making. The lock is held.
func (m *Mounts) reap() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			if err := removeTree(m.path(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
