package artifact

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
)

// Receive loads an OCI archive, plain or compressed with gzip or zstd, from r into s and returns what it names, sorted.
// r needs no seeking: a pipe will do. Every blob is verified before it gets its place, and an image gets its name when
// all that it needs is in the store, from the archive or from before; what is missing is listed in the error, which
// then wraps ErrNotFound.
func Receive(ctx context.Context, s *Store, r io.Reader, observe func(Event)) (list []Named, err error) {
	if observe == nil {
		observe = func(Event) {}
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if f, ok := r.(*os.File); ok {
		if err := s.checkArchive(ctx, f); err != nil {
			return nil, fmt.Errorf("load archive: %w", err)
		}
	}
	idx, err := receive(ctx, s, r, observe)
	if err != nil {
		return nil, fmt.Errorf("load archive: %w", adviseArchive(err))
	}
	list = names(idx)
	if err := s.requireWhole(ctx, list); err != nil {
		return nil, fmt.Errorf("load archive: %w", err)
	}
	for _, n := range list {
		if err := s.Tag(ctx, n.Ref, n.Desc); err != nil {
			return nil, fmt.Errorf("load archive: %w", err)
		}
		observe(Event{Kind: EventTagged, Ref: n.Ref.Familiar(), Digest: n.Desc.Digest})
	}
	return list, nil
}

// checkArchive looks through an archive that can be read at any place before its first blob goes into the store: that
// it is intact as far as its headers tell, and that there is room for what the store lacks. Others are met as they come.
func (s *Store) checkArchive(ctx context.Context, f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return errors.New("this is a directory: `tar -C DIR -cf FILE .` makes an archive of an OCI layout")
	}
	plain := fi.Mode().IsRegular() && refuseCompressed(io.NewSectionReader(f, 0, fi.Size())) == nil
	if !plain {
		return nil
	}
	a := &Archive{r: f, blobs: map[v1.Hash]extent{}}
	if err := a.scan(io.NewSectionReader(f, 0, fi.Size())); err != nil {
		return adviseArchive(err)
	}
	var need int64
	for h, e := range a.blobs {
		has, err := s.Has(ctx, Reference{}, v1.Descriptor{Digest: h, Size: e.size})
		if err != nil {
			return err
		}
		if !has {
			need += onDisk(e.size)
		}
	}
	return s.checkRoom(need)
}

// adviseArchive adds the next step to errors of archives.
func adviseArchive(err error) error {
	var damaged *damagedError
	switch {
	case errors.Is(err, tar.ErrHeader), errors.Is(err, errNoArchive):
		return fmt.Errorf("%w: `sealrt save` and `skopeo copy ... oci-archive:FILE` write archives that can be loaded", err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &damaged):
		return fmt.Errorf("%w: the archive is damaged or cut short: copy it here again", err)
	}
	return err
}

// errNoArchive is wrapped by errors that say that something is no OCI archive at all.
var errNoArchive = errors.New("this is no OCI archive")

func receive(ctx context.Context, s *Store, r io.Reader, observe func(Event)) (*v1.IndexManifest, error) {
	plain, err := layer.Decompress(layer.UntilDone(ctx, r))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	var l layoutReader
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, l.broken(err)
		}
		h, isBlob, err := l.entry(hdr, tr)
		if err != nil {
			return nil, err
		}
		if isBlob {
			if err := s.receiveBlob(ctx, tr, v1.Descriptor{Digest: h, Size: hdr.Size}, observe); err != nil {
				return nil, err
			}
		}
	}
	// What follows the archive's end belongs to the pipe's writer, who would otherwise see it break.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, err
	}
	return l.finish()
}

func (s *Store) receiveBlob(ctx context.Context, r io.Reader, d v1.Descriptor, observe func(Event)) error {
	e := Event{Digest: d.Digest, Name: "blob", Size: d.Size}
	if has, err := s.Has(ctx, Reference{}, d); err != nil {
		return err
	} else if has {
		e.Kind, e.Done = EventExists, d.Size
		observe(e)
		return nil
	}
	if err := s.CheckSpace(d.Size); err != nil {
		return err
	}
	observe(e)
	w, err := s.NewBlob(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	v := newVerifier(r, Reference{path: "archive"}, d)
	m := &observed{r: v, e: e, observe: observe}
	if _, err := io.CopyBuffer(w, readerOnly{m}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if err := w.Commit(d.Digest, d.Size); err != nil {
		return err
	}
	e.Kind, e.Done = EventDone, d.Size
	observe(e)
	return nil
}

// observed reports progress of one reader.
type observed struct {
	r       io.Reader
	e       Event
	told    int64
	observe func(Event)
}

func (o *observed) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.e.Done += int64(n)
	if o.e.Done >= o.told+progressStep {
		o.told = o.e.Done
		o.e.Kind = EventProgress
		o.observe(o.e)
	}
	return n, err
}

// maxMissing is how many missing blobs an error lists.
const maxMissing = 10

// requireWhole returns an error that lists what images in the store lack.
func (s *Store) requireWhole(ctx context.Context, list []Named) error {
	var missing []string
	seen := map[v1.Hash]bool{}
	for _, n := range list {
		if !isManifest(n.Desc.MediaType) {
			return fmt.Errorf("%s: media type %q in index.json is that of no image", n.Ref.Familiar(), n.Desc.MediaType)
		}
		lacks, err := s.lacks(ctx, n.Ref, part{n.Desc, "manifest"}, seen, 0)
		if err != nil {
			return err
		}
		missing = append(missing, lacks...)
	}
	if len(missing) == 0 {
		return nil
	}
	n := len(missing)
	if n > maxMissing {
		missing = append(missing[:maxMissing], fmt.Sprintf("and %d more", n-maxMissing))
	}
	return fmt.Errorf("%d blobs: %w in the archive or the store: the archive adds to images that have to be loaded first: %s", n, ErrNotFound, strings.Join(missing, ", "))
}

func (s *Store) lacks(ctx context.Context, ref Reference, p part, seen map[v1.Hash]bool, depth int) ([]string, error) {
	if seen[p.Digest] || isForeign(p.Descriptor) {
		return nil, nil
	}
	seen[p.Digest] = true
	if depth > maxIndexDepth+1 {
		return nil, fmt.Errorf("%s: indexes are nested more than %d deep", ref.Familiar(), maxIndexDepth)
	}
	if has, err := s.Has(ctx, ref, p.Descriptor); err != nil {
		return nil, err
	} else if !has {
		return []string{fmt.Sprintf("%s %s of %s", p.name, p.Digest, ref.Familiar())}, nil
	}
	if !isManifest(p.MediaType) {
		return nil, nil
	}
	raw, err := ReadManifest(ctx, s, ref, p.Descriptor)
	if err != nil {
		return nil, err
	}
	list, err := parts(p.Descriptor, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: manifest %s: %w", ref.Familiar(), p.Digest, err)
	}
	var missing []string
	for _, c := range list {
		m, err := s.lacks(ctx, ref, c, seen, depth+1)
		if err != nil {
			return nil, err
		}
		missing = append(missing, m...)
	}
	return missing, nil
}

// layoutReader makes sense of the entries of an OCI archive, in whatever order they come.
type layoutReader struct {
	begun, blobs          bool // an entry, a blob was read
	index, docker, layout bool
	manifest              *v1.IndexManifest
}

// entry takes in one entry. For a blob it returns the digest that the name claims, and leaves the content to the
// caller. Names that lead elsewhere and links are refused; files that no layout has are ignored.
func (l *layoutReader) entry(hdr *tar.Header, content io.Reader) (h v1.Hash, isBlob bool, err error) {
	l.begun = true
	name := strings.TrimPrefix(hdr.Name, "./")
	if hdr.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	switch {
	case name == "" && hdr.Typeflag == tar.TypeDir:
		return v1.Hash{}, false, nil
	case path.IsAbs(hdr.Name), name != path.Clean(name), name == "..", strings.HasPrefix(name, "../"), strings.Contains(name, "\\"):
		return v1.Hash{}, false, fmt.Errorf("entry %q leads out of the archive: this is no image archive", hdr.Name)
	case hdr.Typeflag == tar.TypeDir:
		return v1.Hash{}, false, nil
	case hdr.Typeflag != tar.TypeReg:
		if name == "manifest.json" || l.docker || !strings.HasPrefix(name, "blobs/") && strings.HasSuffix(name, "layer.tar") {
			return v1.Hash{}, false, nil // docker-archives have links; finish refuses them by name
		}
		return v1.Hash{}, false, fmt.Errorf("entry %q is not a regular file: this is no image archive", hdr.Name)
	}
	if hex, ok := strings.CutPrefix(name, blobDir); ok {
		h, err := v1.NewHash("sha256:" + hex)
		if err != nil {
			return v1.Hash{}, false, fmt.Errorf("entry %q is not named by a digest: this is no image archive", hdr.Name)
		}
		l.blobs = true
		return h, true, nil
	}
	return v1.Hash{}, false, l.file(name, hdr.Size, content)
}

func (l *layoutReader) file(name string, size int64, content io.Reader) error {
	switch name {
	case "manifest.json":
		l.docker = true
		return nil
	case "index.json", "oci-layout":
	default:
		if strings.HasPrefix(name, "blobs/") {
			return fmt.Errorf("entry %q is not named by a sha256 digest: this is no image archive", name)
		}
		return nil
	}
	if size > MaxManifest {
		return fmt.Errorf("%s has %s, more than the %s that it may have", name, bytesText(size), bytesText(MaxManifest))
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if name == "oci-layout" {
		var v struct {
			Version string `json:"imageLayoutVersion"`
		}
		if err := json.Unmarshal(b, &v); err != nil || v.Version != "1.0.0" {
			return errors.New("its oci-layout is not of version 1.0.0")
		}
		l.layout = true
		return nil
	}
	if l.index {
		return errors.New("it has two index.json")
	}
	l.index = true
	l.manifest, err = parseIndex(b)
	return err
}

// broken says that the next entry cannot be read.
func (l *layoutReader) broken(err error) error {
	if !l.begun {
		return fmt.Errorf("%w: not a tar archive: %w", errNoArchive, err)
	}
	return fmt.Errorf("not an intact tar archive: %w", err)
}

// finish returns the index once all entries were seen.
func (l *layoutReader) finish() (*v1.IndexManifest, error) {
	switch {
	case !l.index && l.docker:
		return nil, errors.New("this is a docker-archive, as docker save wrote it up to version 24: turn it into an OCI archive with `skopeo copy docker-archive:FILE oci-archive:FILE.oci` and load that")
	case !l.index && l.layout && l.blobs:
		return nil, fmt.Errorf("it ends before its index.json: %w", io.ErrUnexpectedEOF)
	case !l.index:
		return nil, fmt.Errorf("%w: it has no index.json at its top", errNoArchive)
	case !l.layout:
		return nil, fmt.Errorf("%w: it has no oci-layout at its top", errNoArchive)
	case len(l.manifest.Manifests) == 0:
		return nil, errors.New("its index.json names no image")
	}
	return l.manifest, nil
}
