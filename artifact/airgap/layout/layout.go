package layout

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// maxIndex bounds the bytes of an index.json that is read.
const maxIndex = 16 << 20

// ParseIndex reads index.json.
func ParseIndex(b []byte) (*v1.IndexManifest, error) {
	idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for _, d := range idx.Manifests {
		if err := Check(d); err != nil {
			return nil, err
		}
	}
	return idx, nil
}

// NameOf returns the full name of an entry of index.json, "" if it has none.
func NameOf(d v1.Descriptor) string {
	return cmp.Or(d.Annotations[artifact.AnnotationContainerdName], d.Annotations[artifact.AnnotationRefName])
}

// Layout is the images/ directory of an unpacked cluster image. It implements
// Images; what it opens is not verified.
type Layout struct {
	names
	tree  fs.FS
	dir   string // in tree
	close func() error
}

// Open opens the images/ directory of an unpacked cluster image. What its files
// link to outside of dir is not read. A directory that is no image layout is an
// error wrapping fs.ErrNotExist. The caller closes the layout.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open image layout: %w", err)
	}
	l := &Layout{tree: root.FS(), dir: ".", close: root.Close}
	if _, err = root.Stat("oci-layout"); err == nil {
		err = l.load()
	}
	if err != nil {
		root.Close()
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: name the images/ directory of an unpacked cluster image", err)
		}
		return nil, fmt.Errorf("open image layout %s: %w", dir, err)
	}
	return l, nil
}

// FromFS reads the image layout in a directory of a tree, which needs no Close.
// A tree without index.json there is an error wrapping fs.ErrNotExist.
func FromFS(tree fs.FS, dir string) (*Layout, error) {
	l := &Layout{tree: tree, dir: dir, close: func() error { return nil }}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, nil
}

// load reads what says which images there are.
func (l *Layout) load() error {
	f, err := l.tree.Open(path.Join(l.dir, "index.json"))
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := readIndex(f)
	if err != nil {
		return err
	}
	l.names, err = parseNames(raw)
	return err
}

// readIndex reads the bytes of index.json.
func readIndex(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxIndex+1))
	if err == nil && len(raw) > maxIndex {
		err = fmt.Errorf("index.json: more than %d bytes", maxIndex)
	}
	return raw, err
}

// Close gives up the directory.
func (l *Layout) Close() error { return l.close() }

// Resolve implements artifact.Source. A digest also finds a manifest that
// index.json does not list.
func (l *Layout) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return resolveIn(ctx, l, &l.names, ref)
}

// Open implements artifact.Source.
func (l *Layout) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if _, err := l.BlobSize(ctx, d.Digest); err != nil {
		return nil, err
	}
	f, err := l.tree.Open(path.Join(l.dir, BlobPath(d.Digest)))
	if err != nil {
		return nil, err
	}
	if seekable, ok := f.(io.Seeker); ok {
		_, err = seekable.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, f, offset)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// BlobSize implements Blobs.
func (l *Layout) BlobSize(_ context.Context, h v1.Hash) (int64, error) {
	if err := Check(v1.Descriptor{Digest: h}); err != nil {
		return 0, err
	}
	fi, err := fs.Stat(l.tree, path.Join(l.dir, BlobPath(h)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("blob %s: %w: %w", h, artifact.ErrNotFound, err)
	}
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no regular file: the directory is damaged, unpack it again", BlobPath(h))
	}
	return fi.Size(), nil
}

// WriteArchive is the function of that name for an open layout.
func (l *Layout) WriteArchive(ctx context.Context, w io.Writer, names []string) error {
	if err := archiveTo(ctx, w, l, &l.names, names); err != nil {
		return fmt.Errorf("archive of the images: %w", err)
	}
	return nil
}

// resolveIn is Resolve for the images that n names.
func resolveIn(ctx context.Context, images Images, n *names, ref artifact.Reference) (v1.Descriptor, error) {
	if d, ok := n.lookup(ref); ok {
		return d, nil
	}
	h, pinned := ref.Digest()
	if !pinned {
		return v1.Descriptor{}, fmt.Errorf("%s: %w among these images", ref.Familiar(), artifact.ErrNotFound)
	}
	size, err := images.BlobSize(ctx, h)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	b, err := artifact.ReadManifest(ctx, images, ref, v1.Descriptor{Digest: h, Size: size})
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := sniff(b)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return d, nil
}
