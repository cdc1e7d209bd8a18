package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// keptPrefix begins the names of the files in ingest/ that outlive their process: what has come of a big blob.
const keptPrefix = "part-"

const (
	// PartialFrom is the size in bytes from which on what has come of a blob is worth keeping.
	PartialFrom = 4 << 20
	// partialLeast is how many bytes have to have come.
	partialLeast = 1 << 20
	// partialAge is how long they are kept.
	partialAge = 7 * 24 * time.Hour
)

// ResumeBlob is NewBlob for a blob that is long in coming. What was written and not committed when the writer is closed,
// or its process dies, stays in the store under key, and is Kept of the next writer of that key, unless Drop is called.
// None of it was verified or is known to have survived a power cut: whoever uses it hashes it again. key is a file name.
// While another writer has the key, nothing is kept and nothing is left.
func (s *Store) ResumeBlob(ctx context.Context, key string) (*BlobWriter, error) {
	if key == "" || key != filepath.Base(key) {
		return nil, fmt.Errorf("key %q is no file name", key)
	}
	if err := s.begin(ctx, false); err != nil {
		return nil, err
	}
	w, err := s.openPartial(key)
	if w == nil && err == nil {
		w = &BlobWriter{s: s}
		w.f, err = s.temp()
	}
	if err != nil {
		s.end(false)
		return nil, fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return w, nil
}

// openPartial returns the writer of what there is of key, or nil while somebody else writes it.
func (s *Store) openPartial(key string) (*BlobWriter, error) {
	path := s.path("ingest/" + keptPrefix + key)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		ok, err := disk.TryLock(f, true)
		if err != nil || !ok {
			f.Close()
			return nil, err
		}
		fi, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		// Before it was locked, its writer may have made a blob of it, or removed it.
		if now, err := os.Stat(path); err == nil && os.SameFile(fi, now) {
			return &BlobWriter{s: s, f: f, partial: true, kept: fi.Size()}, nil
		}
		f.Close()
	}
}

// Kept returns how many bytes an earlier writer left, 0 for a blob that begins.
func (w *BlobWriter) Kept() int64 { return w.kept }

// KeptReader reads those bytes from offset on. It reads of the file that is written to: it must not be used after Close.
func (w *BlobWriter) KeptReader(offset int64) *io.SectionReader {
	return io.NewSectionReader(w.f, offset, w.kept-offset)
}

// Reuse says that the bytes between two offsets are in their place: Write passes over them. They have to be bytes of
// KeptReader that the digest given to Commit covers.
func (w *BlobWriter) Reuse(from, to int64) { w.reuseFrom, w.reuseTo = from, min(to, w.kept) }

// Drop makes Close leave nothing: what has come is of no use.
func (w *BlobWriter) Drop() { w.partial = false }

// closePartial closes the file and reports whether it stays for the next writer.
func (w *BlobWriter) closePartial(f *os.File) bool {
	if fi, err := f.Stat(); err != nil || fi.Size() < partialLeast {
		return false
	}
	f.Close() // nothing counts on what is in it
	return true
}

// blobKey is the key of a blob as it is.
func blobKey(h v1.Hash) string { return h.Algorithm + "-" + h.Hex }

// PutNoting is Put; note gets a sentence for the user.
func (s *Store) PutNoting(ctx context.Context, ref artifact.Reference, d v1.Descriptor, open artifact.OpenFunc, note func(string)) error {
	if err := s.begin(ctx, false); err != nil {
		return err
	}
	defer s.end(false)
	if ok, err := s.Has(ctx, ref, d); ok || err != nil {
		return err
	}
	release, err := s.claimBlob(ctx, d, note, pace{1, claimStall})
	if err != nil {
		return fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	defer release()
	if ok, err := s.Has(ctx, ref, d); ok || err != nil { // another process was waited for
		return err
	}
	kept, err := s.put(ctx, ref, d, open)
	if kept > 0 && artifact.IsDamaged(err) && ctx.Err() == nil {
		note(fmt.Sprintf("%s: %s is fetched anew: what was left of an earlier attempt, or of the source, is damaged", ref.Familiar(), d.Digest))
		_, err = s.put(ctx, ref, d, open)
	}
	return err
}

// put writes a blob, going on where an earlier attempt ended, and returns how much there was of it.
func (s *Store) put(ctx context.Context, ref artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) (kept int64, err error) {
	w, err := s.writer(ctx, d)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	kept = min(w.Kept(), d.Size)
	if err := s.CheckSpace(d.Size - kept); err != nil {
		return kept, fmt.Errorf("%s: %s: %w", ref.Familiar(), d.Digest, err)
	}
	w.Reuse(0, kept)
	r := &rest{before: io.LimitReader(w.KeptReader(0), kept), open: func() (io.ReadCloser, error) {
		if kept == d.Size && kept > 0 {
			return io.NopCloser(strings.NewReader("")), nil
		}
		return open(kept)
	}}
	defer r.Close()
	if kept == 0 { // so that what cannot be opened is told as such
		if err := r.next(); err != nil {
			return kept, err
		}
	}
	file := ""
	if f, ok := r.after.(*os.File); ok {
		file = f.Name()
	}
	v := artifact.VerifyBeside(r, ref, d, file)
	if _, err := io.CopyBuffer(w, readerOnly{layer.UntilDone(ctx, v)}, make([]byte, 256<<10)); err != nil {
		if artifact.IsDamaged(err) {
			w.Drop()
		}
		return kept, err
	}
	return kept, w.Commit(d.Digest, d.Size)
}

// writer returns a writer for a blob, which can be resumed if it is big.
func (s *Store) writer(ctx context.Context, d v1.Descriptor) (*BlobWriter, error) {
	if d.Size < PartialFrom || d.Digest.Algorithm != "sha256" {
		return s.NewBlob(ctx)
	}
	return s.ResumeBlob(ctx, blobKey(d.Digest))
}

// rest reads what is there already, and then what is opened only then.
type rest struct {
	before io.Reader
	open   func() (io.ReadCloser, error)
	after  io.ReadCloser
}

func (r *rest) next() (err error) {
	r.after, err = r.open()
	return err
}

// Read implements io.Reader.
func (r *rest) Read(p []byte) (int, error) {
	if r.after == nil {
		n, err := r.before.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return r.after.Read(p)
}

// Close implements io.Closer.
func (r *rest) Close() error {
	if r.after == nil {
		return nil
	}
	return r.after.Close()
}

// isFresh reports whether a file of ingest/ is what a process left for the next one, not too long ago, and whether that
// one still has a use for it.
func (s *Store) isFresh(e fs.DirEntry) bool {
	key, ok := strings.CutPrefix(e.Name(), keptPrefix)
	if !ok {
		return false
	}
	if hex, ok := strings.CutPrefix(key, "sha256-"); ok {
		if _, err := os.Stat(s.BlobPath(v1.Hash{Algorithm: "sha256", Hex: strings.TrimSuffix(hex, piecesSuffix)})); err == nil {
			return false // the blob came another way
		}
	}
	fi, err := e.Info()
	return err == nil && time.Since(fi.ModTime()) < partialAge
}

// listPartials returns what was left of blobs that were not finished.
func (s *Store) listPartials() (list []Garbage, err error) {
	entries, err := os.ReadDir(s.path("ingest"))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil // of somebody else, or there is none
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), keptPrefix) {
			list = append(list, Garbage{GarbagePartial, "ingest/" + e.Name(), fi.Size()})
		}
	}
	return list, nil
}

// KeptSize returns how many bytes there are of key, 0 for none.
func (s *Store) KeptSize(key string) int64 {
	fi, err := os.Stat(s.path("ingest/" + keptPrefix + filepath.Base(key)))
	if err != nil {
		return 0
	}
	return fi.Size()
}
