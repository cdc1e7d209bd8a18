package airgap

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// blobDir is where blobs lie in the tree of a cluster image.
const blobDir = "images/blobs/sha256"

// packed finds blobs that are on this machine already: as such in the store, or
// inside a layer of images/ there.
type packed struct {
	store *store.Store
}

// local is a blob on this machine.
type local struct {
	io.Reader
	file    *os.File  // that has it
	decoder io.Closer // of that file; nil: none
}

func (l *local) Close() error {
	if l.decoder != nil {
		l.decoder.Close()
	}
	return l.file.Close()
}

// open returns the bytes of d, or nil when they are not on this machine.
func (p packed) open(d v1.Descriptor) (*local, error) {
	f, err := os.Open(p.store.BlobPath(d.Digest))
	if err == nil {
		return &local{Reader: f, file: f}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, r := range p.holders(d.Digest) {
		f, err := os.Open(p.store.BlobPath(r.Digest))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l := &local{file: f}
		if err := l.seek(r, blobDir+"/"+d.Digest.Hex); err != nil {
			l.Close()
			return nil, damagedFile(f.Name(), err)
		}
		return l, nil
	}
	return nil, nil
}

// seek goes to a file in the layer of a record.
func (l *local) seek(r record, name string) (err error) {
	if r.mediaType() == layer.None.MediaType() {
		l.Reader, err = seekEntry(l.file, name)
		return err
	}
	plain, err := layer.Decompress(l.file)
	if err != nil {
		return err
	}
	l.decoder = plain
	l.Reader, err = seekEntry(plain, name)
	return err
}

// damagedFile says what to do about a file of the store that is not what it was.
func damagedFile(name string, err error) error {
	return fmt.Errorf("%w: remove %s, then build again", err, name)
}

// seekEntry returns the content of a file in an uncompressed tar archive,
// passing over the others, without reading them where f can seek.
func seekEntry(f io.Reader, name string) (io.Reader, error) {
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
	src  artifact.Source
	near bool // src is on this machine: nothing of it is kept
	packed
	flights singleflight.Group
	names   map[string]bool // that were collected before, see known

	mu   sync.Mutex
	tops map[v1.Hash]v1.Descriptor // what Resolve returned
}

// newDocuments returns the documents of one source.
func newDocuments(src artifact.Source, store *store.Store) *documents {
	p := packed{store}
	return &documents{src: src, packed: p, names: p.known(), tops: map[v1.Hash]v1.Descriptor{}}
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
	d, err := s.ask(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tops[d.Digest] = d
	return d, nil
}

// ask asks the source. What an earlier build had is likely to be what the name
// means still, and takes a word; anything else is fetched with the same request.
func (s *documents) ask(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	f, ok := s.src.(artifact.Fetcher)
	if !ok || s.names[shortName(ref)] {
		return s.src.Resolve(ctx, ref)
	}
	d, raw, err := f.Fetch(ctx, ref)
	if err != nil || raw == nil {
		return d, err
	}
	if got := layout.DigestOf(raw); got != d.Digest {
		return d, fmt.Errorf("%s: manifest %s: the bytes received have digest %s: %w", ref.Familiar(), d.Digest, got, layout.ErrDamaged)
	}
	_, err = s.store.PutBytes(ctx, d.MediaType, raw)
	return d, err
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
	if err := layout.Check(d); err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	near, err := s.packed.open(d)
	if err != nil {
		return nil, err
	}
	if near != nil {
		b, err := artifact.ReadManifest(ctx, opened{near}, ref, d)
		if err != nil && ctx.Err() == nil {
			err = damagedFile(near.file.Name(), err)
		}
		return b, err
	}
	b, err := artifact.ReadManifest(ctx, s.src, ref, d)
	if err != nil || s.near {
		return b, err
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
