package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Set is what of a cluster image travels to hosts, with where its bytes are.
type Set struct {
	Listing
	src      artifact.Source
	ref      artifact.Reference
	contents *layout.Contents // nil when there are no container images
	inside   map[v1.Hash]bool // blobs that are read out of layers which do not travel
}

// scanJobs is how many layers are read at a time.
const scanJobs = 4

// SetOf reads what of the image ref in src travels to hosts: manifest,
// configuration, the layers with files of the tree, and the blobs of the
// container images inside. Layers that are plain archives are read only where
// their headers are; compressed ones whole. ref has to name the manifest of one
// platform. src must stay open while the set is used. A container image of
// which something is missing is an error that names it.
func SetOf(ctx context.Context, src artifact.Source, ref artifact.Reference) (*Set, error) {
	s := &Set{src: src, ref: ref, inside: map[v1.Hash]bool{}}
	if err := s.read(ctx); err != nil {
		return nil, fmt.Errorf("list the blobs of %s: %w", ref.Familiar(), err)
	}
	return s, nil
}

func (s *Set) read(ctx context.Context) error {
	d, m, _, err := artifact.Manifest(ctx, s.src, s.ref, nil)
	if err != nil {
		return err
	}
	s.Ref, s.Manifest, s.Config = s.ref.WithDigest(d.Digest).String(), artifact.Bare(d), artifact.Bare(m.Config)
	scans := make([]scan, len(m.Layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(scanJobs)
	for i, l := range m.Layers {
		g.Go(func() (err error) {
			if scans[i], err = scanLayer(gctx, s.src, s.ref, l); err != nil {
				err = fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	brings := map[v1.Hash]v1.Hash{} // blobs by the layers that bring them
	for i, l := range m.Layers {
		if !scans[i].travels() {
			continue
		}
		s.Layers = append(s.Layers, Layer{Descriptor: artifact.Bare(l), Packs: len(scans[i].blobs) > 0, Unpacked: scans[i].unpacked})
		for _, h := range scans[i].blobs {
			brings[h] = l.Digest
		}
	}
	return s.images(ctx, m, brings)
}

// images lists the blobs of the container images.
func (s *Set) images(ctx context.Context, m *v1.Manifest, brings map[v1.Hash]v1.Hash) error {
	contents, err := layout.OpenContents(ctx, s.src, s.ref, m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.contents, s.Index = contents, contents.Index()
	seen := map[v1.Hash]bool{}
	for _, e := range contents.Entries() {
		all, err := layout.Follow(ctx, contents, e.Desc)
		if err != nil {
			return err
		}
		if len(all.Lacks) > 0 {
			return fmt.Errorf("container image %s: %s: build or pull the image again", e.Name+e.Carried, strings.Join(all.Lacks, ", "))
		}
		for h := range all.Seen {
			seen[h] = true
		}
	}
	for _, h := range sorted(seen) {
		size, err := contents.BlobSize(ctx, h)
		if err != nil {
			return err
		}
		b := Blob{Descriptor: v1.Descriptor{Digest: h, Size: size}, In: brings[h]}
		s.inside[h] = b.In == (v1.Hash{})
		s.Images = append(s.Images, b)
	}
	return nil
}

// Blobs lists what travels, each blob once: manifest and configuration first,
// then the layers of the tree, then the blobs of the container images. Media
// types of the last are empty.
func (s *Set) Blobs() []v1.Descriptor { return s.travels() }

// Open returns the bytes of a blob of the set from offset on, not verified; the
// caller closes it.
func (s *Set) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if s.inside[d.Digest] {
		return s.contents.Open(ctx, s.ref, d, offset)
	}
	return s.src.Open(ctx, s.ref, d, offset)
}
