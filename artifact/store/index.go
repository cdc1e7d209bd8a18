package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// emptyIndex is the index.json of a layout without images.
const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// parsedIndex is an index.json as it was read last.
type parsedIndex struct {
	mu  sync.Mutex
	raw []byte
	idx *artifact.Index
}

// readIndex returns index.json, which must not be changed: who asks for image after image gets the same one while the
// file is the same.
func (s *Store) readIndex() (*artifact.Index, error) {
	b, err := os.ReadFile(s.path("index.json"))
	if err != nil {
		return nil, fmt.Errorf("read the store at %s: %w", s.root, err)
	}
	last := &s.lastIndex
	last.mu.Lock()
	defer last.mu.Unlock()
	if last.idx == nil || !bytes.Equal(b, last.raw) {
		idx, err := s.parseIndex(b)
		if err != nil {
			return nil, err
		}
		last.raw, last.idx = b, idx
	}
	return last.idx, nil
}

func (s *Store) parseIndex(b []byte) (*artifact.Index, error) {
	idx, err := artifact.ParseIndex(b)
	if err != nil {
		return nil, fmt.Errorf("read the store at %s: %w: restore the file, or move the store away", s.root, err)
	}
	return idx, nil
}

// editIndex replaces index.json by what change makes of it, when change says that it did. Everything that was added to
// the store before is safe on disk when the new index appears.
func (s *Store) editIndex(ctx context.Context, change func(*artifact.Index) (bool, error)) error {
	return s.changeIndex(ctx, change, s.sync)
}

// changeIndex is editIndex with what makes safe on disk what was added.
func (s *Store) changeIndex(ctx context.Context, change func(*artifact.Index) (bool, error), sync func() error) error {
	l, err := disk.Lock(ctx, s.path("index.lock"), true)
	if err != nil {
		return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	defer l.Close()
	old, err := os.ReadFile(s.path("index.json"))
	if err != nil {
		return fmt.Errorf("read the store at %s: %w", s.root, err)
	}
	idx, err := s.parseIndex(old)
	if err != nil {
		return err
	}
	changed, err := change(idx)
	if err != nil || !changed {
		return err
	}
	b, err := idx.Format()
	if err != nil {
		return err
	}
	if err := s.replaceIndex(b, len(b) < len(old), sync); err != nil {
		return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return nil
}

// replaceIndex replaces index.json. One that became shorter also gets its place where the disk has no room for a second
// one: in the spare, which every longer one before it had to leave room for.
func (s *Store) replaceIndex(b []byte, shorter bool, sync func() error) error {
	if !shorter {
		if err := s.keepSpare(len(b)); err != nil {
			return err
		}
	}
	err := s.renameIndex(b, sync)
	if !shorter || !disk.IsFull(err) {
		return err
	}
	if serr := s.useSpare(b, sync); serr != nil {
		return err
	}
	return nil
}

// spareName is the file that keeps room for an index.json. It is never written over the index in use: that could be
// found half-written.
const spareName = "index.spare"

// keepSpare makes the spare at least n bytes long. Its blocks are there: it has no holes.
func (s *Store) keepSpare(n int) error {
	f, err := os.OpenFile(s.path(spareName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() >= int64(n) {
		return err
	}
	_, err = f.WriteAt(make([]byte, (n/spareStep+1)*spareStep), 0)
	return err
}

// spareStep is by how many bytes the spare grows.
const spareStep = 16 << 10

// useSpare makes the spare index.json, and what was index.json the spare, where the system can do that.
func (s *Store) useSpare(b []byte, sync func() error) error {
	f, err := os.OpenFile(s.path(spareName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() < int64(len(b)) {
		return errors.Join(err, syscall.ENOSPC)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(b))); err != nil {
		return err
	}
	if err := errors.Join(sync(), f.Sync()); err != nil {
		return err
	}
	if err := exchange(f.Name(), s.path("index.json")); err != nil {
		return err
	}
	return syncDir(s.root)
}

func (s *Store) renameIndex(b []byte, sync func() error) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer disk.Discard(f)
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := sync(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // a no-op after Syncfs, needed where there is none
		return err
	}
	if err := os.Rename(f.Name(), s.path("index.json")); err != nil {
		return err
	}
	return syncDir(s.root)
}

// syncDir makes the names in a directory safe on disk.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
