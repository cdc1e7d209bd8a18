package registry

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Image is a container image of a source that is to be pushed to a cluster.
type Image struct {
	Ref    artifact.Reference // as pods name it
	Desc   v1.Descriptor
	Source artifact.Source
}

// Want is a blob and how much of it a host has.
type Want struct {
	Desc v1.Descriptor `json:"descriptor"`
	Have int64         `json:"have"` // bytes from its start; all of them: nothing is to be sent
}

// Blobs lists what an image consists of, what it names last. Of an index these are
// the images for the given platforms, or all where none is given; an index
// without any of them is an error wrapping artifact.ErrPlatform.
func (i Image) Blobs(ctx context.Context, platforms []v1.Platform) ([]v1.Descriptor, error) {
	seen := map[v1.Hash]bool{}
	var list []v1.Descriptor
	var reach func(d v1.Descriptor) error
	reach = func(d v1.Descriptor) error {
		if seen[d.Digest] {
			return nil
		}
		seen[d.Digest] = true
		if err := layout.Check(d); err != nil {
			return err
		}
		parts, err := i.parts(ctx, d, platforms)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := reach(p); err != nil {
				return err
			}
		}
		list = append(list, layout.Bare(d))
		return nil
	}
	if err := reach(i.Desc); err != nil {
		return nil, fmt.Errorf("%s: %w", i.Ref.Familiar(), err)
	}
	return list, nil
}

// parts lists what a manifest refers to and is to be pushed.
func (i Image) parts(ctx context.Context, d v1.Descriptor, platforms []v1.Platform) ([]v1.Descriptor, error) {
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
		return nil, nil
	}
	raw, err := artifact.ReadManifest(ctx, i.Source, i.Ref, d)
	if err != nil {
		return nil, err
	}
	all, err := artifact.Parts(d, raw)
	if err != nil {
		return nil, err
	}
	var list []v1.Descriptor
	for _, p := range all {
		if artifact.IsForeign(p.Descriptor) || d.MediaType.IsIndex() && !fits(p.Platform, platforms) {
			continue
		}
		list = append(list, p.Descriptor)
	}
	if len(list) == 0 && len(all) > 0 && d.MediaType.IsIndex() {
		return nil, fmt.Errorf("it has no image for %v: %w: choose with --platform", platforms, artifact.ErrPlatform)
	}
	return list, nil
}

func fits(p *v1.Platform, platforms []v1.Platform) bool {
	if len(platforms) == 0 || p == nil {
		return true
	}
	for _, want := range platforms {
		if artifact.MatchPlatform(*p, want) {
			return true
		}
	}
	return false
}

// What says, in the tar stream of a transfer, which part of a blob a file is.
const (
	paxOffset = "SEALRT.offset"
	paxSize   = "SEALRT.size"
	listName  = "pushed.json" // the last file: the names
)

// Send writes images as a stream that Take reads: of every blob what the host
// does not have. It returns the bytes of blobs that were sent.
func Send(ctx context.Context, w io.Writer, images []Image, wants []Want, list []Listed) (int64, error) {
	t := tar.NewWriter(w)
	var sent int64
	for _, want := range wants {
		rest := want.Desc.Size - want.Have
		if rest <= 0 && want.Desc.Size > 0 {
			continue
		}
		r, err := openAny(ctx, images, want.Desc, want.Have)
		if err != nil {
			return sent, err
		}
		hdr := &tar.Header{Name: layout.BlobPath(want.Desc.Digest), Mode: 0o444, Size: rest, Typeflag: tar.TypeReg, Format: tar.FormatPAX,
			PAXRecords: map[string]string{paxOffset: strconv.FormatInt(want.Have, 10), paxSize: strconv.FormatInt(want.Desc.Size, 10)}}
		if err = t.WriteHeader(hdr); err == nil {
			_, err = io.CopyN(t, r, rest)
		}
		if err = errors.Join(err, r.Close()); err != nil {
			return sent, fmt.Errorf("send %s: %w", want.Desc.Digest, err)
		}
		sent += rest
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return sent, err
	}
	if err := t.WriteHeader(&tar.Header{Name: listName, Mode: 0o444, Size: int64(len(raw)), Typeflag: tar.TypeReg}); err != nil {
		return sent, err
	}
	if _, err := t.Write(raw); err != nil {
		return sent, err
	}
	return sent, t.Close()
}

// openAny opens a blob where one of the images has it.
func openAny(ctx context.Context, images []Image, d v1.Descriptor, offset int64) (r io.ReadCloser, err error) {
	err = fmt.Errorf("blob %s: %w", d.Digest, artifact.ErrNotFound)
	for _, i := range images {
		if r, err = i.Source.Open(ctx, i.Ref, d, offset); err == nil {
			return r, nil
		}
	}
	return nil, err
}

// Lacks tells how much a host has of blobs that are to be sent to it.
func (s *Service) Lacks(ctx context.Context, blobs []v1.Descriptor) ([]Want, error) {
	kept, err := OpenKept(s.dir)
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	own, err := s.own.Images(ctx)
	if err != nil {
		return nil, err
	}
	wants := make([]Want, len(blobs))
	for i, d := range blobs {
		if err := layout.Check(d); err != nil {
			return nil, err
		}
		have, err := kept.Have(ctx, d)
		if err != nil {
			return nil, err
		}
		if size, err := own.BlobSize(ctx, d.Digest); err == nil && size == d.Size {
			have = size // a cluster image has it too
		}
		wants[i] = Want{d, have}
	}
	return wants, nil
}

// Take reads a stream of Send, and has the service serve what it names. What came
// before an error stays, so that the rest alone is to be sent again. A name that a
// cluster image has for another image is refused: both could not be served.
func (s *Service) Take(ctx context.Context, r io.Reader) ([]Listed, error) {
	kept, err := OpenKept(s.dir)
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	release, err := kept.store.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release() //nolint:errcheck // what matters was synced when it got its name
	for t := tar.NewReader(r); ; {
		hdr, err := t.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("take images in: %w", err)
		}
		if hdr.Name == listName {
			return s.name(ctx, kept, io.LimitReader(t, maxList))
		}
		if err := kept.take(ctx, hdr, t); err != nil {
			return nil, fmt.Errorf("take %s in: %w", path.Base(hdr.Name), err)
		}
	}
}

// take writes one blob of a stream.
func (k *Kept) take(ctx context.Context, hdr *tar.Header, content io.Reader) error {
	digest := v1.Hash{Algorithm: "sha256", Hex: path.Base(hdr.Name)}
	if !artifact.IsSHA256(digest) {
		return errors.New("this is no blob")
	}
	from, err := strconv.ParseInt(hdr.PAXRecords[paxOffset], 10, 64)
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(hdr.PAXRecords[paxSize], 10, 64)
	if err != nil {
		return err
	}
	return k.store.Put(ctx, artifact.Reference{}, v1.Descriptor{Digest: digest, Size: size}, func(offset int64) (io.ReadCloser, error) {
		if offset < from {
			return nil, fmt.Errorf("what was here of it is gone: send it again")
		}
		_, err := io.CopyN(io.Discard, content, offset-from)
		return io.NopCloser(content), err
	})
}

// name gives names to images whose blobs are here.
func (s *Service) name(ctx context.Context, kept *Kept, r io.Reader) ([]Listed, error) {
	var list []Listed
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return nil, fmt.Errorf("take images in: %w", err)
	}
	own, err := s.own.Images(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		for _, e := range own.Entries() {
			if e.Name == l.Name && e.Desc.Digest != l.Desc.Digest {
				return nil, fmt.Errorf("%s: a cluster image has another image of this name (%s): push yours under another name", l.Name, e.Desc.Digest)
			}
		}
		if err := kept.Add(ctx, l, sources{kept.store, own}); err != nil {
			return nil, err
		}
	}
	return list, nil
}
