package layout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// What is read of the layers of a cluster image, whatever they hold.
const (
	maxEntries = 2_000_000 // entries of a layer
	maxBlobs   = 200_000   // blobs of all layers
	maxKept    = 256 << 10 // bytes of a file that is kept because reaching it again is slow
	keptBytes  = 8 << 20   // of all such files together

	defaultJobs = 4 // layers that are read at a time
)

// extent is where a file of images/ lies.
type extent struct {
	layer int    // of the cluster image, from 0
	at    int64  // of the content in the layer's bytes; -1: it is reached by reading what is before it
	size  int64  // -1: not known without reading
	name  string // of the entry with the content, when at is -1
	kept  []byte // the content, if it was kept
	bad   error  // what is wrong with it, as far as that is known
}

// scanned is what one layer says about images/. Names are relative to that.
type scanned struct {
	n     int
	files map[string]extent
	gone  []string // what the layers below show no more, with all below it; "." is everything
}

// scanner reads layers once each.
type scanner struct {
	src    artifact.Source
	ref    artifact.Reference
	layers []v1.Descriptor
	room   atomic.Int64 // for what is kept, in bytes
}

// layerError is a layer that cannot be read. It is never taken for a blob that
// is not among the images.
type layerError struct {
	n, of int
	err   error
}

func (e *layerError) Error() string { return fmt.Sprintf("layer %d of %d: %v", e.n+1, e.of, e.err) }

// Unwrap returns the cause.
func (e *layerError) Unwrap() error {
	if errors.Is(e.err, artifact.ErrNotFound) {
		return nil
	}
	return e.err
}

// IsPlain reports whether a layer is said to be uncompressed.
func IsPlain(mt types.MediaType) bool {
	return mt == types.OCIUncompressedLayer || mt == types.DockerUncompressedLayer
}

// visitor is shown every entry of a layer: how it is called in images/, "" where
// it is no file of a layout there, and its content, which need not be read.
// again says that reaching it once more is cheap.
type visitor = func(hdr *tar.Header, name string, content io.Reader, again bool) error

// scan reads the headers of a layer: only these where the layer is a plain
// archive, or else all of it.
func (s *scanner) scan(ctx context.Context, n int) (*scanned, error) {
	out := &scanned{n: n, files: map[string]extent{}}
	err := s.visit(ctx, out, func(_ *tar.Header, name string, content io.Reader, again bool) error {
		if name == "" || again {
			return nil
		}
		return s.keep(out, name, content)
	})
	return out, err
}

// visit shows the entries of a layer to see, and notes in out where they are.
func (s *scanner) visit(ctx context.Context, out *scanned, see visitor) error {
	if err := s.read(ctx, out, see); err != nil {
		return &layerError{out.n, len(s.layers), err}
	}
	return nil
}

func (s *scanner) read(ctx context.Context, out *scanned, see visitor) error {
	d := s.layers[out.n]
	r := NewSeeker(ctx, s.src, s.ref, d)
	defer r.Close()
	head, err := r.peek(4 << 10) // the headers of a layer of one blob
	if err != nil {
		return err
	}
	if IsTar(head) {
		return readPlain(ctx, r, out, see)
	}
	entries := 0
	return layer.Walk(ctx, r, func(hdr *tar.Header, content io.Reader) error {
		if entries++; entries > maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		name, err := out.entry(hdr, -1)
		if err != nil {
			return err
		}
		return see(hdr, name, content, false)
	})
}

// IsTar reports whether these bytes, 512 at least, surely begin a plain archive: one
// whose first name could be taken for the magic number of a compression is not.
func IsTar(head []byte) bool {
	const magic = 257 // POSIX.1-2017, pax, "ustar Interchange Format"
	if len(head) < 512 {
		return false
	}
	first := head[0]
	return string(head[magic:magic+5]) == "ustar" && first != 0x1f && first != 0x28 && first != 0xfd && first != 'B' && first&0xf0 != 0x50
}

// readPlain reads a plain archive. Content that see does not read is passed over;
// a file whose content ends early is an error all the same.
func readPlain(ctx context.Context, r io.ReadSeeker, out *scanned, see visitor) error {
	tr := tar.NewReader(r) // it passes over content by seeking
	for entries := 0; ; entries++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if entries == maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := cleanName(hdr); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
		if isSparse(hdr) {
			at = -1
		}
		name, err := out.entry(hdr, at)
		if err == nil {
			err = see(hdr, name, tr, true)
		}
		if err != nil {
			return err
		}
	}
}

// cleanName makes the name of an entry a clean relative path.
func cleanName(hdr *tar.Header) error {
	for part := range strings.SplitSeq(hdr.Name, "/") {
		if part == ".." {
			return errors.New("the name leaves the image")
		}
	}
	hdr.Name = path.Clean(hdr.Name)
	if !fs.ValidPath(strings.ToValidUTF8(hdr.Name, "_")) {
		return errors.New("the name leaves the image")
	}
	return nil
}

// isSparse says whether content has holes that the archive leaves out.
func isSparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return hdr.Typeflag == tar.TypeGNUSparse
}

// entry takes in an entry with a clean name, and returns how the file is called
// in images/; "" if it is none of a layout.
func (s *scanned) entry(hdr *tar.Header, at int64) (string, error) {
	dir, base := path.Split(hdr.Name)
	if base == layer.OpaqueWhiteout {
		s.hide(path.Clean(dir))
		return "", nil
	}
	if gone, ok := strings.CutPrefix(base, layer.WhiteoutPrefix); ok {
		s.hide(path.Join(dir, gone))
		return "", nil
	}
	name, ok := inImages(hdr.Name)
	switch {
	case !ok:
		return "", nil
	case isDir(name):
		if hdr.Typeflag != tar.TypeDir { // nothing is below it any more
			s.files = map[string]extent{}
			s.hide(hdr.Name)
		}
		return "", nil
	case !isPart(name):
		return "", nil
	}
	if _, twice := s.files[name]; twice {
		return "", fmt.Errorf("entry %q is there twice: build the image again", hdr.Name)
	}
	if len(s.files) == maxBlobs {
		return "", fmt.Errorf("more than %d files in images/", maxBlobs)
	}
	p := extent{layer: s.n, at: at, size: hdr.Size, name: hdr.Name}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		s.files[name] = p
		return name, nil
	case tar.TypeLink:
		p.at, p.size, p.name = -1, -1, path.Clean(hdr.Linkname)
	default:
		p.bad = fmt.Errorf("%s is no file, but of type %q in layer %d: build the image again", hdr.Name, hdr.Typeflag, s.n+1)
	}
	s.files[name] = p
	return "", nil
}

// hide notes that the layers below show no more of a path.
func (s *scanned) hide(full string) {
	name, ok := inImages(full)
	switch {
	case full == ".":
		s.gone = append(s.gone, ".")
	case ok && (isDir(name) || isPart(name)) && len(s.gone) < maxBlobs:
		s.gone = append(s.gone, name)
	}
}

// isDir reports whether name is a directory of an image layout.
func isDir(name string) bool { return name == "." || name == "blobs" || name == "blobs/sha256" }

// inImages returns a path as it is called in images/, which is "." itself.
func inImages(full string) (string, bool) {
	if full == "images" {
		return ".", true
	}
	return strings.CutPrefix(full, "images/")
}

// isPart reports whether a file in images/ is a part of an image layout.
func isPart(name string) bool {
	if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
		return len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
	}
	return name == "index.json" || name == "oci-layout"
}

// keep keeps a small file, while there is room.
func (s *scanner) keep(out *scanned, name string, content io.Reader) error {
	p := out.files[name]
	if p.size > maxKept {
		return nil
	}
	if s.room.Add(-p.size) < 0 {
		s.room.Add(p.size)
		return nil
	}
	b := make([]byte, p.size)
	if _, err := io.ReadFull(content, b); err != nil {
		return err
	}
	p.kept = b
	out.files[name] = p
	return nil
}
