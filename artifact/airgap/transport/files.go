package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// file is a regular file of a place.
type file struct {
	size int64
	open func() (io.ReadCloser, error)
}

// files are the files of a place by their clean names. One that is not there is
// an error wrapping fs.ErrNotExist.
type files interface {
	file(name string) (file, error)
	Close() error
}

// folder is a folder. Links that lead out of it are not followed.
type folder struct{ *os.Root }

func (f folder) file(name string) (file, error) {
	info, err := f.Stat(name)
	if err != nil {
		return file{}, err
	}
	if !info.Mode().IsRegular() {
		return file{}, fmt.Errorf("%s is no regular file", name)
	}
	return file{info.Size(), func() (io.ReadCloser, error) { return f.Open(name) }}, nil
}

// tarball is the table of contents of an archive.
type tarball struct {
	entries map[string]layer.Entry
	close   func() error
}

// newTarball reads the table of contents. The later of two entries with one name
// counts, as for those who unpack the archive.
func newTarball(ctx context.Context, open func() (io.ReadCloser, error), o Options) (*tarball, error) {
	list, isArchive, closeAll, err := layer.FromArchive(ctx, o.TempDir, open)
	if err == nil && !isArchive {
		err = errors.New("it is no archive")
	}
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	t := &tarball{entries: make(map[string]layer.Entry, len(list)), close: closeAll}
	for _, e := range list {
		t.entries[e.Name] = e
	}
	return t, nil
}

// Close gives up the archive.
func (t *tarball) Close() error { return t.close() }

// maxLinks is how many links are followed one after the other, as by Linux.
const maxLinks = 40

// file returns a file of the archive. docker save made links of layers that are
// the same, which are followed inside the archive.
func (t *tarball) file(name string) (file, error) {
	clean := name
	for range maxLinks {
		e, ok := t.entries[clean]
		switch {
		case !ok:
			return file{}, fmt.Errorf("%s: %w in it", name, fs.ErrNotExist)
		case e.Mode&fs.ModeSymlink != 0:
			if path.IsAbs(e.Linkname) {
				return file{}, fmt.Errorf("%s: the link to %s leads out of the archive", name, e.Linkname)
			}
			clean = path.Join(path.Dir(clean), e.Linkname)
		case !e.Mode.IsRegular():
			return file{}, fmt.Errorf("%s is no regular file", name)
		case e.Open == nil:
			return file{0, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }}, nil
		default:
			return file{e.Size, e.Open}, nil
		}
	}
	return file{}, fmt.Errorf("%s: more than %d links, one after the other", name, maxLinks)
}

// read returns the content of a small file: a manifest, a config, or a list of
// images, of which one that names a thousand has less than half of the limit.
func read(f file, name string) ([]byte, error) {
	if f.size > artifact.MaxManifest {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that it may have", name, f.size, artifact.MaxManifest)
	}
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, artifact.MaxManifest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case int64(len(b)) != f.size:
		return nil, fmt.Errorf("%s has not the %d bytes that it is said to have: the archive is damaged", name, f.size)
	}
	return b, nil
}

// blobPath returns where a blob lies in a layout (OCI image-spec, image-layout.md).
func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// from skips the first bytes of what open returns.
func from(open func() (io.ReadCloser, error), offset int64) (io.ReadCloser, error) {
	r, err := open()
	if err != nil || offset == 0 {
		return r, err
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
