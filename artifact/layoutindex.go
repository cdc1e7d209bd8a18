package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Index is the index.json of an OCI image layout (OCI image-spec image-layout.md, "index.json file"), in a store or an
// archive. The zero value names nothing.
type Index struct{ v1.IndexManifest }

// LayoutFile is the whole of the file oci-layout beside it (OCI image-spec image-layout.md, "oci-layout file").
const LayoutFile = `{"imageLayoutVersion":"1.0.0"}`

// AnnotationSubject is the digest of what an entry of index.json is attached to. Such an entry has no name that a tool
// would take for an image's; the name that it has in registries is its AnnotationImageName, without the repository.
const AnnotationSubject = "io.sealrt.subject"

// unnamed is the repository under which images appear that their archive does not name.
const unnamed = "localhost/unnamed"

// ParseIndex reads index.json. Other digests than sha256 are errors.
func ParseIndex(b []byte) (*Index, error) {
	idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	for _, d := range idx.Manifests {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 {
			return nil, fmt.Errorf("index.json: digest %q is not sha256", d.Digest)
		}
	}
	return &Index{*idx}, nil
}

// Format returns the bytes of index.json.
func (x *Index) Format() ([]byte, error) {
	x.SchemaVersion, x.MediaType = 2, types.OCIImageIndex
	if x.Manifests == nil {
		x.Manifests = []v1.Descriptor{}
	}
	return json.Marshal(x.IndexManifest)
}

// Refs lists the images that the index names, sorted, without what is attached to them. Entries that have no usable name
// appear by their digest.
func (x *Index) Refs() []Named {
	list := make([]Named, 0, len(x.Manifests))
	for _, d := range x.Manifests {
		if !isAttached(d) {
			list = append(list, Named{Ref: nameOf(d), Desc: Bare(d)})
		}
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
	if err != nil { // the digest was checked by ParseIndex
		return Reference{}
	}
	return ref
}

// Bare returns d as it is wherever it stands: without the annotations of an entry of index.json, its name among them, and
// without addresses to fetch it from.
func Bare(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest, Platform: d.Platform, ArtifactType: d.ArtifactType}
}

// SetName makes ref name d, in the annotation of the specification and those of more, and reports whether that changed
// anything.
func (x *Index) SetName(ref Reference, d v1.Descriptor, more ...string) bool {
	e := Bare(d)
	e.Annotations = map[string]string{AnnotationRefName: ref.String()}
	for _, key := range more {
		e.Annotations[key] = ref.String()
	}
	for i, old := range x.Manifests {
		if old.Annotations[AnnotationRefName] != ref.String() {
			continue
		}
		if old.Digest == e.Digest && old.MediaType == e.MediaType && old.Size == e.Size {
			return false
		}
		x.Manifests[i] = e
		return true
	}
	x.Manifests = append(x.Manifests, e)
	return true
}

// DropName removes the entry that ref names and reports whether there was one.
func (x *Index) DropName(ref Reference) bool {
	for i, d := range x.Manifests {
		if isNamed(d, ref) {
			x.Manifests = append(x.Manifests[:i], x.Manifests[i+1:]...)
			return true
		}
	}
	return false
}

// Without returns the index that is left when no image has one of names any more. What is attached to them stays in it.
func (x *Index) Without(names []Reference) *Index {
	left := *x
	left.Manifests = slices.DeleteFunc(slices.Clone(x.Manifests), func(d v1.Descriptor) bool {
		return !isAttached(d) && slices.ContainsFunc(names, func(ref Reference) bool { return isNamed(d, ref) })
	})
	return &left
}

// isNamed reports whether an entry is the one that ref names.
func isNamed(d v1.Descriptor, ref Reference) bool {
	return nameOf(d) == ref || d.Annotations[AnnotationRefName] == ref.String()
}

// Attached lists what the index says is attached to the manifest whose digest ref has.
func (x *Index) Attached(ref Reference) ([]Named, error) {
	h, err := SubjectDigest(ref)
	if err != nil {
		return nil, err
	}
	var list []Named
	for _, d := range x.Manifests {
		if name := nameOf(d); !isAttached(d) && isTagOf(name, ref, h) { // somebody copied it as an image
			list = append(list, Named{Ref: name, Desc: Bare(d)})
		}
		if d.Annotations[AnnotationSubject] != h.String() {
			continue
		}
		named := Reference{domain: ref.domain, path: ref.path}.WithDigest(d.Digest)
		if tag := d.Annotations[AnnotationImageName]; tag != "" {
			if named, err = ref.WithTag(tag); err != nil {
				return nil, fmt.Errorf("index.json: %w", err)
			}
		}
		list = append(list, Named{Ref: named, Desc: Bare(d)})
	}
	slices.SortFunc(list, func(a, b Named) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) })
	return slices.CompactFunc(list, func(a, b Named) bool { return a.Ref == b.Ref }), nil
}

// Attach makes an entry of what is attached to the manifest whose digest ref has, and reports whether that
// changed anything.
func (x *Index) Attach(ref Reference, n Named) (bool, error) {
	h, err := SubjectDigest(ref)
	if err != nil {
		return false, err
	}
	e := Bare(n.Desc)
	e.Annotations = map[string]string{AnnotationSubject: h.String()}
	if n.Ref.Tag() != "" {
		e.Annotations[AnnotationImageName] = n.Ref.Tag()
	}
	for i, old := range x.Manifests {
		if old.Annotations[AnnotationSubject] != h.String() || old.Annotations[AnnotationImageName] != n.Ref.Tag() {
			continue
		}
		if old.Digest == e.Digest {
			return false, nil
		}
		if n.Ref.Tag() != "" {
			x.Manifests[i] = e
			return true, nil
		}
	}
	x.Manifests = append(x.Manifests, e)
	return true, nil
}

// Attachments yields what is attached to manifests, each after the digest of what it is attached to, in the order of the
// index.
func (x *Index) Attachments() iter.Seq2[string, v1.Descriptor] {
	return func(yield func(string, v1.Descriptor) bool) {
		for _, d := range x.Manifests {
			if isAttached(d) && !yield(d.Annotations[AnnotationSubject], Bare(d)) {
				return
			}
		}
	}
}

// Detach removes the manifests with these digests from what is attached, and reports whether there were any.
func (x *Index) Detach(gone map[string]bool) bool {
	n := len(x.Manifests)
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d v1.Descriptor) bool { return isAttached(d) && gone[d.Digest.String()] })
	return len(x.Manifests) < n
}

// isTagOf reports whether a name is one under which cosign keeps what it attaches to h in the repository of ref.
func isTagOf(name, ref Reference, h v1.Hash) bool {
	return name.domain == ref.domain && name.path == ref.path && strings.HasPrefix(name.tag, ReferrersTag(h)+".")
}

// isAttached reports whether an entry of index.json is no image but attached to one.
func isAttached(d v1.Descriptor) bool { return d.Annotations[AnnotationSubject] != "" }
