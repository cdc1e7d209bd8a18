package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// emptyIndex is the index.json of a layout without images.
const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// unnamed is the repository under which images appear that their archive does not name.
const unnamed = "localhost/unnamed"

func parseIndex(b []byte) (*v1.IndexManifest, error) {
	idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	for _, d := range idx.Manifests {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 {
			return nil, fmt.Errorf("index.json: digest %q is not sha256", d.Digest)
		}
	}
	return idx, nil
}

func formatIndex(idx *v1.IndexManifest) ([]byte, error) {
	idx.SchemaVersion, idx.MediaType = 2, types.OCIImageIndex
	if idx.Manifests == nil {
		idx.Manifests = []v1.Descriptor{}
	}
	return json.Marshal(idx)
}

// names lists what an index names, sorted. Entries that have no usable name appear by their digest.
func names(idx *v1.IndexManifest) []Named {
	list := make([]Named, 0, len(idx.Manifests))
	for _, d := range idx.Manifests {
		list = append(list, Named{Ref: nameOf(d), Desc: bare(d)})
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Ref.String() < list[j].Ref.String() })
	return list
}

// nameOf reads the name of an index entry. containerd's annotation goes first: where it stands, many tools write only
// the tag into the one of the specification.
func nameOf(d v1.Descriptor) Reference {
	for _, key := range []string{AnnotationContainerdName, AnnotationRefName} {
		if s := d.Annotations[key]; s != "" {
			if ref, err := ParseReference(s); err == nil {
				return ref
			}
		}
	}
	ref, err := ParseReference(unnamed + "@" + d.Digest.String())
	if err != nil { // the digest was checked by parseIndex
		return Reference{}
	}
	return ref
}

// bare returns d without what only its place in index.json is about.
func bare(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest, Platform: d.Platform, ArtifactType: d.ArtifactType}
}

// setName makes ref name d, in the annotation of the specification and those of more, and reports whether that changed
// anything.
func setName(idx *v1.IndexManifest, ref Reference, d v1.Descriptor, more ...string) bool {
	e := bare(d)
	e.Annotations = map[string]string{AnnotationRefName: ref.String()}
	for _, key := range more {
		e.Annotations[key] = ref.String()
	}
	for i, old := range idx.Manifests {
		if old.Annotations[AnnotationRefName] != ref.String() {
			continue
		}
		if old.Digest == e.Digest && old.MediaType == e.MediaType && old.Size == e.Size {
			return false
		}
		idx.Manifests[i] = e
		return true
	}
	idx.Manifests = append(idx.Manifests, e)
	return true
}

// dropName removes the entry that ref names and reports whether there was one.
func dropName(idx *v1.IndexManifest, ref Reference) bool {
	for i, d := range idx.Manifests {
		if nameOf(d) == ref || d.Annotations[AnnotationRefName] == ref.String() {
			idx.Manifests = append(idx.Manifests[:i], idx.Manifests[i+1:]...)
			return true
		}
	}
	return false
}

func (s *Store) readIndex() (*v1.IndexManifest, error) {
	b, err := os.ReadFile(s.path("index.json"))
	if err != nil {
		return nil, fmt.Errorf("read the store at %s: %w", s.root, err)
	}
	idx, err := parseIndex(b)
	if err != nil {
		return nil, fmt.Errorf("read the store at %s: %w: restore the file, or move the store away", s.root, err)
	}
	return idx, nil
}

// editIndex replaces index.json by what change makes of it, when change says that it did. Everything that was added to
// the store before is safe on disk when the new index appears.
func (s *Store) editIndex(ctx context.Context, change func(*v1.IndexManifest) (bool, error)) error {
	l, err := lockFile(ctx, s.path("index.lock"), true)
	if err != nil {
		return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	defer l.Close()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	changed, err := change(idx)
	if err != nil || !changed {
		return err
	}
	b, err := formatIndex(idx)
	if err != nil {
		return err
	}
	if err := s.replaceIndex(b); err != nil {
		return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return nil
}

// replaceIndex replaces index.json. Where the disk has no room for a second one, an index that became shorter is written
// over the old one, in one piece, filled up with the white space that JSON may end with.
func (s *Store) replaceIndex(b []byte) error {
	err := s.renameIndex(b)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	f, oerr := os.OpenFile(s.path("index.json"), os.O_RDWR, 0)
	if oerr != nil {
		return err
	}
	defer f.Close()
	fi, serr := f.Stat()
	if serr != nil || fi.Size() <= int64(len(b)) {
		return err
	}
	b = append(b, bytes.Repeat([]byte("\n"), int(fi.Size())-len(b))...)
	if _, werr := f.WriteAt(b, 0); werr != nil {
		return err
	}
	return f.Sync()
}

func (s *Store) renameIndex(b []byte) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer discard(f)
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // a no-op after Syncfs, needed where there is none
		return err
	}
	if err := os.Rename(f.Name(), s.path("index.json")); err != nil {
		return err
	}
	return syncDir(s.root)
}

// syncDir makes the names in a directory safe on disk.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
