package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// BlobWriter receives the bytes of a blob that is not in the store yet. It is not safe for concurrent use.
type BlobWriter struct {
	s     *Store
	f     *os.File // nil once closed
	n     int64
	added bool
	begun int64 // bytes that are on their way to the disk

	release func() // of the claim to the blob; nil for none

	partial            bool  // what is not committed stays for the next writer
	kept               int64 // bytes that the last one left
	reuseFrom, reuseTo int64 // those of them that Write passes over
}

// NewBlob begins a blob. The caller closes it in any case; what was not committed by then is discarded. ctx bounds
// only the wait for the store's lock.
func (s *Store) NewBlob(ctx context.Context) (*BlobWriter, error) {
	if err := s.begin(ctx, false); err != nil {
		return nil, err
	}
	f, err := s.temp()
	if err != nil {
		s.end(false)
		return nil, fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return &BlobWriter{s: s, f: f}, nil
}

// Write implements io.Writer.
func (w *BlobWriter) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, os.ErrClosed
	}
	for done := 0; ; {
		n, err := w.writeSome(p[done:])
		done += n
		w.n += int64(n)
		if err != nil {
			return done, fmt.Errorf("write to the store at %s: %w", w.s.root, hint(w.s.root, err))
		}
		if done == len(p) {
			break
		}
	}
	if w.n-w.begun >= writeback {
		disk.StartWriteback(w.f, w.begun, w.n-w.begun)
		w.begun = w.n
	}
	return len(p), nil
}

// writeback is how many bytes are written before they begin their way to the disk: what waits until all is synced at the
// end takes its time then.
const writeback = 4 << 20

// writeSome writes, or passes over, the bytes up to where the one follows the other.
func (w *BlobWriter) writeSome(p []byte) (int, error) {
	switch {
	case w.n >= w.reuseTo:
	case w.n >= w.reuseFrom:
		return int(min(int64(len(p)), w.reuseTo-w.n)), nil
	default:
		p = p[:min(int64(len(p)), w.reuseFrom-w.n)]
	}
	return w.f.WriteAt(p, w.n)
}

// Commit makes the bytes written so far the blob digest, at once and whole. It trusts the digest, which the producer
// of the bytes computed in the same pass; the size is checked. Nothing can be written afterwards. Committing a blob
// that the store has is fine.
func (w *BlobWriter) Commit(digest v1.Hash, size int64) error {
	switch {
	case w.f == nil:
		return fmt.Errorf("commit %s: %w", digest, os.ErrClosed)
	case digest.Algorithm != "sha256" || len(digest.Hex) != 64:
		return fmt.Errorf("commit %s: not a sha256 digest", digest)
	case w.n != size:
		return fmt.Errorf("commit %s: %d bytes written, %d announced", digest, w.n, size)
	}
	disk.StartWriteback(w.f, w.begun, w.n-w.begun)
	mode := fs.FileMode(0o644)
	if w.s.sealed {
		mode = 0o444
	}
	err := w.f.Chmod(mode)
	if err == nil {
		err = w.s.cover()
	}
	if err == nil && w.s.eachSynced {
		err = w.f.Sync()
	}
	if err == nil && w.kept > 0 { // its file is older than this process: what checks it after a power cut goes by the time
		if err = w.f.Truncate(size); err == nil {
			now := time.Now()
			err = os.Chtimes(w.f.Name(), now, now)
		}
	}
	if err == nil {
		err = os.Rename(w.f.Name(), w.s.BlobPath(digest))
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", digest, hint(w.s.root, err))
	}
	w.added = true
	return w.Close()
}

// Close discards what was not committed, unless ResumeBlob may go on with it. It can be called twice, and after Commit.
func (w *BlobWriter) Close() error {
	if w.f == nil {
		return nil
	}
	f := w.f
	w.f = nil
	defer func() {
		w.s.end(w.added)
		if w.release != nil {
			w.release()
		}
	}()
	if !w.added {
		if !w.partial || !w.closePartial(f) {
			disk.Discard(f)
		}
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write to the store at %s: %w", w.s.root, hint(w.s.root, err))
	}
	return nil
}

// Put implements Sink. It verifies size and digest while it writes. What has come of a big blob when Put fails, or its
// process dies, stays in the store, and the next Put goes on from there.
func (s *Store) Put(ctx context.Context, ref artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
	return s.PutNoting(ctx, ref, d, open, func(string) {})
}

// PutJSON stores a manifest or config as JSON in which text stays readable, a RUN's "&&" is no "\u0026\u0026", and returns
// its descriptor. One that is larger than registries take is an error.
func (s *Store) PutJSON(ctx context.Context, mediaType types.MediaType, value any) (v1.Descriptor, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return v1.Descriptor{}, err
	}
	data := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	if len(data) > artifact.MaxManifest {
		return v1.Descriptor{}, fmt.Errorf("%s of %d bytes is larger than registries take: use fewer layers, or put fewer images into one", mediaType, len(data))
	}
	return s.PutBytes(ctx, mediaType, data)
}

// PutBytes stores a small blob, such as a manifest or config, and returns its descriptor.
func (s *Store) PutBytes(ctx context.Context, mediaType types.MediaType, b []byte) (v1.Descriptor, error) {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: h, Size: n}
	if err := s.begin(ctx, false); err != nil {
		return v1.Descriptor{}, err
	}
	defer s.end(false)
	if ok, err := s.Has(ctx, artifact.Reference{}, d); err != nil {
		return v1.Descriptor{}, err
	} else if ok {
		return d, nil
	}
	w, err := s.NewBlob(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer w.Close()
	if _, err := w.Write(b); err != nil {
		return v1.Descriptor{}, err
	}
	return d, w.Commit(h, n)
}

// readerOnly hides other methods, so that io.CopyBuffer uses the buffer it was given.
type readerOnly struct{ io.Reader }
