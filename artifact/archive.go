package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sealrt/sealrt/artifact/layer"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ArchiveSink writes images as one OCI archive: the tar of an OCI image layout (OCI image-spec image-layout.md), each
// blob once however many images share it. The same images copied in the same order give the same bytes. It implements
// Sink; an error leaves the archive unusable.
type ArchiveSink struct {
	mu     sync.Mutex
	w      *tar.Writer
	have   map[v1.Hash]bool
	index  v1.IndexManifest
	begun  bool
	closed bool
	err    error // what broke the archive
}

// NewArchiveSink returns a sink that writes to w as images arrive. Close completes the archive; it does not close w.
func NewArchiveSink(w io.Writer) *ArchiveSink {
	return &ArchiveSink{w: tar.NewWriter(w), have: map[v1.Hash]bool{}}
}

// serial tells Copy that the order of blobs matters.
func (a *ArchiveSink) serial() {}

// Has implements Sink: it knows what it has written.
func (a *ArchiveSink) Has(ctx context.Context, ref Reference, d v1.Descriptor) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.have[d.Digest], a.err
}

// Put implements Sink.
func (a *ArchiveSink) Put(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || a.have[d.Digest] {
		return a.err
	}
	r, err := open(0) // before the header: a blob that is not there does not break the archive
	if err != nil {
		return err
	}
	defer r.Close()
	if err := a.put(ctx, r, ref, d); err != nil {
		a.err = fmt.Errorf("write archive: %w", err)
		return a.err
	}
	a.have[d.Digest] = true
	return nil
}

func (a *ArchiveSink) put(ctx context.Context, r io.Reader, ref Reference, d v1.Descriptor) error {
	if err := a.begin(); err != nil {
		return err
	}
	if err := a.w.WriteHeader(fileHeader(blobDir+d.Digest.Hex, d.Size)); err != nil {
		return err
	}
	v := newVerifier(r, ref, d)
	_, err := io.CopyBuffer(struct{ io.Writer }{a.w}, readerOnly{layer.UntilDone(ctx, v)}, make([]byte, 256<<10))
	return err
}

const blobDir = "blobs/sha256/"

// begin writes what stands before the first blob, so that tools see at once what the archive is.
func (a *ArchiveSink) begin() error {
	if a.begun {
		return nil
	}
	a.begun = true
	if err := a.file("oci-layout", []byte(layoutFile)); err != nil {
		return err
	}
	for _, dir := range []string{"blobs/", blobDir} {
		if err := a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
	}
	return nil
}

func (a *ArchiveSink) file(name string, b []byte) error {
	if err := a.w.WriteHeader(fileHeader(name, int64(len(b)))); err != nil {
		return err
	}
	_, err := a.w.Write(b)
	return err
}

func fileHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
}

// Tag implements Sink. Names are written with both annotations that tools look for.
func (a *ArchiveSink) Tag(ctx context.Context, ref Reference, d v1.Descriptor) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if !a.have[d.Digest] {
		return fmt.Errorf("name %s in the archive: manifest %s: %w", ref.Familiar(), d.Digest, ErrNotFound)
	}
	setName(&a.index, ref, d, AnnotationContainerdName)
	return nil
}

// Close writes index.json and the end of the archive. An archive without images is an error, as is closing after one.
func (a *ArchiveSink) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || a.closed {
		return a.err
	}
	a.closed = true
	if len(a.index.Manifests) == 0 {
		return errors.New("write archive: no image was put into it")
	}
	b, err := formatIndex(&a.index)
	if err == nil {
		err = a.begin()
	}
	if err == nil {
		err = a.file("index.json", b)
	}
	if err == nil {
		err = a.w.Close()
	}
	if err != nil {
		a.err = fmt.Errorf("write archive: %w", err)
	}
	return a.err
}

// Archive is an OCI archive on disk that is read where it lies. It implements Source; its methods may be called
// concurrently.
type Archive struct {
	path  string
	r     io.ReaderAt
	close func() error
	blobs map[v1.Hash]extent
	index *v1.IndexManifest
}

// extent is where a blob lies in the archive.
type extent struct{ at, size int64 }

// OpenArchive opens the uncompressed OCI archive at path and reads its table of contents, not its blobs. The caller
// closes it. Compressed archives are refused: their blobs cannot be reached without unpacking all before them.
func OpenArchive(path string) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file: `sealrt load` reads from pipes")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open archive %s: %w", path, err)
	}
	a, err := NewArchive(path, f, fi.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	a.close = f.Close
	return a, nil
}

// NewArchive is OpenArchive for the size bytes of r; name stands in errors. Close does not close r.
func NewArchive(name string, r io.ReaderAt, size int64) (*Archive, error) {
	a := &Archive{path: name, r: r, close: func() error { return nil }, blobs: map[v1.Hash]extent{}}
	if err := a.scan(io.NewSectionReader(r, 0, size)); err != nil {
		return nil, fmt.Errorf("open archive %s: %w", name, err)
	}
	return a, nil
}

// scan walks the headers; archive/tar seeks over the contents.
func (a *Archive) scan(r *io.SectionReader) error {
	if err := refuseCompressed(r); err != nil {
		return err
	}
	tr := tar.NewReader(r)
	var l layoutReader
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return l.broken(err)
		}
		h, isBlob, err := l.entry(hdr, tr)
		if err != nil {
			return err
		}
		if isBlob {
			at, err := r.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			if at+hdr.Size > r.Size() {
				return fmt.Errorf("%s: %w", hdr.Name, io.ErrUnexpectedEOF)
			}
			a.blobs[h] = extent{at, hdr.Size}
		}
	}
	idx, err := l.finish()
	a.index = idx
	return err
}

func refuseCompressed(r *io.SectionReader) error {
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil {
		return fmt.Errorf("not a tar archive: %w", err)
	}
	for _, c := range []struct{ magic, name, tool string }{{"\x1f\x8b", "gzip", "gunzip"}, {"\x28\xb5\x2f\xfd", "zstd", "unzstd"}} {
		if string(magic[:len(c.magic)]) == c.magic {
			return fmt.Errorf("it is compressed with %s: run `sealrt load` on it, or %s first", c.name, c.tool)
		}
	}
	return nil
}

// Close closes the file.
func (a *Archive) Close() error { return a.close() }

// Refs returns every image in the archive, sorted by name.
func (a *Archive) Refs() []Named { return names(a.index) }

// Resolve implements Source.
func (a *Archive) Resolve(ctx context.Context, ref Reference) (v1.Descriptor, error) {
	h, pinned := ref.Digest()
	for _, n := range a.Refs() {
		if n.Ref == ref || pinned && n.Desc.Digest == h {
			return n.Desc, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w in archive %s", ref.Familiar(), ErrNotFound, a.path)
}

// Open implements Source.
func (a *Archive) Open(ctx context.Context, ref Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	e, ok := a.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: blob %s: %w in archive %s: it may be one that only adds to another: load that first", ref.Familiar(), d.Digest, ErrNotFound, a.path)
	}
	return io.NopCloser(io.NewSectionReader(a.r, e.at+min(offset, e.size), e.size-min(offset, e.size))), nil
}
