package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Store keeps images on this machine as an OCI image layout (OCI image-spec image-layout.md), so that any tool that
// reads one reads it: skopeo inspect oci:ROOT:docker.io/library/k3s:v1. It implements Source and Sink; its methods may
// be called concurrently, by several processes too.
//
// Beside the layout lie
//
//	ingest/      what is being written; of big blobs it survives its process, for a week
//	cache/       records of CachePut
//	lock         held shared by who adds blobs, alone by Sweep
//	index.lock   held while index.json is replaced
//
// Blobs are not synced one by one: everything is synced once, before index.json names it. What a power cut leaves
// half-written is found and removed by the next OpenStore.
type Store struct {
	root string

	mu     sync.Mutex // guards what follows
	users  int        // holds and blobs in flight
	loose  bool       // something was added outside a Hold: the lock is kept until Close
	dirty  bool       // something was added since the last sync
	lock   *os.File   // the shared lock; nil when nothing is held
	marker *os.File   // says that this boot is adding blobs; nil when all is synced
}

// layoutFile is the whole of oci-layout (OCI image-spec image-layout.md, "oci-layout file").
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// OpenStore opens the store at root, and makes it when there is none. It removes what dead processes left in ingest/
// and, after a crash of the machine, blobs whose content was lost. A store that the user may not write to opens for
// reading. The caller closes it.
func OpenStore(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open the store at %s: %w", root, err)
	}
	s := &Store{root: root}
	if err := s.make(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("open the store at %s: %w: run as root, or choose another place with --root", root, err)
		}
		return nil, fmt.Errorf("open the store at %s: %w", root, full(root, err))
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open the store at %s: %w", root, err)
	}
	return s, nil
}

// make creates what a layout has to have and is missing.
func (s *Store) make() error {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{{"blobs/sha256", 0o755}, {"cache", 0o755}, {"ingest", 0o700}} {
		if err := os.MkdirAll(s.path(d.name), d.mode); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, content string }{
		{"index.json", emptyIndex},
		{"oci-layout", layoutFile},
	} {
		if _, err := os.Stat(s.path(f.name)); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.create(f.name, []byte(f.content)); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(s.path("oci-layout"))
	if err != nil {
		return err
	}
	var l struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(b, &l); err != nil || l.Version != "1.0.0" {
		return errors.New("its oci-layout is not of version 1.0.0: this is no store; choose another place with --root")
	}
	return nil
}

// create writes a file that is not there, whole or not at all; losing the race to another process is fine.
func (s *Store) create(name string, content []byte) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer discard(f)
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := os.Link(f.Name(), s.path(name)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Close gives up what the store holds: after it, blobs that were added and not tagged may be swept. The store must
// not be used afterwards. It can be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finish()
}

// Root returns the absolute path of the store.
func (s *Store) Root() string { return s.root }

// BlobPath returns where the blob h lies, or would lie.
func (s *Store) BlobPath(h v1.Hash) string {
	return filepath.Join(s.root, "blobs", filepath.Base(h.Algorithm), filepath.Base(h.Hex))
}

func (s *Store) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

// Resolve implements Source. A reference with a digest also finds manifests that no name points at.
func (s *Store) Resolve(ctx context.Context, ref Reference) (v1.Descriptor, error) {
	idx, err := s.readIndex()
	if err != nil {
		return v1.Descriptor{}, err
	}
	want := ref.String()
	h, pinned := ref.Digest()
	for _, d := range idx.Manifests {
		if d.Annotations[AnnotationRefName] == want || pinned && d.Digest == h {
			return bare(d), nil
		}
	}
	if pinned {
		d, err := s.describe(h)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w in the store at %s", ref.Familiar(), ErrNotFound, s.root)
}

// describe makes the descriptor of a manifest in the store that is known by its digest only.
func (s *Store) describe(h v1.Hash) (v1.Descriptor, error) {
	f, err := os.Open(s.BlobPath(h))
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return v1.Descriptor{}, err
	}
	mt, err := sniffManifest(b)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("%s in the store at %s: %w", h, s.root, err)
	}
	return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(b))}, nil
}

// Open implements Source. The reader is an *os.File.
func (s *Store) Open(ctx context.Context, ref Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(s.BlobPath(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: blob %s: %w in the store at %s: pull or load the image again", ref.Familiar(), d.Digest, ErrNotFound, s.root)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return f, nil
}

// Has implements Sink.
func (s *Store) Has(ctx context.Context, ref Reference, d v1.Descriptor) (bool, error) {
	fi, err := os.Stat(s.BlobPath(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return fi.Mode().IsRegular() && fi.Size() == d.Size, nil
}

// Tag implements Sink. It returns when the name and all that was added before it are safe on disk.
func (s *Store) Tag(ctx context.Context, ref Reference, d v1.Descriptor) (err error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if ok, err := s.Has(ctx, ref, d); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("tag %s: manifest %s: %w in the store at %s", ref.Familiar(), d.Digest, ErrNotFound, s.root)
	}
	return s.editIndex(ctx, func(idx *v1.IndexManifest) (bool, error) {
		return setName(idx, ref, d), nil
	})
}

// Untag removes the name ref; the blobs stay until Sweep. It returns an error wrapping ErrNotFound when there is no
// such name. It works on a disk that is full, where it is needed most.
func (s *Store) Untag(ctx context.Context, ref Reference) error {
	return s.editIndex(ctx, func(idx *v1.IndexManifest) (bool, error) {
		if !dropName(idx, ref) {
			return false, fmt.Errorf("%s: %w in the store at %s: `sealrt images` lists what is there", ref.Familiar(), ErrNotFound, s.root)
		}
		return true, nil
	})
}

// Refs returns every name in the store and what it points at, sorted by name.
func (s *Store) Refs(ctx context.Context) ([]Named, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	return names(idx), nil
}
