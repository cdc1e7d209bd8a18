package depot

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
)

// scan is what a layer of a cluster image holds.
type scan struct {
	blobs    []v1.Hash // of container images
	others   bool      // files of the tree
	plain    bool      // each blob can be reached without reading what is before it
	unpacked int64     // bytes on disk of the files of the tree
}

// travels says whether the layer is sent as it is: it has files of the tree, or
// it is compressed and has so many blobs that reading them one by one would
// take reading it as often.
func (s scan) travels() bool { return s.others || !s.plain && len(s.blobs) > 1 }

// scanLayer reads the headers of a layer.
func scanLayer(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) (scan, error) {
	var s scan
	if artifact.IsForeign(d) {
		return s, fmt.Errorf("%s is to be fetched from %s and is not part of the image: build the image without it", d.Digest, d.URLs[0])
	}
	r := layout.NewSeeker(ctx, src, ref, d)
	defer r.Close()
	head := make([]byte, 512)
	if _, err := io.ReadFull(r, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return s, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return s, err
	}
	if s.plain = layout.IsTar(head); !s.plain {
		return s, layer.Walk(ctx, r, func(hdr *tar.Header, _ io.Reader) error { return s.entry(hdr) })
	}
	for tr := tar.NewReader(r); ; { // it passes over content by seeking
		hdr, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case ctx.Err() != nil:
			return s, context.Cause(ctx)
		case err != nil:
			return s, err
		}
		if err := s.entry(hdr); err != nil {
			return s, err
		}
	}
}

// entry takes in one entry.
func (s *scan) entry(hdr *tar.Header) error {
	name := path.Clean(hdr.Name)
	if h, ok := blobOf(hdr, name); ok {
		s.blobs = append(s.blobs, h)
		return nil
	}
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if hdr.Typeflag != tar.TypeDir || !isPackDir(name) {
		s.others = true
	}
	s.unpacked += max(disk.OnDisk(hdr.Size), disk.OnDisk(1))
	return nil
}

// isPackDir reports whether a layer that packs blobs has such a directory for
// their sake.
func isPackDir(name string) bool {
	return slices.Contains([]string{".", "images", "images/blobs", "images/blobs/sha256"}, name)
}

// blobOf returns which blob of the container images an entry is.
func blobOf(hdr *tar.Header, name string) (v1.Hash, bool) {
	hex, ok := strings.CutPrefix(name, "images/blobs/sha256/")
	if !ok || hdr.Typeflag != tar.TypeReg {
		return v1.Hash{}, false
	}
	h, err := v1.NewHash("sha256:" + hex)
	return h, err == nil
}

// sorted returns digests in the order of their names.
func sorted(set map[v1.Hash]bool) []v1.Hash {
	var list []v1.Hash
	for h, in := range set {
		if in {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	return list
}
