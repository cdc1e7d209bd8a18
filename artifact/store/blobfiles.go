package store

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// blobFile is a file of blobs/ that has a blob's name.
type blobFile struct {
	digest  v1.Hash
	size    int64
	changed time.Time
}

// damagedFile is a blob whose bytes are not what its name says.
type damagedFile struct {
	blobFile
	info  fs.FileInfo // of what was read
	cause error
}

// listBlobs returns the blobs of the store, and what lies among them and is none.
func (s *Store) listBlobs() (blobs []blobFile, others []string, err error) {
	entries, err := os.ReadDir(s.path("blobs/sha256"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		h, err := v1.NewHash("sha256:" + e.Name())
		if err != nil || !e.Type().IsRegular() {
			others = append(others, "blobs/sha256/"+e.Name())
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		blobs = append(blobs, blobFile{h, fi.Size(), fi.ModTime()})
	}
	return blobs, others, nil
}

// hashBuffer is how many bytes of a blob are read at a time.
const hashBuffer = 1 << 20

// hashAll reads blobs, several at a time on all cores if jobs is 0, and returns those whose bytes are not what their
// names say. progress is told of bytes that were read, from any goroutine; its error ends the work.
func (s *Store) hashAll(blobs []blobFile, jobs int, progress func(n int64) error) (damaged []damagedFile, err error) {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b blobFile) int { return cmp.Compare(b.size, a.size) }) // none that is big comes last
	var mu sync.Mutex
	var g errgroup.Group
	next, failed := 0, false
	take := func() (b blobFile, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if ok = next < len(blobs) && !failed; ok {
			b = blobs[next]
			next++
		}
		return b, ok
	}
	for range min(jobs, len(blobs)) {
		g.Go(func() error {
			buf := make([]byte, hashBuffer)
			for b, ok := take(); ok; b, ok = take() {
				bad, err := s.hashBlob(b, buf, progress)
				mu.Lock()
				if bad != nil {
					damaged = append(damaged, *bad)
				}
				failed = failed || err != nil
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	slices.SortFunc(damaged, func(a, b damagedFile) int { return cmp.Compare(a.digest.Hex, b.digest.Hex) })
	return damaged, err
}

// hashBlob reads one blob and returns it if it is damaged. One that has gone is none.
func (s *Store) hashBlob(b blobFile, buf []byte, progress func(n int64) error) (*damagedFile, error) {
	f, err := os.Open(s.BlobPath(b.digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing is wrong with it
	}
	if err != nil {
		return &damagedFile{blobFile: b, cause: err}, nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if perr := progress(int64(n)); perr != nil {
			return nil, perr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return &damagedFile{b, info, err}, nil
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != b.digest.Hex {
		return &damagedFile{b, info, fmt.Errorf("its %d bytes have digest sha256:%s", info.Size(), got)}, nil
	}
	return nil, nil //nolint:nilnil // nothing is wrong with it
}

// removeDamaged removes a damaged blob, unless another process has put a good one in its place since it was read, and
// reports whether it did.
func (s *Store) removeDamaged(d damagedFile) (bool, error) {
	if d.info == nil { // it could not be opened: nobody knows what it is
		return false, nil
	}
	path := s.BlobPath(d.digest)
	away := s.path("ingest/blob-" + rand.Text())
	if err := os.Rename(path, away); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	fi, err := os.Stat(away)
	if err == nil && !os.SameFile(fi, d.info) {
		return false, os.Rename(away, path)
	}
	return true, errors.Join(err, os.Remove(away), syncDir(filepath.Dir(path)))
}
