package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/store"
)

// Kept are the container images that a host has beside those of its cluster
// images: images that users pushed, and on a master what it fetched from another
// one. It is a store of images with a list of what was pushed.
type Kept struct {
	dir   string
	store *store.Store
}

// Files beside the store.
const (
	listFile = "pushed.json"
	listLock = "pushed.lock"
)

// Listed is an image in the list of what a host keeps.
type Listed struct {
	Name string        `json:"name"` // as runtimes ask for it
	Desc v1.Descriptor `json:"descriptor"`
	// Pushed is when a user pushed it; zero for what cluster images have, and
	// was fetched because this host lacked it.
	Pushed time.Time `json:"pushed,omitzero"`
}

// OpenKept opens what a host keeps in the directory of its service, and makes it
// when there is nothing. The caller closes it.
func OpenKept(dir string) (*Kept, error) {
	dir = filepath.Join(dir, imagesDir)
	s, err := store.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("images of the image service: %w", err)
	}
	return &Kept{dir: dir, store: s}, nil
}

// Close gives it up.
func (k *Kept) Close() error { return k.store.Close() }

// List returns what is kept, sorted by name.
func (k *Kept) List() ([]Listed, error) { return readList(k.dir) }

func readList(dir string) ([]Listed, error) {
	raw, err := os.ReadFile(filepath.Join(dir, listFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list of pushed images: %w", err)
	}
	var list []Listed
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, listFile), err)
	}
	return list, nil
}

// edit changes the list, which one process does at a time.
func (k *Kept) edit(ctx context.Context, change func(map[string]Listed) error) error {
	lock, err := disk.Lock(ctx, filepath.Join(k.dir, listLock), true)
	if err != nil {
		return fmt.Errorf("list of pushed images: %w", err)
	}
	defer lock.Close()
	list, err := k.List()
	if err != nil {
		return err
	}
	byName := map[string]Listed{}
	for _, l := range list {
		byName[l.Name] = l
	}
	before := maps.Clone(byName)
	if err := change(byName); err != nil {
		return err
	}
	if maps.EqualFunc(before, byName, same) {
		return nil
	}
	list = slices.SortedFunc(maps.Values(byName), func(a, b Listed) int { return cmp.Compare(a.Name, b.Name) })
	raw, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("list of pushed images: %w", err)
	}
	return disk.Replace(filepath.Join(k.dir, listFile), int64(len(raw)), func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
}

func same(a, b Listed) bool {
	return a.Name == b.Name && a.Desc.Digest == b.Desc.Digest && a.Pushed.Equal(b.Pushed)
}

// newer reports whether b replaces a, which has the same name: what was pushed
// last counts, on all masters alike. What was not pushed is what another host has
// now.
func newer(a, b Listed) bool {
	if c := b.Pushed.Compare(a.Pushed); c != 0 || a.Pushed.IsZero() {
		return c >= 0 && b.Desc.Digest != a.Desc.Digest || c > 0
	}
	return b.Desc.Digest.Hex > a.Desc.Digest.Hex
}

// Add takes an image in from a source: blobs that are here are not read again,
// and what came of big ones is gone on with after an interruption. An image of
// that name that was pushed later stays.
func (k *Kept) Add(ctx context.Context, l Listed, src artifact.Source) error {
	ref, err := artifact.ParseReference(l.Name)
	if err != nil {
		return err
	}
	release, err := k.store.Hold(ctx)
	if err != nil {
		return err
	}
	defer release() //nolint:errcheck // what matters was synced by Tag
	if err := k.fetch(ctx, src, ref, l.Desc); err != nil {
		return fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return k.edit(ctx, func(list map[string]Listed) error {
		if old, ok := list[l.Name]; ok && !newer(old, l) {
			return nil
		}
		list[l.Name] = l
		return k.store.Tag(ctx, ref, l.Desc)
	})
}

// fetch copies what d consists of; of an index, what of it the source has.
func (k *Kept) fetch(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) error {
	if d.MediaType.IsImage() || d.MediaType.IsIndex() {
		raw, err := artifact.ReadManifest(ctx, src, ref, d)
		if err != nil {
			return err
		}
		parts, err := artifact.Parts(d, raw)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if artifact.IsForeign(p.Descriptor) {
				continue
			}
			err := k.fetch(ctx, src, ref, p.Descriptor)
			if d.MediaType.IsIndex() && errors.Is(err, artifact.ErrNotFound) {
				continue // a platform that nobody here has
			}
			if err != nil {
				return err
			}
		}
	}
	return k.store.Put(ctx, ref, d, func(offset int64) (io.ReadCloser, error) { return src.Open(ctx, ref, d, offset) })
}

// Source returns where the images can be read.
func (k *Kept) Source() artifact.Source { return k.store }

// Have returns how many bytes of a blob are here: its size when all of it is.
func (k *Kept) Have(ctx context.Context, d v1.Descriptor) (int64, error) {
	ok, err := k.store.Has(ctx, artifact.Reference{}, d)
	if err != nil || ok {
		return d.Size, err
	}
	return min(k.store.KeptSize(d.Digest.Algorithm+"-"+d.Digest.Hex), d.Size), nil
}

// sources are places that are asked for a blob one after the other.
type sources []artifact.Source

// Resolve implements artifact.Source.
func (s sources) Resolve(ctx context.Context, ref artifact.Reference) (d v1.Descriptor, err error) {
	err = fmt.Errorf("%s: %w", ref.Familiar(), artifact.ErrNotFound)
	for _, src := range s {
		if d, err = src.Resolve(ctx, ref); err == nil {
			break
		}
	}
	return d, err
}

// Open implements artifact.Source.
func (s sources) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (r io.ReadCloser, err error) {
	err = fmt.Errorf("blob %s: %w", d.Digest, artifact.ErrNotFound)
	for _, src := range s {
		if r, err = src.Open(ctx, ref, d, offset); err == nil {
			break
		}
	}
	return r, err
}
