package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Inventory returns the digests of all blobs in the store, sorted.
func (s *Store) Inventory(ctx context.Context) ([]v1.Hash, error) {
	entries, err := os.ReadDir(s.path("blobs/sha256"))
	if err != nil {
		return nil, fmt.Errorf("read the store at %s: %w", s.root, err)
	}
	list := make([]v1.Hash, 0, len(entries))
	for _, e := range entries {
		if h, err := v1.NewHash("sha256:" + e.Name()); err == nil {
			list = append(list, h)
		}
	}
	return list, nil
}

// Sweep removes the blobs that no name reaches and the records that lost their blob, and returns the bytes freed. It
// needs the store for itself: while another process adds to it, or this one does, the error wraps ErrBusy.
func (s *Store) Sweep(ctx context.Context) (freed int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 0 {
		return 0, fmt.Errorf("sweep the store at %s: %w: this process is adding to it", s.root, ErrBusy)
	}
	if err := s.finish(); err != nil {
		return 0, err
	}
	l, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	defer l.Close()
	if ok, err := tryLock(l, true); err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, err)
	} else if !ok {
		return 0, fmt.Errorf("sweep the store at %s: %w: another sealrt is at work in it: try again when that has ended", s.root, ErrBusy)
	}
	keep, err := s.reachable(ctx)
	if err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, err)
	}
	if freed, err = s.sweepBlobs(ctx, keep); err != nil {
		return freed, fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	if err := s.sweepRecords(); err != nil {
		return freed, fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	return freed, nil
}

// reachable returns the blobs that the names in the store reach. A manifest that cannot be read is an error: what it
// points at is not known to be garbage.
func (s *Store) reachable(ctx context.Context) (map[v1.Hash]bool, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	keep := map[v1.Hash]bool{}
	todo := idx.Manifests
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if keep[d.Digest] {
			continue
		}
		keep[d.Digest] = true
		if !isManifest(d.MediaType) {
			continue
		}
		raw, err := ReadManifest(ctx, s, Reference{}, d)
		if errors.Is(err, ErrNotFound) {
			continue // other platforms of a sparse index, or the user's loss already
		}
		if err != nil {
			return nil, err
		}
		list, err := parts(d, raw)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		for _, p := range list {
			todo = append(todo, p.Descriptor)
		}
	}
	return keep, nil
}

func (s *Store) sweepBlobs(ctx context.Context, keep map[v1.Hash]bool) (freed int64, err error) {
	dir := s.path("blobs/sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return freed, context.Cause(ctx)
		}
		if keep[v1.Hash{Algorithm: "sha256", Hex: e.Name()}] || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return freed, err
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return freed, err
		}
		freed += fi.Size()
	}
	return freed, nil
}

// maxRecord bounds a record of the cache.
const maxRecord = 1 << 20

// CacheGet returns the record that CachePut wrote under key, or false. The blob that it speaks of may be gone: ask Has.
func (s *Store) CacheGet(key string) ([]byte, bool) {
	path, err := s.recordPath(key)
	if err != nil {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil || !json.Valid(b) { // a power cut may have emptied it
		return nil, false
	}
	return b, true
}

// CachePut keeps value under key, a slash-separated name, whole or not at all. The value is a JSON object whose field
// "digest" names the blob it is about; Sweep drops the record with the blob. A record without that field stays.
func (s *Store) CachePut(key string, value []byte) error {
	path, err := s.recordPath(key)
	if err == nil && (!json.Valid(value) || len(value) > maxRecord) {
		err = errors.New("the record is no JSON, or too large")
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = s.replace(path, value)
	}
	if err != nil {
		return fmt.Errorf("keep record %s in the store at %s: %w", key, s.root, hint(s.root, err))
	}
	return nil
}

// replace writes a small file in one step; it is not synced.
func (s *Store) replace(path string, b []byte) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer discard(f)
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// recordPath returns the file of a record. Keys that could leave the directory are refused.
func (s *Store) recordPath(key string) (string, error) {
	if key == "" || !filepath.IsLocal(key) || filepath.ToSlash(filepath.Clean(key)) != key || strings.ContainsRune(key, 0) {
		return "", fmt.Errorf("key %q is not a clean relative path", key)
	}
	return s.path("cache/" + key), nil
}

func (s *Store) sweepRecords() error {
	return filepath.WalkDir(s.path("cache"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var rec struct {
			Digest v1.Hash `json:"digest"`
		}
		if json.Unmarshal(b, &rec) == nil {
			if rec.Digest.Hex == "" {
				return nil
			}
			if _, err := os.Stat(s.BlobPath(rec.Digest)); err == nil {
				return nil
			}
		}
		return os.Remove(path)
	})
}
