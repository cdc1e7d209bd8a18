package convert

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

const (
	// storageDir is where the file system storage of a docker distribution registry lies in its root directory
	// (registry/storage/paths.go there documents the layout).
	storageDir = "docker/registry/v2"
	// maxLink is how long the file of a link may be, in bytes; it holds a digest.
	maxLink = 256
	// maxParts bounds the files of the storage that are remembered.
	maxParts = 1_000_000
)

// storage is what the storage of a registry holds, as the layers so far leave it.
type storage struct {
	parts  map[string]part // by their paths in the tree
	fresh  map[string]part // of the layer that is being read
	gone   []string        // what that layer hides; with a slash at the end only what is below
	others int             // files of the storage that mean nothing here
	ingest func(ctx context.Context, d v1.Descriptor, r io.Reader) error
}

// part is a blob or a link of the storage.
type part struct {
	digest v1.Hash
	size   int64  // of a blob, in bytes
	repo   string // of a link
	tag    string // of a link of a tag; "" with a repo is a revision
}

func newStorage(ingest func(context.Context, v1.Descriptor, io.Reader) error) *storage {
	return &storage{parts: map[string]part{}, fresh: map[string]part{}, ingest: ingest}
}

// take takes in an entry of a layer with a clean name, and reports whether it belongs to the storage. Blobs are
// ingested.
func (s *storage) take(ctx context.Context, hdr *tar.Header, content io.Reader) (bool, error) {
	dir, base := path.Split(hdr.Name)
	inside, ours := inStorage(hdr.Name)
	switch {
	case base == layer.OpaqueWhiteout:
		s.gone = append(s.gone, path.Clean(dir)+"/")
		return ours, nil
	case strings.HasPrefix(base, layer.WhiteoutPrefix):
		s.gone = append(s.gone, path.Join(dir, strings.TrimPrefix(base, layer.WhiteoutPrefix)))
		return ours, nil
	case hdr.Typeflag == tar.TypeDir:
		return ours || hdr.Name == registryDir, nil
	case hdr.Name == registryDir: // no directory any more
		s.gone = append(s.gone, registryDir)
		return false, nil
	case !ours:
		return false, nil
	}
	p, means := parsePart(inside)
	if !means {
		s.others++
		return true, nil
	}
	if len(s.fresh)+len(s.parts) > maxParts {
		return true, fmt.Errorf("the registry has more than %d files", maxParts)
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return true, s.file(ctx, hdr, p, content)
	case tar.TypeLink:
		target := path.Clean(hdr.Linkname)
		same, ok := s.fresh[target]
		if !ok || p.digest.Hex != "" && same.digest != p.digest {
			return true, fmt.Errorf("it is a hard link to %s, where no such part of the registry is", hdr.Linkname)
		}
		p.digest, p.size = same.digest, same.size
		s.fresh[hdr.Name] = p
		return true, nil
	}
	return true, fmt.Errorf("it is of type %q, a registry has files only", hdr.Typeflag)
}

// file takes in a file of the storage.
func (s *storage) file(ctx context.Context, hdr *tar.Header, p part, content io.Reader) error {
	if p.repo == "" {
		p.size = hdr.Size
		s.fresh[hdr.Name] = p
		return s.ingest(ctx, v1.Descriptor{Digest: p.digest, Size: p.size}, content)
	}
	b, err := io.ReadAll(io.LimitReader(content, maxLink))
	if err != nil {
		return err
	}
	h, err := v1.NewHash(strings.TrimSpace(string(b)))
	if err != nil || !artifact.IsSHA256(h) {
		return fmt.Errorf("it is to hold a sha256 digest, and holds %.80q: the registry is damaged", b)
	}
	p.digest = h
	s.fresh[hdr.Name] = p
	return nil
}

// endLayer lays what a layer has over those below.
func (s *storage) endLayer() {
	for _, gone := range s.gone {
		dir := strings.TrimSuffix(gone, "/")
		maps.DeleteFunc(s.parts, func(name string, _ part) bool {
			return strings.HasPrefix(name, dir+"/") || name == gone || dir == "."
		})
	}
	maps.Copy(s.parts, s.fresh)
	s.gone = s.gone[:0]
	clear(s.fresh)
}

// registryDir is where both tools have the storage.
const registryDir = "registry"

// inStorage returns the path of a file in the storage, relative to that, and whether the path is there at all.
func inStorage(name string) (string, bool) {
	_, inside, ok := strings.Cut("/"+name+"/", "/"+storageDir+"/")
	if ok && !strings.HasPrefix(name, storageDir) {
		return strings.TrimSuffix(inside, "/"), true
	}
	return "", name == registryDir+"/docker" || strings.HasPrefix(name, registryDir+"/docker/")
}

// parsePart says what a file of the storage is; most mean nothing here.
func parsePart(inside string) (part, bool) {
	words := strings.Split(inside, "/")
	n := len(words)
	if words[0] == "blobs" {
		if n != 5 || words[1] != "sha256" || words[4] != "data" {
			return part{}, false
		}
		h := v1.Hash{Algorithm: "sha256", Hex: words[3]}
		return part{digest: h}, artifact.IsSHA256(h)
	}
	const revision, tag = "_manifests/revisions/sha256/*/link", "_manifests/tags/*/current/link"
	if words[0] != "repositories" || n < 7 {
		return part{}, false
	}
	name, file := strings.Join(words[1:n-5], "/"), strings.Join(words[n-5:], "/")
	if ok, _ := path.Match(revision, file); ok {
		return part{repo: name}, true
	}
	if ok, _ := path.Match(tag, file); ok {
		return part{repo: name, tag: words[n-3]}, true
	}
	return part{}, false
}
