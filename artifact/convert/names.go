package convert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/find"
)

// The registries that hosts of the two tools pull from: their names in the storage have no other.
const (
	sealosRegistry = "sealos.hub:5000"
	sealerRegistry = "sea.hub:5000"
)

// naming finds the full names of images in the storage, where both tools leave out the registry: registry.k8s.io/pause:3.9
// is pause:3.9 there.
type naming struct {
	registry string                                      // that the images are called by whose name nothing tells
	full     map[string][]artifact.Reference             // by name without the registry, and tag
	domains  map[string]map[string]bool                  // by name without the registry
	pinned   map[string]map[v1.Hash][]artifact.Reference // by name without the registry
}

func newNaming(maker string) *naming {
	n := &naming{registry: sealosRegistry, full: map[string][]artifact.Reference{}, domains: map[string]map[string]bool{}, pinned: map[string]map[v1.Hash][]artifact.Reference{}}
	if maker == sealer {
		n.registry = sealerRegistry
	}
	return n
}

// learn takes in a full name.
func (n *naming) learn(ref artifact.Reference) {
	path := ref.Path()
	if n.domains[path] == nil {
		n.domains[path] = map[string]bool{}
	}
	n.domains[path][ref.Domain()] = true
	if h, ok := ref.Digest(); ok {
		if n.pinned[path] == nil {
			n.pinned[path] = map[v1.Hash][]artifact.Reference{}
		}
		if !slices.Contains(n.pinned[path][h], ref) {
			n.pinned[path][h] = append(n.pinned[path][h], ref)
		}
	}
	if ref.Tag() == "" {
		return
	}
	plain, err := ref.WithTag(ref.Tag())
	if key := path + ":" + ref.Tag(); err == nil && !slices.Contains(n.full[key], plain) {
		n.full[key] = append(n.full[key], plain)
	}
}

// learnAll takes in all names that the image has anywhere: in lists, manifests, charts, annotations, and what the user
// says.
func (n *naming) learnAll(ctx context.Context, f *foreign, t *texts, k artifact.Kind, own []airgap.Image, r *Report) error {
	for _, img := range own {
		n.learn(img.Ref)
	}
	version, _, _ := strings.Cut(k.Version, "+")
	images, err := find.Images(ctx, t.files, find.Options{KubeVersion: version})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		r.remark("names of images", "", "not everything that may name images can be read: %v", err)
	}
	for _, img := range images {
		if !img.Ref.IsZero() {
			n.learn(img.Ref)
		}
	}
	if text := f.manifest.Annotations[sealerImages]; text != "" {
		var list []struct{ Image string }
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			r.remark("annotation "+sealerImages, text, "it cannot be read: %v", err)
		}
		for _, img := range list {
			if ref, err := artifact.ParseReference(img.Image); err == nil {
				n.learn(ref)
			}
		}
	}
	n.learnTars(t)
	return nil
}

// learnTars reads images/skopeo/tar.txt of sealos: docker-archive:FILE@NAME, by which NAME is called in the storage.
func (n *naming) learnTars(t *texts) {
	f := t.files["images/skopeo/tar.txt"]
	if f == nil {
		return
	}
	for line := range bytes.Lines(f.Data) {
		_, name, ok := strings.Cut(strings.TrimSpace(string(line)), "@")
		if ref, err := artifact.ParseReference(name); ok && err == nil {
			n.learn(ref)
		}
	}
}

// references returns the full names of a tag in the storage, sorted, and whether they are guessed.
func (n *naming) references(repo, tag string) (refs []artifact.Reference, guessed bool, err error) {
	if refs := n.full[repo+":"+tag]; len(refs) > 0 {
		return slices.SortedFunc(slices.Values(refs), func(a, b artifact.Reference) int { return strings.Compare(a.String(), b.String()) }), false, nil
	}
	domain, guessed := n.domain(repo)
	ref, err := artifact.ParseReference(domain + "/" + repo + ":" + tag)
	return []artifact.Reference{ref}, guessed, err
}

// domain returns the registry of a repository: that of other tags of it, docker.io where only that has such names, and
// otherwise the tool's own, which is a guess.
func (n *naming) domain(repo string) (domain string, guessed bool) {
	if domains := slices.Sorted(maps.Keys(n.domains[repo])); len(domains) == 1 {
		return domains[0], false
	}
	if strings.HasPrefix(repo, "library/") {
		return "docker.io", false
	}
	return n.registry, true
}

// signatureTag is the form of tags under which cosign keeps what it attaches to an image.
var signatureTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}\.(sig|att|sbom)$`)

// wanted lists the images of the storage by their full names.
func (s *storage) wanted(ctx context.Context, n *naming, look func(ctx context.Context, h v1.Hash) (*found, error), r *Report) ([]airgap.Image, map[artifact.Reference]v1.Descriptor, error) {
	w := &wanting{look: look, r: r, n: n, named: map[artifact.Reference]v1.Descriptor{}, reached: map[v1.Hash]bool{}, revisions: map[string][]v1.Hash{}}
	tags := map[string]v1.Hash{} // by repository and tag
	for _, p := range s.parts {
		switch {
		case p.repo == "":
		case p.tag == "":
			w.revisions[p.repo] = append(w.revisions[p.repo], p.digest)
		default:
			tags[p.repo+":"+p.tag] = p.digest
		}
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		at := strings.LastIndex(key, ":")
		if err := w.tag(ctx, key[:at], key[at+1:], tags[key]); err != nil {
			return nil, nil, err
		}
	}
	for _, repo := range slices.Sorted(maps.Keys(w.revisions)) {
		list := w.revisions[repo]
		slices.SortFunc(list, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
		if err := w.digests(ctx, repo, slices.Compact(list)); err != nil {
			return nil, nil, err
		}
	}
	w.absent()
	for _, m := range w.nameless {
		if !w.reached[m.digest] { // by now all indexes are known
			r.remark("container image "+m.name, "", "no tag leads to it, and nothing asks for it by its digest: it is left out")
		}
	}
	if len(w.guessed) > 0 {
		r.remark("names of images", strings.Join(w.guessed, ", "), "the storage leaves out registries, and nothing in the image names them: they are called by the registry of the tool; tell their full names with --image-list")
	}
	return w.images, w.named, nil
}

// wanting is one list of images in the making.
type wanting struct {
	look      func(context.Context, v1.Hash) (*found, error)
	r         *Report
	n         *naming
	revisions map[string][]v1.Hash
	reached   map[v1.Hash]bool // manifests that are part of what is listed
	images    []airgap.Image
	named     map[artifact.Reference]v1.Descriptor
	guessed   []string
	nameless  []nameless
}

// found is a manifest of the storage.
type found struct {
	v1.Descriptor
	children []v1.Hash // of an index
}

// errLacking says why an image cannot be taken over.
var errLacking = errors.New("left out")

// add lists an image under a name.
func (w *wanting) add(ref artifact.Reference, f *found, where string) {
	if _, twice := w.named[ref]; twice {
		return
	}
	w.named[ref] = f.Descriptor
	w.images = append(w.images, airgap.Image{Ref: ref, Where: where})
	w.reached[f.Digest] = true
	for _, child := range f.children {
		w.reached[child] = true
	}
}

// tag lists what a tag names.
func (w *wanting) tag(ctx context.Context, repo, tag string, h v1.Hash) error {
	if signatureTag.MatchString(tag) {
		w.r.remark("signature "+repo+":"+tag, "", "signatures of container images are not taken over")
		w.reached[h] = true
		return nil
	}
	refs, guessed, err := w.n.references(repo, tag)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	f, err := w.look(ctx, h)
	if errors.Is(err, errLacking) {
		w.r.remark("container image "+refs[0].Familiar(), "", "%v", err)
		w.reached[h] = true
		return nil
	}
	if err != nil {
		return err
	}
	for _, ref := range refs {
		w.add(ref, f, registryDir+" "+repo+":"+tag)
	}
	if guessed {
		w.guessed = append(w.guessed, refs[0].Familiar())
	}
	return nil
}

// digests lists what is asked for by digest, and remarks what has no other name.
func (w *wanting) digests(ctx context.Context, repo string, revisions []v1.Hash) error {
	for _, h := range revisions {
		pinned := w.n.pinned[repo][h]
		if len(pinned) == 0 && w.reached[h] {
			continue
		}
		f, err := w.look(ctx, h)
		switch {
		case errors.Is(err, errLacking) && len(pinned) == 0: // an index of other platforms perhaps
		case errors.Is(err, errLacking):
			w.r.remark("container image "+pinned[0].Familiar(), "", "%v", err)
		case err != nil:
			return err
		case len(pinned) == 0:
			w.nameless = append(w.nameless, f.nameless(repo))
		}
		if err != nil {
			continue
		}
		for _, ref := range pinned {
			w.add(ref, f, registryDir+" "+repo+"@"+h.String())
		}
	}
	return nil
}

// nameless is a manifest that no tag leads to.
func (f *found) nameless(repo string) nameless {
	return nameless{repo + "@" + f.Digest.String(), f.Digest}
}

type nameless struct {
	name   string
	digest v1.Hash
}

// absent remarks the images that the tree asks for by a digest which the storage does not have.
func (w *wanting) absent() {
	for _, repo := range slices.Sorted(maps.Keys(w.n.pinned)) {
		digests := slices.SortedFunc(maps.Keys(w.n.pinned[repo]), func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
		for _, h := range digests {
			for _, ref := range w.n.pinned[repo][h] {
				if _, listed := w.named[ref]; !listed && !slices.Contains(w.revisions[repo], h) {
					w.r.remark("container image "+ref.Familiar(), "", "the tree asks for it by this digest, and the registry has no such manifest: the tool drops digests when it collects images; name the tag alone, or collect it again")
				}
			}
		}
	}
}
