package airgap

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
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact"
)

// blobDir is where blobs lie in the tree of a cluster image.
const blobDir = "images/blobs/sha256"

// packed finds blobs that are on this machine already: as such in the store, or
// inside a layer of images/ there.
type packed struct {
	store *artifact.Store
}

// record is what the store's cache keeps about a layer.
type record struct {
	Digest v1.Hash `json:"digest"`          // of the layer; the store forgets the record with it
	DiffID v1.Hash `json:"diffID,omitzero"` // of a layer that is found by its content
	Size   int64   `json:"size,omitempty"`  // of such a layer, in bytes
}

// blobKey is the key of the record that says which layer has a blob.
func blobKey(h v1.Hash) string { return "airgap/blob/" + h.Hex }

// open returns the bytes of d, or nil when they are not on this machine.
func (p packed) open(d v1.Descriptor) (io.ReadCloser, error) {
	if f, err := os.Open(p.store.BlobPath(d.Digest)); !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	r, ok := p.record(blobKey(d.Digest))
	if !ok {
		return nil, nil
	}
	f, err := os.Open(p.store.BlobPath(r.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	content, err := seekEntry(f, blobDir+"/"+d.Digest.Hex)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("layer %s: %w", r.Digest, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{content, f}, nil
}

// record reads the record of that key; one that cannot be read is no record.
func (p packed) record(key string) (record, bool) {
	var r record
	b, ok := p.store.CacheGet(key)
	if !ok || json.Unmarshal(b, &r) != nil || r.Digest.Hex == "" {
		return record{}, false
	}
	return r, true
}

// seekEntry returns the content of a file in an uncompressed tar archive,
// passing over the others without reading them.
func seekEntry(f *os.File, name string) (io.Reader, error) {
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", name, err)
		}
		if hdr.Name == name {
			return tr, nil
		}
	}
}

// documents is a source of manifests and configs that keeps what it read in the
// store, so that the next build asks for nothing but what a tag means now.
type documents struct {
	src artifact.Source
	packed
	flights singleflight.Group

	mu   sync.Mutex
	tops map[v1.Hash]v1.Descriptor // what Resolve returned
}

// Resolve implements artifact.Source. A reference with a digest that was read
// before is not asked for again.
func (s *documents) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	h, pinned := ref.Digest()
	if pinned {
		s.mu.Lock()
		d, known := s.tops[h]
		s.mu.Unlock()
		if known {
			return d, nil
		}
		if d, err := s.store.Resolve(ctx, ref); !errors.Is(err, artifact.ErrNotFound) {
			return d, err
		}
	}
	d, err := s.src.Resolve(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tops[d.Digest] = d
	return d, nil
}

// Open implements artifact.Source for manifests, indexes and configs.
func (s *documents) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b, err, _ := s.flights.Do(d.Digest.String(), func() (any, error) { return s.read(ctx, ref, d) })
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(b.([]byte))
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

// read returns a document from this machine, or else fetches and keeps it.
func (s *documents) read(ctx context.Context, ref artifact.Reference, d v1.Descriptor) ([]byte, error) {
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	local, err := s.packed.open(d)
	if err != nil {
		return nil, err
	}
	if local != nil {
		defer local.Close()
		return artifact.ReadManifest(ctx, opened{local}, ref, d)
	}
	b, err := artifact.ReadManifest(ctx, s.src, ref, d)
	if err != nil {
		return nil, err
	}
	_, err = s.store.PutBytes(ctx, d.MediaType, b)
	return b, err
}

// opened is a source of one blob that is open already.
type opened struct{ r io.ReadCloser }

func (o opened) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

func (o opened) Open(context.Context, artifact.Reference, v1.Descriptor, int64) (io.ReadCloser, error) {
	return o.r, nil
}
