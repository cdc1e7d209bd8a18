package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// copySize is the number of bytes that are read from or written to a file at once.
const copySize = 256 << 10

// Options says how a layer is written. The zero value is good.
type Options struct {
	// Compression of the archive.
	Compression Compression
	// Created is the modification time of every entry, cut to seconds; the zero time stands for the Unix epoch.
	Created time.Time
	// Jobs is that of the layer's own buffers, when Buffers is nil. It does not change the result.
	Jobs int
	// Buffers may be shared by layers; nil means that the layer has its own. It does not change the result.
	Buffers *Buffers
}

// Write writes entries to w as one layer, in a single pass, and returns the digests and the size of what it wrote.
//
// The entries must be in the order of Compare and name nothing twice. Parents that are not listed are written as
// directories of mode 0755, owned by 0:0. An error that entries yields, or a file whose content is not exactly Size
// bytes long, ends the writing; so does ctx. What w got by then is no layer. Write does not close w, which it calls
// from a goroutine of its own, but not any more when it has returned.
func Write(ctx context.Context, w io.Writer, entries iter.Seq2[Entry, error], o Options) (Blob, error) {
	blob, err := write(ctx, w, entries, o)
	if err != nil {
		return Blob{}, fmt.Errorf("write layer: %w", err)
	}
	return blob, nil
}

func write(ctx context.Context, w io.Writer, entries iter.Seq2[Entry, error], o Options) (Blob, error) {
	out := &digester{w: w, hash: sha256.New()}
	p, err := newPipeline(ctx, w, out, o)
	if err != nil {
		return Blob{}, err
	}
	if o.Compression == None {
		out = &p.diff
	}
	if err := p.archive(ctx, entries, o.Created); err != nil {
		return Blob{}, err
	}
	if tooDense(p.diff.size, out.size) {
		return Blob{}, fmt.Errorf("%d bytes shrink to %d, which readers take for a bomb: choose the compression none", p.diff.size, out.size)
	}
	return Blob{Digest: out.sum(), DiffID: p.diff.sum(), Size: out.size, MediaType: o.Compression.MediaType()}, nil
}

// newPipeline returns the pipeline of a layer: what is not compressed goes to w as it is, anything else to out.
func newPipeline(ctx context.Context, w io.Writer, out *digester, o Options) (*pipeline, error) {
	switch o.Compression {
	case None:
		return newPlain(ctx, w), nil
	case Zstd, Gzip:
	default:
		return nil, fmt.Errorf("unknown %v", o.Compression)
	}
	b := o.Buffers
	if b == nil {
		b = &Buffers{Jobs: o.Jobs}
	}
	b.prepare()
	if o.Compression == Gzip {
		return newCompressing(ctx, out, b.frames, b.gzip), nil
	}
	return newCompressing(ctx, out, b.frames, b.zstd), nil
}

// DiffID returns the DiffID that Write would return, without compressing or writing anything. Of the options only
// Created matters. The errors are those of Write.
func DiffID(ctx context.Context, entries iter.Seq2[Entry, error], o Options) (v1.Hash, error) {
	p := newPlain(ctx, io.Discard)
	if err := p.archive(ctx, entries, o.Created); err != nil {
		return v1.Hash{}, fmt.Errorf("hash layer: %w", err)
	}
	return p.diff.sum(), nil
}

// archive sends the archive of entries through the pipeline and closes that.
func (p *pipeline) archive(ctx context.Context, entries iter.Seq2[Entry, error], created time.Time) error {
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	a := &archive{out: p, tar: tar.NewWriter(p), created: created.Truncate(time.Second).UTC()}
	p.fail(a.writeAll(ctx, entries))
	return p.Close()
}

// digester counts and hashes what is written through it.
type digester struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func (d *digester) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	d.hash.Write(p[:n])
	d.size += int64(n)
	return n, err
}

func (d *digester) sum() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(d.hash.Sum(nil))}
}
