package airgap

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// maxIndex bounds the bytes of an index.json that is read.
const maxIndex = 16 << 20

// layoutFile is the whole of oci-layout (OCI image-spec, image-layout.md).
func layoutFile() []byte { return []byte(`{"imageLayoutVersion":"1.0.0"}`) }

// formatIndex returns index.json for the images that were found and for those
// of base, the index.json of the image below, that have other names. It is the
// same for the same images, in whatever order.
func formatIndex(found []*resolved, base []byte) ([]byte, error) {
	byName := map[string]v1.Descriptor{}
	var nameless []v1.Descriptor
	if len(base) > 0 {
		idx, err := parseIndex(base)
		if err != nil {
			return nil, fmt.Errorf("images/index.json of the base image: %w", err)
		}
		for _, d := range idx.Manifests {
			if name := nameOf(d); name != "" {
				byName[name] = d
			} else {
				nameless = append(nameless, d)
			}
		}
	}
	for _, f := range found {
		for _, d := range f.entries {
			byName[nameOf(d)] = d
		}
	}
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: slices.Clone(nameless)}
	for _, d := range byName {
		idx.Manifests = append(idx.Manifests, d)
	}
	slices.SortStableFunc(idx.Manifests, func(a, b v1.Descriptor) int {
		return cmp.Or(cmp.Compare(nameOf(a), nameOf(b)), cmp.Compare(a.Digest.Hex, b.Digest.Hex))
	})
	return json.Marshal(idx)
}

// parseIndex reads index.json.
func parseIndex(b []byte) (*v1.IndexManifest, error) {
	idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for _, d := range idx.Manifests {
		if err := checkDescriptor(d); err != nil {
			return nil, err
		}
	}
	return idx, nil
}

// nameOf returns the full name of an entry of index.json, "" if it has none.
func nameOf(d v1.Descriptor) string {
	return cmp.Or(d.Annotations[artifact.AnnotationContainerdName], d.Annotations[artifact.AnnotationRefName])
}

// Layout is the images/ directory of an unpacked cluster image.
type Layout struct {
	root  *os.Root
	raw   []byte // index.json as it is
	index *v1.IndexManifest
}

// Entry is one name of a layout.
type Entry struct {
	Name string        // as container runtimes look for it; "" if the image has none
	Desc v1.Descriptor // of a manifest, or of an index of which not all children are here
}

// Open opens the images/ directory of an unpacked cluster image. What its files
// link to outside of dir is not read. A directory that is no image layout is an
// error wrapping fs.ErrNotExist. The caller closes the layout.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open image layout: %w", err)
	}
	l := &Layout{root: root}
	if err := l.load(); err != nil {
		root.Close()
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: name the images/ directory of an unpacked cluster image", err)
		}
		return nil, fmt.Errorf("open image layout %s: %w", dir, err)
	}
	return l, nil
}

// load reads what says which images there are.
func (l *Layout) load() error {
	if _, err := l.root.Stat("oci-layout"); err != nil {
		return err
	}
	f, err := l.root.Open("index.json")
	if err != nil {
		return err
	}
	defer f.Close()
	if l.raw, err = io.ReadAll(io.LimitReader(f, maxIndex+1)); err != nil {
		return err
	}
	if len(l.raw) > maxIndex {
		return fmt.Errorf("index.json: more than %d bytes", maxIndex)
	}
	if l.index, err = parseIndex(l.raw); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	return nil
}

// Close gives up the directory.
func (l *Layout) Close() error { return l.root.Close() }

// Digest returns the digest of index.json, which the label of the cluster image
// states.
func (l *Layout) Digest() v1.Hash { return digestOf(l.raw) }

// Entries returns the names in the layout, in the order of index.json.
func (l *Layout) Entries() []Entry {
	entries := make([]Entry, len(l.index.Manifests))
	for i, d := range l.index.Manifests {
		entries[i] = Entry{Name: nameOf(d), Desc: bare(d)}
	}
	return entries
}

// path returns where a blob lies in the layout.
func path(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// content returns a small file.
func content(name string, b []byte) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(b)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}
