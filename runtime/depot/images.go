package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/export"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Images returns the container images of all adopted cluster images. Where two
// of them give one name to different images, the one adopted last counts. What
// was handed on and dropped is not among them. What it opens was verified when
// it was written. It shows the depot as it is now; adopting and dropping later
// does not change it, but for blobs that go.
func (d *Depot) Images(context.Context) (layout.Images, error) {
	records, err := d.records()
	if err != nil {
		return nil, fmt.Errorf("container images: %w", err)
	}
	images, err := d.layout(slices.DeleteFunc(records, func(r record) bool { return r.Handed }))
	if err != nil {
		return nil, fmt.Errorf("container images: %w", err)
	}
	return images, nil
}

// ErrHanded says that a host has no container images of a cluster image any more.
var ErrHanded = errors.New("were dropped from this host after the container runtime had them")

// ImagesOf returns the container images of one adopted cluster image. Without
// them, or when they were dropped, the error says so.
func (d *Depot) ImagesOf(h v1.Hash) (*layout.Layout, error) {
	r, err := d.record(h)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, fmt.Errorf("image %s is not adopted: %w", h, artifact.ErrNotFound)
	case r.Handed:
		return nil, fmt.Errorf("the container images of %s %w: it pulls them from a master", r.reference().Familiar(), ErrHanded)
	}
	return d.layout([]record{*r})
}

// layout is the container images of some records.
func (d *Depot) layout(records []record) (*layout.Layout, error) {
	index, err := merge(records)
	if err != nil {
		return nil, err
	}
	return layout.FromFS(blobTree{fstest.MapFS{"index.json": {Data: index, Mode: 0o444}}, d.store.Root()}, ".")
}

// merge makes one index.json of those of the records.
func merge(records []record) ([]byte, error) {
	if len(records) == 1 && records[0].Index != nil {
		return records[0].Index, nil // as it is, and so its digest
	}
	x, err := artifact.ParseIndex([]byte(`{"schemaVersion":2,"manifests":[]}`))
	if err != nil {
		return nil, err
	}
	type key struct {
		name   string
		digest v1.Hash
	}
	seen := map[key]bool{}
	for _, r := range records {
		if r.Index == nil {
			continue
		}
		idx, err := layout.ParseIndex(r.Index)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.reference().Familiar(), err)
		}
		for _, m := range idx.Manifests {
			k := key{layout.NameOf(m), m.Digest}
			if k.name != "" {
				k.digest = v1.Hash{} // the first that has the name counts
			}
			if !seen[k] {
				seen[k] = true
				x.Manifests = append(x.Manifests, m)
			}
		}
	}
	return x.Format()
}

// blobTree is a store as the files of an image layout with another index.
type blobTree struct {
	fstest.MapFS
	root string
}

// Open implements fs.FS.
func (t blobTree) Open(name string) (fs.File, error) {
	if rest, ok := strings.CutPrefix(name, "blobs/"); ok && fs.ValidPath(name) {
		return os.Open(filepath.Join(t.root, "blobs", filepath.FromSlash(rest)))
	}
	return t.MapFS.Open(name)
}

// Stat implements fs.StatFS.
func (t blobTree) Stat(name string) (fs.FileInfo, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	return fi, errors.Join(err, f.Close())
}

// Format is a form of archive.
type Format string

// The forms that container runtimes read.
const (
	FormatOCI    Format = "oci"    // ctr, k3s, k0s
	FormatDocker Format = "docker" // docker load
)

// WriteArchive writes container images of an adopted cluster image to w, as one
// archive: those of the given full names, or all when there are none. platform
// is what a docker archive is for. It does not close w.
func (d *Depot) WriteArchive(ctx context.Context, w io.Writer, h v1.Hash, f Format, platform v1.Platform, names []string) error {
	images, err := d.ImagesOf(h)
	if err != nil {
		return err
	}
	switch f {
	case FormatDocker:
		return export.WriteDocker(ctx, w, images, platform, names, d.Note)
	case FormatOCI:
		return images.WriteArchive(ctx, w, names)
	}
	return fmt.Errorf("archives of the form %q are not known: oci or docker", f)
}

// HasImages reports whether an adopted cluster image names container images.
func (d *Depot) HasImages(h v1.Hash) (bool, error) {
	r, err := d.record(h)
	if err != nil {
		return false, err
	}
	if r == nil {
		return false, fmt.Errorf("image %s is not adopted: %w", h, artifact.ErrNotFound)
	}
	return len(r.Images) > 0, nil
}
