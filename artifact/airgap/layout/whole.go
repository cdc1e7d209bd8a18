package layout

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// File is a file of images/ in the layers of a cluster image.
type File struct {
	Name string // relative to images/
	Size int64  // in bytes; negative when it is not known
	Err  error  // what is wrong with it
}

// ReadContents is OpenContents that reads every layer once, jobs of them at a
// time, and compares every blob of images/ with its digest: those that differ
// cannot be opened. What else the layers have is shown to other, with the number
// of the layer, from several goroutines; the content need not be read. A cluster
// image without index.json has no entries, and the digest of that is zero. 0 jobs
// are 4.
func ReadContents(ctx context.Context, src artifact.Source, ref artifact.Reference, m *v1.Manifest, jobs int,
	other func(n int, hdr *tar.Header, content io.Reader) error) (*Contents, error) {
	c := newContents(src, ref, m)
	scan := func(ctx context.Context, n int) (*scanned, error) { return c.scanner.verify(ctx, n, other) }
	if err := c.extend(ctx, 0, scan, cmp.Or(max(jobs, 0), defaultJobs)); err != nil {
		return nil, err
	}
	err := c.load(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		c.names, err = names{index: &v1.IndexManifest{}}, nil
	}
	return c, err
}

// Files lists the files of images/ in the layers that were read, sorted by name.
func (c *Contents) Files() []File {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []File
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		f := c.files[name]
		list = append(list, File{name, f.size, f.bad})
	}
	return list
}

// verify reads a layer and compares every file of images/ in it with its digest.
func (s *scanner) verify(ctx context.Context, n int, other func(n int, hdr *tar.Header, content io.Reader) error) (*scanned, error) {
	out := &scanned{n: n, files: map[string]extent{}}
	buf := make([]byte, 256<<10)
	err := s.visit(ctx, out, func(hdr *tar.Header, name string, content io.Reader, again bool) error {
		if name == "" {
			return other(n, hdr, content)
		}
		h := sha256.New()
		if !again {
			if err := s.keep(out, name, io.TeeReader(content, h)); err != nil {
				return err
			}
		}
		if _, err := io.CopyBuffer(h, struct{ io.Reader }{content}, buf); err != nil {
			return err
		}
		want, isBlob := strings.CutPrefix(name, "blobs/sha256/")
		if got := hex.EncodeToString(h.Sum(nil)); isBlob && got != want {
			f := out.files[name]
			f.bad = fmt.Errorf("blob sha256:%s in layer %d is damaged: its %d bytes have digest sha256:%s", want, n+1, f.size, got)
			out.files[name] = f
		}
		return nil
	})
	return out, err
}
