package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/sealrt/sealrt/artifact"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Archive is an OCI archive on disk, or all volumes of a set, that is read where it lies. It implements artifact.Source
// and artifact.Describer; its methods may be called concurrently.
type Archive struct {
	name     string
	files    []io.Closer
	blobs    map[v1.Hash][]extent
	index    *artifact.Index
	presumes *Inventory // nil: it is complete
	volumes  string     // which volumes there are: "1, 3 of 4"; "": it is one file
}

// extent is where a blob, or a piece of it, lies.
type extent struct {
	r        io.ReaderAt
	at, size int64
}

// Open opens the uncompressed OCI archive at path and reads its table of contents, not its blobs. One volume of a set
// stands for all that lie beside it (FILE.001, FILE.002, ...), and so does FILE where only its volumes are there; one
// that is missing, damaged or of another set is an error that names it. The caller closes the archive. Compressed ones
// are refused: their blobs cannot be reached without unpacking all before them.
func Open(path string) (*Archive, error) { return open(path, (*set).requireAll) }

// Look is Open that takes a set of which volumes are missing too, to see what it is. Blobs that are in those are not
// found.
func Look(path string) (*Archive, error) { return open(path, func(*set) error { return nil }) }

func open(path string, require func(*set) error) (*Archive, error) {
	paths, err := volumesBeside(path)
	if err != nil {
		return nil, err
	}
	if len(paths) > 0 {
		s, err := openSet(paths)
		if err != nil {
			return nil, err
		}
		if err := require(s); err != nil {
			s.Close()
			return nil, err
		}
		return s.archive(path), nil
	}
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	a, err := New(path, f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	a.files = []io.Closer{f}
	return a, nil
}

// errDirectory says what to do with a layout that is no archive.
var errDirectory = errors.New("this is a directory: `tar -C DIR -cf FILE .` makes an archive of an OCI layout")

func openRegular(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open archive: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && fi.IsDir() {
		err = errDirectory
	} else if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file: `sealrt load` reads from pipes")
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open archive %s: %w", path, err)
	}
	return f, fi.Size(), nil
}

// New is Open for the size bytes of r, which are no volume; name stands in errors. Close does not close r.
func New(name string, r io.ReaderAt, size int64) (*Archive, error) {
	a := &Archive{name: name, blobs: map[v1.Hash][]extent{}}
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
	var l layoutReader
	err := walk(r, func(hdr *tar.Header, at int64, content io.Reader) error {
		h, isBlob, err := l.entry(hdr, content)
		if isBlob {
			a.blobs[h] = []extent{{r, at, hdr.Size}}
		}
		return err
	}, l.broken)
	if err != nil {
		return err
	}
	a.index, err = l.finish()
	a.presumes = l.presumes
	return err
}

// walk shows visit every entry of an archive and where its content begins. Contents that end too early are errors;
// broken words what is wrong with a header.
func walk(r *io.SectionReader, visit func(hdr *tar.Header, at int64, content io.Reader) error, broken func(error) error) error {
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if hdr.Typeflag == tar.TypeReg && (hdr.Size > r.Size() || at+hdr.Size > r.Size()) {
			return fmt.Errorf("%s: %w", hdr.Name, io.ErrUnexpectedEOF)
		}
		if err := visit(hdr, at, tr); err != nil {
			return err
		}
	}
}

func refuseCompressed(r *io.SectionReader) error {
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil {
		return fmt.Errorf("%w: not a tar archive: %w", errNoArchive, err)
	}
	for _, c := range []struct{ magic, name, tool string }{{"\x1f\x8b", "gzip", "gunzip"}, {"\x28\xb5\x2f\xfd", "zstd", "unzstd"}} {
		if string(magic[:len(c.magic)]) == c.magic {
			return &compressedError{c.name, c.tool}
		}
	}
	return nil
}

// compressedError says that an archive cannot be read in place.
type compressedError struct{ name, tool string }

// Error implements error.
func (e *compressedError) Error() string {
	return fmt.Sprintf("it is compressed with %s: run `sealrt load` on it, or %s first", e.name, e.tool)
}

// Close closes the files.
func (a *Archive) Close() error {
	var err error
	for _, f := range a.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Refs returns every image in the archive, sorted by name.
func (a *Archive) Refs() []artifact.Named { return a.index.Refs() }

// Volumes says which volumes of a set are at hand, "1, 3 of 4", and "" for an archive that is one file.
func (a *Archive) Volumes() string { return a.volumes }

// Presumes returns what a delta needs beside itself, nil for an archive that is complete.
func (a *Archive) Presumes() *Inventory { return a.presumes }

// Blobs lists the blobs and manifests in the archive, sorted.
func (a *Archive) Blobs() []v1.Descriptor {
	list := make([]v1.Descriptor, 0, len(a.blobs))
	for h, extents := range a.blobs {
		list = append(list, v1.Descriptor{Digest: h, Size: total(extents)})
	}
	sortDescriptors(list)
	return list
}

func total(extents []extent) (n int64) {
	for _, e := range extents {
		n += e.size
	}
	return n
}

// Resolve implements artifact.Source.
func (a *Archive) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return a.resolve(ctx, a, ref)
}

// resolve is Resolve with manifests that are read from src.
func (a *Archive) resolve(ctx context.Context, src artifact.Source, ref artifact.Reference) (v1.Descriptor, error) {
	h, pinned := ref.Digest()
	for _, n := range a.Refs() {
		if n.Ref == ref || pinned && n.Desc.Digest == h {
			return n.Desc, nil
		}
	}
	for _, d := range a.index.Manifests { // what is attached is found by its digest
		if pinned && d.Digest == h {
			return v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest, ArtifactType: d.ArtifactType}, nil
		}
	}
	if pinned {
		if d, ok, err := below(ctx, src, a.Refs(), h); ok || err != nil {
			return d, err
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w in archive %s", ref.Familiar(), artifact.ErrNotFound, a.name)
}

// Open implements artifact.Source.
func (a *Archive) Open(_ context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	extents, ok := a.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: blob %s: %w in archive %s%s", ref.Familiar(), d.Digest, artifact.ErrNotFound, a.name, a.advice(d.Digest))
	}
	return io.NopCloser(join(extents, offset)), nil
}

// advice says where a blob is that a delta presumes.
func (a *Archive) advice(h v1.Hash) string {
	if a.presumes == nil {
		return ""
	}
	for _, b := range a.presumes.Blobs {
		if name := a.presumes.image(b); b.Digest == h && name != "" {
			return ", which adds to " + name + ": load that first, then this"
		}
	}
	return ", which only adds to another: load that first, then this"
}

// join reads the extents one after the other, from an offset on.
func join(extents []extent, offset int64) io.Reader {
	var list []io.Reader
	for _, e := range extents {
		skip := min(offset, e.size)
		offset -= skip
		list = append(list, io.NewSectionReader(e.r, e.at+skip, e.size-skip))
	}
	if len(list) == 1 {
		return list[0]
	}
	return io.MultiReader(list...)
}

// Attached implements artifact.Describer.
func (a *Archive) Attached(_ context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	return a.index.Attached(ref)
}

// Has reports whether the archive itself has a blob.
func (a *Archive) Has(_ context.Context, _ artifact.Reference, d v1.Descriptor) (bool, error) {
	extents, ok := a.blobs[d.Digest]
	return ok && total(extents) == d.Size, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
