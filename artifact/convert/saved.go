package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
)

// ErrNoSaved is wrapped by the error about a file that sealer did not save for several platforms.
var ErrNoSaved = errors.New("it is no image that sealer saved for several platforms")

// Saved is an image that sealer saved for several platforms: an archive of archives, one for each, and the name of the
// image in the file Metadata. It is a source of that image alone.
type Saved struct {
	ref    artifact.Reference
	file   *os.File
	places []transport.Place
	index  []byte
	desc   v1.Descriptor
}

// OpenSaved opens an image that sealer saved for several platforms. The archives in the file are read where they lie.
// Any other file is an error wrapping ErrNoSaved. The caller closes it.
func OpenSaved(ctx context.Context, name string, o transport.Options) (*Saved, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	s := &Saved{file: f}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.Close())
	}
	return s, nil
}

func (s *Saved) open(ctx context.Context, o transport.Options) error {
	o.Adopt = true // sealer calls the image of a platform by its ID
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	old := false
	for tr := tar.NewReader(s.file); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoSaved, err)
		}
		at, err := s.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		switch name := path.Clean(hdr.Name); {
		case name == artifact.MetadataFile:
			if s.ref, old, err = readName(tr); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		case path.Ext(name) == ".tar" && hdr.Typeflag == tar.TypeReg:
			d, err := s.platform(ctx, name, io.NewSectionReader(s.file, at, hdr.Size), o)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			idx.Manifests = append(idx.Manifests, d)
		}
	}
	switch {
	case old:
		return errors.New("sealer v0.8 saved it, with layers as folders: push it to a registry with that sealer, and import it from there")
	case s.ref.IsZero() || len(idx.Manifests) == 0:
		return ErrNoSaved
	}
	var err error
	if s.index, err = json.Marshal(idx); err != nil {
		return err
	}
	s.desc = v1.Descriptor{MediaType: idx.MediaType, Digest: layout.DigestOf(s.index), Size: int64(len(s.index))}
	return nil
}

// readName reads the file Metadata. That of v0.8 is JSON, and no name.
func readName(r io.Reader) (ref artifact.Reference, old bool, err error) {
	b, err := io.ReadAll(io.LimitReader(r, 4<<10))
	if err != nil || bytes.HasPrefix(b, []byte("{")) {
		return artifact.Reference{}, true, err
	}
	ref, err = artifact.ParseReference(strings.TrimSpace(string(b)))
	return ref, false, err
}

// section is an archive inside the file, which stays open.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// platform opens the archive of one platform and returns the descriptor of the manifest in it.
func (s *Saved) platform(ctx context.Context, name string, r *io.SectionReader, o transport.Options) (v1.Descriptor, error) {
	open := func() (io.ReadCloser, error) { return section{io.NewSectionReader(r, 0, r.Size())}, nil }
	p, err := transport.Tarball(ctx, name, open, o)
	if err != nil {
		return v1.Descriptor{}, err
	}
	s.places = append(s.places, p)
	ref, err := artifact.ParseReference("localhost/unnamed:latest") // any name finds the only image
	if err != nil {
		return v1.Descriptor{}, err
	}
	if named, err := p.Refs(ctx); err == nil && len(named) > 0 {
		ref = named[0].Ref
	}
	d, _, cfg, err := artifact.Manifest(ctx, p, ref, nil)
	d.Platform = nil
	if err == nil {
		d.Platform = cfg.Platform()
	}
	return d, err
}

// Ref returns the name of the image.
func (s *Saved) Ref() artifact.Reference { return s.ref }

// Close gives the file up.
func (s *Saved) Close() error {
	var errs []error
	for _, p := range s.places {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, s.file.Close())...)
}

// Resolve implements artifact.Source.
func (s *Saved) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	h, pinned := ref.Digest()
	if !pinned || h == s.desc.Digest {
		return s.desc, nil
	}
	err := fmt.Errorf("%s: %w in %s", ref.Familiar(), artifact.ErrNotFound, s.file.Name())
	for _, p := range s.places {
		d, perr := p.Resolve(ctx, ref)
		if perr == nil && d.Digest == h {
			return d, nil
		}
	}
	return v1.Descriptor{}, err
}

// Open implements artifact.Source.
func (s *Saved) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.Digest == s.desc.Digest {
		return io.NopCloser(bytes.NewReader(s.index[min(offset, s.desc.Size):])), nil
	}
	var last error
	for _, p := range s.places {
		r, err := p.Open(ctx, ref, d, offset)
		if !errors.Is(err, artifact.ErrNotFound) {
			return r, err
		}
		last = err
	}
	return nil, last
}
