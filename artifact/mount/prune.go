package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sealrt/sealrt/artifact/disk"
)

// Prune removes the unpacked layers that no mount uses, in whatever mount namespace, and what mounts left that are gone.
// It returns the bytes freed. Call it while nobody is adding to the store (store.Store.SweepAfter): who is about to
// mount holds it.
func (m *Mounts) Prune(ctx context.Context) (freed int64, err error) {
	if _, err := os.Stat(m.dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	err = m.alone(ctx, func() error {
		freed, err = m.prune(ctx)
		return err
	})
	if err != nil {
		return freed, fmt.Errorf("prune unpacked layers: %w", err)
	}
	return freed, nil
}

func (m *Mounts) prune(ctx context.Context) (freed int64, err error) {
	images, err := m.images()
	if err != nil {
		return 0, err
	}
	for _, i := range images {
		if !i.inUse() {
			if err := m.discard(i.dir); err != nil {
				return 0, err
			}
		}
	}
	list, err := m.unused(images)
	if err != nil {
		return 0, err
	}
	for _, u := range list {
		if ctx.Err() != nil {
			return freed, context.Cause(ctx)
		}
		if err := m.discard(filepath.Join(m.store.Root(), u.Name)); err != nil {
			return freed, err
		}
		freed += u.Size
	}
	return freed, nil
}

// inUse says whether the directory and the layers of an image have to stay.
func (i image) inUse() bool { return i.here || i.elsewhere || i.Pinned }

// Unused is an unpacked layer that no mount uses.
type Unused struct {
	Name string // of its directory, relative to the root of the store
	Size int64  // bytes of its files
}

// Unused lists what Prune would remove now, sorted by name, and removes nothing.
func (m *Mounts) Unused(context.Context) ([]Unused, error) {
	images, err := m.images()
	if err != nil {
		return nil, fmt.Errorf("list unpacked layers: %w", notOurs(err))
	}
	return m.unused(images)
}

func (m *Mounts) unused(images []image) ([]Unused, error) {
	used := map[string]bool{}
	for _, i := range images {
		for _, key := range i.Layers {
			used[key] = used[key] || i.inUse()
		}
	}
	entries, err := os.ReadDir(m.path(layersName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list unpacked layers: %w", err)
	}
	var list []Unused
	for _, e := range entries {
		if used[e.Name()] {
			continue
		}
		dir := m.path(layersName, e.Name())
		name, err := filepath.Rel(m.store.Root(), dir)
		if err != nil {
			return nil, err
		}
		list = append(list, Unused{name, sizeOf(dir)})
	}
	return list, nil
}

// sizeOf returns the bytes of the files in a directory, each once; what cannot be read does not count.
func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // removing tells what is wrong with it
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		names := int64(1)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			names = max(1, int64(st.Nlink))
		}
		n += info.Size() / names
		return nil
	})
	return n
}

// removeTree removes a directory, whatever the modes in it are. One that is not there is no error.
func removeTree(dir string) error {
	err := disk.RemoveTree(dir)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: it belongs to somebody else: remove it in the user namespace in which it was mounted", err)
	}
	return err
}
