package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

// Keep decides about an entry of a layer that is rewritten, whose name is clean, by returning the content of the entry
// in the new layer: what it got, or if it has read that, another reader of the same bytes. An entry for which it returns
// nil is left out. It does not change hdr.
type Keep func(hdr *tar.Header, content io.Reader) (io.Reader, error)

// Rewrite writes the layer that r holds, compressed or not, to w without the entries that keep leaves out, in a single
// pass, and returns what it wrote and the number of entries in it. The order, modes, owners, times and hard links are those of r;
// extended attributes but for file capabilities are left out, as Extract does. Equal layers, decisions and options give equal bytes. Of
// the options Created does not matter. r is read to its end; whether it is what it should be only a digest can tell.
// Write says what w may expect.
func Rewrite(ctx context.Context, w io.Writer, r io.Reader, o Options, keep Keep) (Blob, int, error) {
	out := &digester{w: w, hash: sha256.New()}
	p, err := newPipeline(ctx, w, out, o)
	if err != nil {
		return Blob{}, 0, fmt.Errorf("rewrite layer: %w", err)
	}
	if o.Compression == None {
		out = &p.diff
	}
	x := &rewriting{tar: tar.NewWriter(p), keep: keep, left: map[string]bool{}, buf: make([]byte, copySize)}
	err = Walk(ctx, r, x.entry)
	if err == nil {
		err = x.tar.Close()
	}
	p.fail(err)
	if err := p.Close(); err != nil {
		return Blob{}, 0, fmt.Errorf("rewrite layer: %w", err)
	}
	return Blob{Digest: out.sum(), DiffID: p.diff.sum(), Size: out.size, MediaType: o.Compression.MediaType()}, x.entries, nil
}

// rewriting is one Rewrite under way.
type rewriting struct {
	tar     *tar.Writer
	keep    Keep
	left    map[string]bool // files that were left out, to which hard links may lead
	entries int
	buf     []byte
}

func (x *rewriting) entry(hdr *tar.Header, content io.Reader) error {
	content, err := x.keep(hdr, content)
	if err != nil {
		return fmt.Errorf("entry %q: %w", hdr.Name, err)
	}
	if content == nil {
		x.left[hdr.Name] = true
		return nil
	}
	if hdr.Name == "." {
		return nil // every tree has a root
	}
	plain, err := x.header(hdr)
	if err == nil {
		err = x.tar.WriteHeader(plain)
	}
	if err == nil && plain.Typeflag == tar.TypeReg {
		_, err = io.CopyBuffer(writerOnly{x.tar}, struct{ io.Reader }{content}, x.buf)
	}
	if err != nil {
		return fmt.Errorf("entry %q: %w", hdr.Name, err)
	}
	x.entries++
	return nil
}

// header returns what of a header goes into the new layer.
func (x *rewriting) header(hdr *tar.Header) (*tar.Header, error) {
	plain := &tar.Header{
		Typeflag: hdr.Typeflag, Name: hdr.Name, Linkname: hdr.Linkname, Mode: headerMode(fileMode(hdr.Mode)),
		Uid: hdr.Uid, Gid: hdr.Gid, ModTime: hdr.ModTime.Truncate(time.Second).UTC(),
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		plain.Name += "/"
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		plain.Typeflag, plain.Size, plain.Linkname = tar.TypeReg, hdr.Size, ""
		if value, ok := hdr.PAXRecords[capabilityRecord]; ok {
			plain.PAXRecords = map[string]string{capabilityRecord: value}
		}
	case tar.TypeSymlink:
	case tar.TypeLink:
		target, err := cleanName(hdr.Linkname)
		if err != nil {
			return nil, fmt.Errorf("hard link %q leaves the image", hdr.Linkname)
		}
		if x.left[target] {
			return nil, fmt.Errorf("it is a hard link to %s, which is left out", target)
		}
		plain.Linkname = path.Clean(target)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil, errors.New("devices and named pipes are not taken over: make the image without it")
	default:
		return nil, fmt.Errorf("entries of type %q are not known", hdr.Typeflag)
	}
	return plain, nil
}
