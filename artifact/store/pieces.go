package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Pieces is a blob that comes to a store in pieces, in any order, and over several processes if need be. What has come
// stays in ingest/ for a week. Its file is as long as the blob; behind its end stands what of it is in place, a line for
// each piece. It is not safe for concurrent use; another process that wants the same blob waits.
type Pieces struct {
	s     *Store
	f     *os.File // nil once closed
	d     v1.Descriptor
	have  []pieceRange // sorted
	end   int64        // where the next line goes
	added bool
}

type pieceRange struct{ from, to int64 }

// piecesSuffix ends the names of such files, which begin as those of other blobs that are not finished.
const piecesSuffix = ".pieces"

// Pieces opens what has come of the blob d. The caller closes it. ctx bounds the wait for locks.
func (s *Store) Pieces(ctx context.Context, d v1.Descriptor) (*Pieces, error) {
	if !artifact.IsSHA256(d.Digest) || d.Size < 0 {
		return nil, fmt.Errorf("digest %q of %d bytes is not acceptable", d.Digest, d.Size)
	}
	if err := s.begin(ctx, false); err != nil {
		return nil, err
	}
	p := &Pieces{s: s, d: d}
	if err := p.open(ctx); err != nil {
		s.end(false)
		return nil, fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return p, nil
}

func (p *Pieces) open(ctx context.Context) error {
	path := p.s.piecesPath(p.d.Digest)
	for {
		f, err := disk.Lock(ctx, path, true)
		if err != nil {
			return err
		}
		fi, err := f.Stat()
		if err != nil {
			f.Close()
			return err
		}
		// Before it was locked, its writer may have made a blob of it, or removed it.
		if now, err := os.Stat(path); err != nil || !os.SameFile(fi, now) {
			f.Close()
			continue
		}
		p.f = f
		if fi.Size() < p.d.Size {
			if err := f.Truncate(p.d.Size); err != nil {
				f.Close()
				return err
			}
		}
		return p.read()
	}
}

func (s *Store) piecesPath(h v1.Hash) string {
	return s.path("ingest/" + keptPrefix + blobKey(h) + piecesSuffix)
}

// read reads which pieces are in place. A line that was not finished does not count, nor what follows it.
func (p *Pieces) read() error {
	const most = 1 << 20
	b, err := io.ReadAll(io.NewSectionReader(p.f, p.d.Size, most))
	if err != nil {
		p.f.Close()
		return err
	}
	p.end = p.d.Size
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		r, ok := p.parse(string(line))
		if !whole || !ok {
			return nil
		}
		p.keep(r)
		p.end += int64(len(line)) + 1
		b = rest
	}
}

// parse reads a line.
func (p *Pieces) parse(line string) (pieceRange, bool) {
	var r pieceRange
	n, err := fmt.Sscanf(line, "%d %d", &r.from, &r.to)
	return r, err == nil && n == 2 && r.from >= 0 && r.to >= r.from && r.to <= p.d.Size
}

func (p *Pieces) keep(r pieceRange) {
	p.have = append(p.have, r)
	slices.SortFunc(p.have, func(a, b pieceRange) int { return int(min(1, max(-1, a.from-b.from))) })
	merged := p.have[:1]
	for _, r := range p.have[1:] {
		if last := &merged[len(merged)-1]; r.from <= last.to {
			last.to = max(last.to, r.to)
		} else {
			merged = append(merged, r)
		}
	}
	p.have = merged
}

// Has reports whether the size bytes from offset on are in place.
func (p *Pieces) Has(offset, size int64) bool {
	return slices.ContainsFunc(p.have, func(r pieceRange) bool { return r.from <= offset && offset+size <= r.to })
}

// Whole reports whether all bytes are in place.
func (p *Pieces) Whole() bool { return p.d.Size == 0 || p.Has(0, p.d.Size) }

// Writer writes the piece that begins at offset. It counts when Add says that it is in place.
func (p *Pieces) Writer(offset int64) io.Writer { return io.NewOffsetWriter(p.f, offset) }

// Add says that the size bytes from offset on are in place.
func (p *Pieces) Add(offset, size int64) error {
	r := pieceRange{offset, offset + size}
	if offset < 0 || size < 0 || r.to > p.d.Size {
		return fmt.Errorf("%s: a piece from %d to %d of %d bytes", p.d.Digest, r.from, r.to, p.d.Size)
	}
	line := fmt.Sprintf("%d %d\n", r.from, r.to)
	if _, err := p.f.WriteAt([]byte(line), p.end); err != nil {
		return fmt.Errorf("write to the store at %s: %w", p.s.root, hint(p.s.root, err))
	}
	p.end += int64(len(line))
	p.added = true
	p.keep(r)
	return nil
}

// Commit verifies the blob and gives it its place. What turns out to be damaged is removed: the error then IsDamaged, and
// all pieces are needed again. Nothing can be written afterwards.
func (p *Pieces) Commit(ctx context.Context) error {
	if !p.Whole() {
		return fmt.Errorf("commit %s: not all of it is there", p.d.Digest)
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, readerOnly{layer.UntilDone(ctx, io.NewSectionReader(p.f, 0, p.d.Size))}, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("commit %s: %w", p.d.Digest, err)
	}
	if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != p.d.Digest.String() {
		os.Remove(p.f.Name())
		return artifact.Damaged("pieces", p.d.Digest, fmt.Errorf("its pieces together have digest %s", got))
	}
	now := time.Now() // what checks it after a power cut goes by the time
	err := errors.Join(p.f.Truncate(p.d.Size), p.f.Chmod(0o644), os.Chtimes(p.f.Name(), now, now))
	if err == nil {
		err = os.Rename(p.f.Name(), p.s.BlobPath(p.d.Digest))
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", p.d.Digest, hint(p.s.root, err))
	}
	p.added = true
	return p.Close()
}

// Close lets go of what has come; the next Pieces goes on with it. It can be called twice, and after Commit.
func (p *Pieces) Close() error {
	if p.f == nil {
		return nil
	}
	f := p.f
	p.f = nil
	if len(p.have) == 0 {
		os.Remove(f.Name()) // locked, and nothing in it
	}
	p.s.end(p.added)
	if err := f.Close(); err != nil {
		return fmt.Errorf("write to the store at %s: %w", p.s.root, hint(p.s.root, err))
	}
	return nil
}

// HasPiece reports whether size bytes from offset on of a blob that comes in pieces are in place.
func (s *Store) HasPiece(ctx context.Context, d v1.Descriptor, offset, size int64) (bool, error) {
	if _, err := os.Stat(s.piecesPath(d.Digest)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	p, err := s.Pieces(ctx, d)
	if err != nil {
		return false, err
	}
	return p.Has(offset, size), p.Close()
}
