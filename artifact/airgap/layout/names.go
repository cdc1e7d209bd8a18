package layout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// Images are the container images of an image layout, read where they lie: a
// *Layout or a *Contents.
type Images interface {
	Blobs
	// Digest returns the digest of index.json.
	Digest() v1.Hash
	// Entries returns what index.json lists, in its order.
	Entries() []Entry
}

// Blobs is a source that knows the sizes of what it has.
type Blobs interface {
	artifact.Source
	// BlobSize returns the size of a blob in bytes, or an error wrapping
	// artifact.ErrNotFound.
	BlobSize(ctx context.Context, h v1.Hash) (int64, error)
}

// Entry is one entry of index.json.
type Entry struct {
	Name string        // as container runtimes look for it; "" if the image has none
	Desc v1.Descriptor // of a manifest, or of an index of which not all children are here
	// Carried is the full name of what container runtimes are not to see, such
	// as a signature; "" for images.
	Carried string
}

// names is index.json: what the images of a layout are called.
type names struct {
	raw   []byte // as it is
	index *v1.IndexManifest
	refs  []artifact.Reference // of the entries; zero where no name can be read
}

// parseNames reads index.json.
func parseNames(raw []byte) (names, error) {
	idx, err := ParseIndex(raw)
	if err != nil {
		return names{}, fmt.Errorf("index.json: %w", err)
	}
	n := names{raw: raw, index: idx, refs: make([]artifact.Reference, len(idx.Manifests))}
	for i, d := range idx.Manifests {
		name := cmp.Or(NameOf(d), d.Annotations[artifact.AnnotationImageName])
		if ref, err := artifact.ParseReference(name); err == nil {
			n.refs[i] = ref
		}
	}
	return n, nil
}

// Digest returns the digest of index.json, which the label of the cluster image
// states.
func (n *names) Digest() v1.Hash {
	if n.raw == nil {
		return v1.Hash{}
	}
	return DigestOf(n.raw)
}

// Index returns the bytes of index.json.
func (n *names) Index() []byte { return n.raw }

// Entries returns what index.json lists, in its order.
func (n *names) Entries() []Entry {
	entries := make([]Entry, len(n.index.Manifests))
	for i, d := range n.index.Manifests {
		entries[i] = Entry{Name: NameOf(d), Desc: Bare(d)}
		if entries[i].Name == "" {
			entries[i].Carried = d.Annotations[artifact.AnnotationImageName]
		}
	}
	return entries
}

// Refs returns every image with a name that can be read, in the order of
// index.json.
func (n *names) Refs(context.Context) ([]artifact.Named, error) {
	var list []artifact.Named
	for i, d := range n.index.Manifests {
		if NameOf(d) != "" && !n.refs[i].IsZero() {
			list = append(list, artifact.Named{Ref: n.refs[i], Desc: Bare(d)})
		}
	}
	return list, nil
}

// Forms returns the names of the entries that lead to ref in index.json: with the
// tag, with the digest, or both. A node looks the last one up.
func Forms(ref artifact.Reference) []string {
	var list []string
	if ref.Tag() != "" {
		list = append(list, ref.Name()+":"+ref.Tag())
	}
	if h, ok := ref.Digest(); ok {
		list = append(list, ref.Name()+"@"+h.String())
	}
	return list
}

// lookup returns what ref names. With a digest it names whatever has that
// digest, as container runtimes look it up; the tag beside it does not count.
func (n *names) lookup(ref artifact.Reference) (v1.Descriptor, bool) {
	h, pinned := ref.Digest()
	for i, d := range n.index.Manifests {
		if n.refs[i] == ref || pinned && d.Digest == h {
			return Bare(d), true
		}
	}
	return v1.Descriptor{}, false
}

// choose returns the index.json that has just the given names, and the
// signatures that are known to be theirs, and its entries.
func (n *names) choose(wanted []string) ([]byte, []v1.Descriptor, error) {
	if len(wanted) == 0 {
		return n.raw, n.index.Manifests, nil
	}
	var absent []string
	for _, name := range wanted {
		if !slices.ContainsFunc(n.index.Manifests, func(d v1.Descriptor) bool { return NameOf(d) == name }) {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		return nil, nil, fmt.Errorf("no image is called %s: %w", strings.Join(absent, ", "), artifact.ErrNotFound)
	}
	idx := *n.index
	idx.Manifests = slices.DeleteFunc(slices.Clone(idx.Manifests), func(d v1.Descriptor) bool {
		return !slices.Contains(wanted, NameOf(d)) && !n.signs(d, wanted)
	})
	b, err := json.Marshal(idx)
	return b, idx.Manifests, err
}

// signs reports whether an entry is, by its name, a signature of something in a
// repository of the given names. Signatures are few and small.
func (n *names) signs(d v1.Descriptor, wanted []string) bool {
	carried, err := artifact.ParseReference(d.Annotations[artifact.AnnotationImageName])
	if NameOf(d) != "" || err != nil {
		return false
	}
	return slices.ContainsFunc(wanted, func(name string) bool {
		ref, err := artifact.ParseReference(name)
		return err == nil && ref.Name() == carried.Name()
	})
}

// Flaw says what is wrong with the names of entry i of index.json; "" is nothing.
func (n *names) Flaw(i int) string {
	d := n.index.Manifests[i]
	name, other := NameOf(d), d.Annotations[artifact.AnnotationRefName]
	if name == "" {
		if carried := d.Annotations[artifact.AnnotationImageName]; carried != "" && n.refs[i].IsZero() {
			return "this is no image reference"
		}
		return ""
	}
	ref := n.refs[i]
	h, pinned := ref.Digest()
	switch {
	case ref.IsZero():
		return "this is no image reference"
	case ref.String() != name:
		return "the name is not full: container runtimes look for " + ref.String()
	case pinned && h != d.Digest:
		return "the name says another digest than the entry, " + d.Digest.String()
	case other != "" && other != name && other != ref.Tag():
		return fmt.Sprintf("the entry is called %s too: container runtimes read one name or the other", other)
	}
	for j, first := range n.index.Manifests[:i] {
		if n.refs[j] == ref && first.Digest != d.Digest {
			return "the name stands there twice, and means " + first.Digest.String() + " too"
		}
	}
	return ""
}

// sniff tells what a manifest is by its content; not every manifest says it.
func sniff(b []byte) (v1.Descriptor, error) {
	var m struct {
		MediaType types.MediaType `json:"mediaType"`
		Config    json.RawMessage `json:"config"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return v1.Descriptor{}, fmt.Errorf("no manifest: %w", err)
	}
	d := v1.Descriptor{Digest: DigestOf(b), Size: int64(len(b))}
	switch {
	case m.MediaType.IsIndex() && m.Config == nil, m.MediaType.IsImage() && m.Manifests == nil:
		d.MediaType = m.MediaType
	case m.MediaType != "":
	case m.Config != nil && m.Manifests == nil:
		d.MediaType = types.OCIManifestSchema1
	case m.Manifests != nil && m.Config == nil:
		d.MediaType = types.OCIImageIndex
	}
	if d.MediaType == "" {
		return v1.Descriptor{}, fmt.Errorf("no manifest: it has neither a config nor manifests, or media type %q does not fit", m.MediaType)
	}
	return d, nil
}
