package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/disk"
)

// MaxRecord bounds the bytes of a record of the cache: the listing of a layer of some 100,000 files fits.
const MaxRecord = 16 << 20

// A record is a file of its own: a line of recordHeader, then the value. Records are not synced; the checksum tells one
// that a power cut left half-written, in a fraction of the time that parsing takes. The digest saves the sweep from
// reading the value. Files that begin with "{" are records of before the header; they are read as they are.
const (
	recordMagic  = "sealrt-record-1"
	recordHeader = recordMagic + " %08x %d %s\n" // CRC-32C and length of the value; the digest of its blob, or "-"
	maxHeader    = 160
)

// CacheGet returns the record that CachePut wrote under key, or false. The blob that it speaks of may be gone: ask Has.
func (s *Store) CacheGet(key string) ([]byte, bool) {
	path, err := s.recordPath(key)
	if err != nil {
		return nil, false
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxHeader+MaxRecord {
		return nil, false
	}
	b := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, false
	}
	if len(b) > 0 && b[0] == '{' {
		return b, json.Valid(b)
	}
	h, value, ok := cutHeader(b)
	return value, ok && len(value) == h.length && crc32.Checksum(value, castagnoli()) == h.sum
}

// CachePut keeps value under key, a slash-separated name, whole or not at all. The value is a JSON object of at most
// MaxRecord bytes whose field "digest" names the blob it is about; Sweep drops the record with the blob. A record
// without that field stays.
func (s *Store) CachePut(key string, value []byte) error {
	if err := s.putRecord(key, value); err != nil {
		return fmt.Errorf("keep record %s in the store at %s: %w", key, s.root, hint(s.root, err))
	}
	return nil
}

func (s *Store) putRecord(key string, value []byte) error {
	path, err := s.recordPath(key)
	if err != nil {
		return err
	}
	if len(value) > MaxRecord {
		return fmt.Errorf("it has %s, more than the %s that one may have", disk.Bytes(int64(len(value))), disk.Bytes(MaxRecord))
	}
	digest, err := recordDigest(value)
	if err != nil {
		return fmt.Errorf("it is no JSON object: %w", err)
	}
	name := "-"
	if digest.Hex != "" {
		name = digest.String()
	}
	header := fmt.Appendf(nil, recordHeader, crc32.Checksum(value, castagnoli()), len(value), name)
	if len(header) > maxHeader {
		return fmt.Errorf("its digest %.80q is not acceptable", name)
	}
	err = s.replace(path, header, value)
	if errors.Is(err, fs.ErrNotExist) { // the first of its kind
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = s.replace(path, header, value)
		}
	}
	return err
}

// CacheDrop removes all records whose keys begin with the path elements of prefix, and returns the bytes freed. That
// there are none is no error.
func (s *Store) CacheDrop(prefix string) (freed int64, err error) {
	path, err := s.recordPath(prefix)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if fi, err := e.Info(); err == nil {
			freed += fi.Size()
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		err = os.RemoveAll(path)
	}
	if err != nil {
		return 0, fmt.Errorf("drop the records of the store at %s: %w", s.root, hint(s.root, err))
	}
	return freed, nil
}

// castagnoli is the polynomial that processors have an instruction for.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// recordDigest returns the field "digest" of a JSON object; none is the zero Hash.
func recordDigest(value []byte) (v1.Hash, error) {
	var rec struct {
		Digest v1.Hash `json:"digest"`
	}
	err := json.Unmarshal(value, &rec)
	return rec.Digest, err
}

// header is what the first line of a record says.
type header struct {
	sum    uint32
	length int
	digest v1.Hash // zero when the record is about no blob
}

// cutHeader splits the bytes of a record, or of its beginning.
func cutHeader(b []byte) (h header, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(line) > maxHeader {
		return header{}, nil, false
	}
	var name string
	if n, err := fmt.Sscanf(string(line)+"\n", recordHeader, &h.sum, &h.length, &name); err != nil || n != 3 {
		return header{}, nil, false
	}
	if name == "-" {
		return h, rest, true
	}
	var err error
	h.digest, err = v1.NewHash(name)
	return h, rest, err == nil
}

// replace writes a small file in one step; it is not synced.
func (s *Store) replace(path string, content ...[]byte) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer disk.Discard(f)
	for _, b := range content {
		if _, err := f.Write(b); err != nil {
			return err
		}
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

// HeldRecords begins the keys of records whose blobs stay at a sweep, until CacheDrop drops the records: what was dear
// to make.
const HeldRecords = "held"

// held adds the blobs of HeldRecords to keep, less those of records that are dropped.
func (s *Store) held(keep map[v1.Hash]bool, dropped func(key string) bool) error {
	return s.walkRecords(HeldRecords, func(key string, e fs.DirEntry) error {
		if dropped(key) {
			return nil
		}
		digest, ok, err := readDigest(s.path("cache/" + key))
		if ok && digest.Hex != "" {
			keep[digest] = true
		}
		return err
	})
}

// walkRecords calls visit with the key of every record that begins with the path elements of prefix, "." for all.
func (s *Store) walkRecords(prefix string, visit func(key string, e fs.DirEntry) error) error {
	root := s.path("cache")
	err := filepath.WalkDir(filepath.Join(root, prefix), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		key, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(key), e)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lostRecords returns the records that are dropped or damaged, or whose blob goes: one that is not in keep.
func (s *Store) lostRecords(ctx context.Context, keep map[v1.Hash]bool, dropped func(key string) bool) (list []Garbage, err error) {
	err = s.walkRecords(".", func(key string, e fs.DirEntry) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		digest, ok, err := readDigest(s.path("cache/" + key))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if ok && !dropped(key) && (digest.Hex == "" || keep[digest] && s.exists(digest)) {
			return nil
		}
		fi, err := e.Info()
		if err == nil {
			list = append(list, Garbage{GarbageRecord, "cache/" + key, fi.Size()})
		}
		return nil
	})
	return list, err
}

func (s *Store) exists(h v1.Hash) bool {
	_, err := os.Stat(s.BlobPath(h))
	return err == nil
}

// readDigest returns the digest of the blob that the record in a file is about, zero for none. ok is false when the
// file is no record.
func readDigest(path string) (digest v1.Hash, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return v1.Hash{}, false, err
	}
	defer f.Close()
	start := make([]byte, maxHeader)
	n, err := f.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return v1.Hash{}, false, err
	}
	if n > 0 && start[0] == '{' {
		b, err := os.ReadFile(path)
		if err != nil {
			return v1.Hash{}, false, err
		}
		digest, err = recordDigest(b)
		return digest, err == nil, nil
	}
	h, _, ok := cutHeader(start[:n])
	return h.digest, ok, nil
}
