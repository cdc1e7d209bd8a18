package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Lowers is an image whose layers are unpacked for a mount that somebody else makes, at every boot perhaps.
type Lowers struct {
	Source string   // what the mount is to be of, by which it is known
	Dirs   []string // the lower directories, absolute, the top first; at least two
}

// Lowers unpacks the layers of an image and returns what an overlay mount of it takes. Nothing is mounted. What it returns
// stays, whatever Prune removes, until Release; a second call returns the same, and reads no layer. Layers that are
// unpacked already need not be in the store any more.
func (m *Mounts) Lowers(ctx context.Context, ref artifact.Reference, d v1.Hash, manifest *v1.Manifest) (l Lowers, err error) {
	release, err := m.store.Hold(ctx)
	if err != nil {
		return Lowers{}, fmt.Errorf("unpack %s: %w", ref.Familiar(), err)
	}
	defer func() { err = errors.Join(err, release()) }()
	err = m.alone(ctx, func() error {
		l, err = m.lowers(ctx, ref, d, manifest)
		return err
	})
	if err != nil {
		return Lowers{}, fmt.Errorf("unpack %s: %w", ref.Familiar(), err)
	}
	return l, nil
}

func (m *Mounts) lowers(ctx context.Context, ref artifact.Reference, d v1.Hash, manifest *v1.Manifest) (Lowers, error) {
	final := m.path(imagesName, d.Hex)
	if r, err := readRecord(final); err == nil && r.Pinned && m.whole(r) {
		return m.dirs(r, final), nil
	}
	if err := m.discard(final); err != nil { // of a mount that is gone, or damaged
		return Lowers{}, err
	}
	w, err := m.newWork(ref)
	if err != nil {
		return Lowers{}, err
	}
	defer w.end()
	w.pin = true
	s, err := w.unpack(ctx, manifest.Layers)
	if err != nil {
		return Lowers{}, err
	}
	r, err := w.prepare(s, d, final)
	if err == nil {
		err = syncFileSystem(m.dir) // the name too
	}
	return m.dirs(r, final), err
}

// whole says whether the layers of a record are there.
func (m *Mounts) whole(r record) bool {
	for _, key := range r.Layers {
		if _, err := os.Stat(m.path(layersName, key, dirsName)); err != nil {
			return false
		}
	}
	return true
}

func readRecord(dir string) (r record, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, recordName))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	return r, err
}

func (m *Mounts) dirs(r record, final string) Lowers {
	l := Lowers{Source: r.Source, Dirs: []string{filepath.Join(final, topName)}}
	for _, key := range r.Layers {
		l.Dirs = append(l.Dirs, m.path(layersName, key, treeName))
	}
	if len(r.Layers) == 0 {
		l.Dirs = append(l.Dirs, filepath.Join(final, emptyName))
	}
	return l
}

// Release gives up what Lowers made of an image, which must not be mounted any more. The layers go with Prune. An image that
// Lowers does not know is no error.
func (m *Mounts) Release(ctx context.Context, d v1.Hash) error {
	if _, err := os.Stat(m.path(imagesName, d.Hex)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return m.alone(ctx, func() error { return m.discard(m.path(imagesName, d.Hex)) })
}

// Unpacked reports whether a layer is unpacked by itself, so that images with it can do without its bytes.
func (m *Mounts) Unpacked(layer v1.Hash) bool {
	_, err := os.Stat(m.path(layersName, layer.Hex+userMark(), dirsName))
	return err == nil
}

// Usable returns an error that says why this process could not mount an overlay, or nil.
func Usable() error { return canMount() }
