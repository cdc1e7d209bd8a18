package store

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
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// Store keeps images on this machine as an OCI image layout (OCI image-spec image-layout.md), so that any tool that
// reads one reads it: skopeo inspect oci:ROOT:docker.io/library/k3s:v1. It implements Source and Sink; its methods may
// be called concurrently, by several processes too.
//
// Beside the layout lie
//
//	ingest/      what is being written; of big blobs it survives its process, for a week
//	cache/       records of CachePut
//	lock         held shared by who reads or adds blobs, alone by Sweep
//	index.lock   held while index.json is replaced, and while Open looks what a power cut left
//	index.spare  room for an index.json on a disk that is full
//
// Blobs are not synced one by one: everything is synced once, before index.json names it. What a power cut leaves
// half-written is found and removed by the next Open.
type Store struct {
	root string

	mu     sync.Mutex // guards what follows
	users  int        // holds and blobs in flight
	loose  bool       // something was added outside a Hold: the lock is kept until Close
	dirty  bool       // something was added since the last sync
	lock   *os.File   // the shared lock; nil when nothing is held
	marker *os.File   // says that this boot is adding blobs; nil when all is synced
	marked time.Time  // what the clock said when the marker was made

	sealed     bool          // blobs cannot be written to, by their owner neither
	eachSynced bool          // blobs are synced one by one: the file system does not sync all at once
	stall      time.Duration // how long a claim counts while nothing comes; 0 is claimStall
	recovered  Recovered     // what Open found after a crash of the machine
	lastIndex  parsedIndex   // what readIndex read last
}

// Open opens the store at root, and makes it when there is none. It removes what dead processes left in ingest/
// and, after a crash of the machine, blobs whose content was lost. A store that the user may not write to, or that lies
// on a medium that nobody can write to, opens for reading. The caller closes it.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open the store at %s: %w", root, err)
	}
	s := &Store{root: root}
	if err := s.make(); err != nil {
		return nil, fmt.Errorf("open the store at %s: %w", root, hint(root, err))
	}
	s.eachSynced = !syncsWhole(root)
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open the store at %s: %w", root, hint(root, err))
	}
	return s, nil
}

// make creates what a layout has to have and is missing. What is there already is read only.
func (s *Store) make() error {
	if err := s.checkLayout(); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = s.makeDirs()
		}
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			err = nil // it can be read
		}
		return err
	}
	if err := s.makeDirs(); err != nil {
		return err
	}
	l, err := os.OpenFile(s.path("index.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := lockNow(l); err != nil {
		return err
	}
	if err := s.refuseOrphans(); err != nil {
		return err
	}
	for _, f := range []struct{ name, content string }{
		{"index.json", emptyIndex},
		{"oci-layout", artifact.LayoutFile},
	} {
		if err := s.create(f.name, []byte(f.content)); err != nil {
			return err
		}
	}
	if err := s.checkLayout(); err != nil {
		return err
	}
	return errors.Join(syncDir(s.root), syncDir(filepath.Dir(s.root)))
}

// refuseOrphans returns an error when there are blobs and nothing that names them: a new index would make them garbage.
func (s *Store) refuseOrphans() error {
	if _, err := os.Stat(s.path("index.json")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	blobs, err := os.ReadDir(s.path("blobs/sha256"))
	if err != nil || len(blobs) == 0 {
		return err
	}
	return fmt.Errorf("there are %d blobs and no index.json that names them: restore the file, or move blobs/ away and pull or load the images again", len(blobs))
}

// makeDirs creates the directories of a store.
func (s *Store) makeDirs() error {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{{"blobs/sha256", 0o755}, {"cache", 0o755}, {"ingest", 0o700}} {
		if err := os.MkdirAll(s.path(d.name), d.mode); err != nil {
			return err
		}
	}
	return nil
}

// checkLayout returns an error wrapping fs.ErrNotExist when there is no layout, or not all of one yet.
func (s *Store) checkLayout() error {
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
	_, err = os.Stat(s.path("index.json"))
	return err
}

// create writes a file that is not there, whole or not at all, and safe on disk. The lock of the index is held.
func (s *Store) create(name string, content []byte) error {
	if _, err := os.Stat(s.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer disk.Discard(f)
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(name))
}

// Close gives up what the store holds: after it, blobs that were added and not tagged may be swept. The store must
// not be used afterwards. It can be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finish()
}

// SealBlobs makes the blobs that are added from now on files that nobody may write to.
func (s *Store) SealBlobs() { s.sealed = true }

// Root returns the absolute path of the store.
func (s *Store) Root() string { return s.root }

// BlobPath returns where the blob h lies, or would lie.
func (s *Store) BlobPath(h v1.Hash) string {
	return filepath.Join(s.root, "blobs", filepath.Base(h.Algorithm), filepath.Base(h.Hex))
}

func (s *Store) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

// Resolve implements Source. A reference with a digest also finds manifests that no name points at.
func (s *Store) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	idx, err := s.readIndex()
	if err != nil {
		return v1.Descriptor{}, err
	}
	want := ref.String()
	h, pinned := ref.Digest()
	for _, d := range idx.Manifests {
		if d.Annotations[artifact.AnnotationRefName] == want || pinned && d.Digest == h {
			return artifact.Bare(d), nil
		}
	}
	if pinned {
		d, err := s.describe(h)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w in the store at %s", ref.Familiar(), artifact.ErrNotFound, s.root)
}

// describe makes the descriptor of a manifest in the store that is known by its digest only.
func (s *Store) describe(h v1.Hash) (v1.Descriptor, error) {
	f, err := os.Open(s.BlobPath(h))
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, artifact.MaxManifest+1))
	if err != nil {
		return v1.Descriptor{}, err
	}
	mt, err := artifact.ManifestType(b)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("%s in the store at %s: %w", h, s.root, err)
	}
	return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(b))}, nil
}

// Open implements Source. The reader is an *os.File.
func (s *Store) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(s.BlobPath(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: blob %s: %w in the store at %s: pull or load the image again", ref.Familiar(), d.Digest, artifact.ErrNotFound, s.root)
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
func (s *Store) Has(ctx context.Context, ref artifact.Reference, d v1.Descriptor) (bool, error) {
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
func (s *Store) Tag(ctx context.Context, ref artifact.Reference, d v1.Descriptor) (err error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if ok, err := s.Has(ctx, ref, d); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("tag %s: manifest %s: %w in the store at %s", ref.Familiar(), d.Digest, artifact.ErrNotFound, s.root)
	}
	return s.editIndex(ctx, func(idx *artifact.Index) (bool, error) {
		return idx.SetName(ref, d), nil
	})
}

// Untag removes the name ref; the blobs stay until Sweep. It returns an error wrapping ErrNotFound when there is no
// such name. It works on a disk that is full, where it is needed most.
func (s *Store) Untag(ctx context.Context, ref artifact.Reference) error {
	return s.changeIndex(ctx, func(idx *artifact.Index) (bool, error) {
		if !idx.DropName(ref) {
			return false, fmt.Errorf("%s: %w in the store at %s: `sealrt images` lists what is there", ref.Familiar(), artifact.ErrNotFound, s.root)
		}
		return true, nil
	}, nothing)
}

// nothing is what there is to sync for an index that names no more than the one before.
func nothing() error { return nil }

// Refs returns every name in the store and what it points at, sorted by name.
func (s *Store) Refs(ctx context.Context) ([]artifact.Named, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	return idx.Refs(), nil
}

// Vouches tells artifact.Copy that what is in a store was verified when it was written.
func (s *Store) Vouches() {}
