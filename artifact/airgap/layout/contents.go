package layout

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// Contents is the images/ directory of a cluster image that is not unpacked. It
// implements Images; its methods may be called concurrently. What it opens is
// not verified.
//
// Blobs of layers that are plain archives, as a build makes them, are read where
// they lie, from any offset. In compressed layers, as other tools make them,
// reaching a blob costs decompressing what is before it.
type Contents struct {
	names
	scanner *scanner

	mu    sync.Mutex
	below int // layers from here up are scanned, those below not
	files map[string]extent
	gone  map[string]bool // what of the layers below does not count
}

// OpenContents opens the images/ directory of the cluster image whose manifest
// artifact.Manifest returned for ref in src. Layers are scanned once, when they
// are needed: those on top to find index.json, those below when a blob is asked
// for that is not in the others. A cluster image without images/index.json is an
// error wrapping fs.ErrNotExist. src must stay open as long as the contents are
// used.
func OpenContents(ctx context.Context, src artifact.Source, ref artifact.Reference, m *v1.Manifest) (*Contents, error) {
	c := newContents(src, ref, m)
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("container images in %s: %w", ref.Familiar(), err)
	}
	return c, nil
}

func newContents(src artifact.Source, ref artifact.Reference, m *v1.Manifest) *Contents {
	s := &scanner{src: src, ref: ref, layers: m.Layers}
	s.room.Store(keptBytes)
	return &Contents{scanner: s, below: len(m.Layers), files: map[string]extent{}, gone: map[string]bool{}}
}

// load reads index.json.
func (c *Contents) load(ctx context.Context) error {
	p, ok, err := c.find(ctx, "index.json")
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("images/index.json: %w", fs.ErrNotExist)
	}
	r, _, err := c.openPlace(ctx, p, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	raw, err := readIndex(r)
	if err != nil {
		return err
	}
	c.names, err = parseNames(raw)
	return err
}

// Close implements the Place of package transport. There is nothing to close:
// what the images are in belongs to who opened it.
func (c *Contents) Close() error { return nil }

// Resolve implements artifact.Source. A digest also finds a manifest that
// index.json does not list.
func (c *Contents) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return resolveIn(ctx, c, &c.names, ref)
}

// Open implements artifact.Source.
func (c *Contents) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	p, err := c.blob(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	r, _, err := c.openPlace(ctx, p, offset)
	return r, err
}

// BlobSize implements Images.
func (c *Contents) BlobSize(ctx context.Context, h v1.Hash) (int64, error) {
	p, err := c.blob(ctx, h)
	if err != nil || p.size >= 0 {
		return p.size, err
	}
	r, size, err := c.openPlace(ctx, p, 0)
	if err != nil {
		return 0, err
	}
	return size, r.Close()
}

// WriteArchive writes images to w as one OCI archive, as the function of that
// name does, but verifies every blob.
func (c *Contents) WriteArchive(ctx context.Context, w io.Writer, names []string) error {
	if err := archiveTo(ctx, w, verified{c}, &c.names, names); err != nil {
		return fmt.Errorf("archive of the images in %s: %w", c.scanner.ref.Familiar(), err)
	}
	return nil
}

// verified are images whose blobs are verified when they are read from their
// start.
type verified struct{ Images }

// Open implements artifact.Source.
func (v verified) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := v.Images.Open(ctx, ref, d, offset)
	if err != nil || offset != 0 {
		return r, err
	}
	return Verify(r, d, nil), nil
}

// blob returns where a blob lies.
func (c *Contents) blob(ctx context.Context, h v1.Hash) (extent, error) {
	if err := Check(v1.Descriptor{Digest: h}); err != nil {
		return extent{}, err
	}
	p, ok, err := c.find(ctx, BlobPath(h))
	switch {
	case err != nil:
		return extent{}, fmt.Errorf("container images in %s: %w", c.scanner.ref.Familiar(), err)
	case !ok:
		return extent{}, fmt.Errorf("blob %s: %w among the container images in %s", h, artifact.ErrNotFound, c.scanner.ref.Familiar())
	}
	return p, p.bad
}

// find looks a file of images/ up, from the topmost layer down, as far as needed.
func (c *Contents) find(ctx context.Context, name string) (extent, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if p, ok := c.files[name]; ok {
			return p, true, nil
		}
		if c.below == 0 || c.hidden(name) {
			return extent{}, false, nil
		}
		from := c.below - 1
		for from > 0 && !IsPlain(c.scanner.layers[from].MediaType) {
			from--
		}
		for from > 0 && IsPlain(c.scanner.layers[from-1].MediaType) {
			from--
		}
		if err := c.extend(ctx, from, c.scanner.scan, defaultJobs); err != nil {
			return extent{}, false, err
		}
	}
}

// extend scans those of the layers down to from that are not scanned yet.
func (c *Contents) extend(ctx context.Context, from int, scan func(context.Context, int) (*scanned, error), jobs int) error {
	found := make([]*scanned, c.below-from)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i := range found {
		g.Go(func() (err error) {
			found[i], err = scan(gctx, from+i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := len(found) - 1; i >= 0; i-- {
		if err := c.lay(found[i]); err != nil {
			return err
		}
	}
	c.below = from
	return nil
}

// lay takes in the layer below those that are known.
func (c *Contents) lay(s *scanned) error {
	for name, p := range s.files {
		if _, known := c.files[name]; known || c.hidden(name) {
			continue
		}
		if len(c.files) == maxBlobs {
			return fmt.Errorf("more than %d files in images/", maxBlobs)
		}
		c.files[name] = p
	}
	for _, name := range s.gone {
		c.gone[name] = true
	}
	return nil
}

// hidden reports whether a file of the layers below does not show.
func (c *Contents) hidden(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if c.gone[name] {
			return true
		}
	}
	return c.gone["."]
}

// openPlace opens a file from offset on, and returns the size of all of it.
func (c *Contents) openPlace(ctx context.Context, p extent, offset int64) (io.ReadCloser, int64, error) {
	if p.bad != nil {
		return nil, 0, p.bad
	}
	if p.kept != nil {
		return io.NopCloser(bytes.NewReader(p.kept[min(offset, p.size):])), p.size, nil
	}
	s, d := c.scanner, c.scanner.layers[p.layer]
	if p.at >= 0 {
		skip := min(offset, p.size)
		r, err := s.src.Open(ctx, s.ref, d, p.at+skip)
		if err != nil {
			return nil, 0, &layerError{p.layer, len(s.layers), err}
		}
		return stream{io.LimitReader(r, p.size-skip), r.Close}, p.size, nil
	}
	r, size, err := c.walkTo(ctx, d, p.name)
	if err == nil {
		if _, err = io.CopyN(io.Discard, r, min(offset, size)); err != nil {
			r.Close()
		}
	}
	if err != nil {
		return nil, 0, &layerError{p.layer, len(s.layers), err}
	}
	return r, size, nil
}

// stream is a reader and how it is closed.
type stream struct {
	io.Reader
	close func() error
}

// Close implements io.Closer.
func (s stream) Close() error { return s.close() }

// walkTo reads a layer up to the content of a file.
func (c *Contents) walkTo(ctx context.Context, d v1.Descriptor, name string) (r io.ReadCloser, size int64, err error) {
	blob, err := c.scanner.src.Open(ctx, c.scanner.ref, d, 0)
	if err != nil {
		return nil, 0, err
	}
	plain, err := layer.Decompress(blob)
	if err != nil {
		blob.Close()
		return nil, 0, err
	}
	closeAll := func() error { return errors.Join(plain.Close(), blob.Close()) }
	for tr := tar.NewReader(plain); ; {
		hdr, err := tr.Next()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = closeAll() // what went wrong before says more
			return nil, 0, fmt.Errorf("look for %s: %w", name, err)
		}
		if (hdr.Typeflag == tar.TypeReg || hdr.Typeflag == tar.TypeGNUSparse) && path.Clean(hdr.Name) == name {
			return stream{tr, closeAll}, hdr.Size, nil
		}
	}
}
