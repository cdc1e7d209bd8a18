package contents

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

// blobs is where the blobs are in images/.
const blobs = "blobs/sha256/"

// What is read of documents. They come into memory, where a few bytes can be many.
const (
	maxIndex    = 16 << 20 // bytes of images/index.json,
	maxEntries  = 100_000  // and objects in it
	maxDocument = 20_000   // objects in another one
)

// document is a manifest, index or configuration in images/, as far as it
// matters.
type document struct {
	MediaType    types.MediaType `json:"mediaType"`
	Config       *v1.Descriptor  `json:"config"`
	Layers       []v1.Descriptor `json:"layers"`
	Manifests    []v1.Descriptor `json:"manifests"`
	OS           string          `json:"os"`
	Architecture string          `json:"architecture"`
	Variant      string          `json:"variant"`
}

// readIndex reads images/index.json.
func readIndex(content io.Reader) (*found, error) {
	raw, err := io.ReadAll(io.LimitReader(content, maxIndex+1))
	if err == nil && len(raw) > maxIndex {
		err = fmt.Errorf("more than %d bytes", maxIndex)
	}
	if err == nil && bytes.Count(raw, []byte("{")) > maxEntries {
		err = fmt.Errorf("%w: %d objects", errTooMuch, maxEntries)
	}
	if err != nil {
		return nil, err
	}
	idx, err := layout.ParseIndex(raw)
	if err != nil {
		return nil, err
	}
	return &found{entries: idx.Manifests}, nil
}

// blob reads a blob of images/: a document, or a layer of a container image. It is
// the content that tells which, since the manifest may come later.
func (s *scan) blob(name string, size int64, content io.Reader) (*found, error) {
	head := make([]byte, 1)
	if _, err := io.ReadFull(content, head); err != nil {
		return nil, ignoreEOF(err)
	}
	whole := io.MultiReader(bytes.NewReader(head), content)
	if head[0] == '{' {
		return readDocument(name, size, whole)
	}
	if !s.want.image(name) {
		return nil, nil
	}
	inner := &innerScan{scan: s, out: &record{files: map[string]*File{}}, room: freeGrowth + maxGrowth*size}
	err := inner.read(whole)
	if s.ctx.Err() != nil || errors.Is(err, errTooMuch) || errors.Is(err, errScratch) {
		return nil, err
	}
	if err != nil {
		return &found{note: err.Error()}, nil //nolint:nilerr // it is told as a note
	}
	return &found{layer: inner.out}, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readDocument reads what begins as JSON. What is no document of an image is
// nothing.
func readDocument(name string, size int64, content io.Reader) (*found, error) {
	if size > artifact.MaxManifest {
		return nil, nil
	}
	raw, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	if layout.DigestOf(raw).Hex != name {
		return &found{note: "its content has another digest"}, nil
	}
	if bytes.Count(raw, []byte("{")) > maxDocument {
		return &found{note: "it is too large a document"}, nil
	}
	out := &found{doc: &document{}}
	if json.Unmarshal(raw, out.doc) != nil {
		out.doc = nil
	}
	return out, nil
}

// innerScan is the reading of a layer of a container image. Only files that tell
// of software are kept.
type innerScan struct {
	*scan
	out  *record
	room int64
}

// read reads the layer as far as the archive goes. What a few bytes unpack to is
// bounded.
func (s *innerScan) read(blob io.Reader) error {
	plain, err := layer.Decompress(layer.UntilDone(s.ctx, blob))
	if err != nil {
		return err
	}
	defer plain.Close()
	bounded := &io.LimitedReader{R: plain, N: s.room}
	err = entries(s.ctx, bounded, s.entry)
	if bounded.N == 0 { // where an archive ends is not always told
		return errors.New("it unpacks to too much")
	}
	return err
}

// entry takes in an entry with a clean name.
func (s *innerScan) entry(hdr *tar.Header, content io.Reader) error {
	if err := s.count(hdr, &s.room); err != nil {
		return err
	}
	if hdr.Name == "." || s.out.whiteout(hdr.Name) {
		return nil
	}
	s.out.note(s.seed, hdr)
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		f := &File{Name: hdr.Name, Mode: hdr.FileInfo().Mode(), Size: hdr.Size}
		var err error
		if f.found, err = s.look.inside(f, content); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if f.found != nil {
			s.out.files[f.Name] = f
		}
	case tar.TypeLink:
		if target := s.out.files[path.Clean(hdr.Linkname)]; target != nil {
			s.out.files[hdr.Name] = target.linked(hdr.Name)
		}
	}
	return nil
}
