package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact"
)

// What cosign appends to the tag of what is attached to a manifest (cosign's SIGNATURE_SPEC.md, "Tag-based
// discovery").
const (
	suffixSignature   = ".sig"
	suffixAttestation = ".att"
	suffixContents    = ".sbom"
)

// contactTimeout bounds the wait for a registry that nothing else was read from: what is built from this machine's store
// is not to wait for a network that is not there.
const contactTimeout = 10 * time.Second

// Attached lists the manifests that sign or describe the manifest whose digest ref has: those that refer to it, as
// name@digest, and those under the tags of cosign, as name:tag. There may be none. Each repository is asked for its tags
// and each manifest for what refers to it once; what the registry refuses to tell is not there. A registry that cannot be
// reached is waited for a short time. After a failure it is not asked again: the error is that of the first time.
func (r *Client) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	h, err := artifact.SubjectDigest(ref)
	if err != nil {
		return nil, err
	}
	leave := r.looks.enter(ref.Domain())
	defer leave()
	if err := r.looks.failure(ref); err != nil {
		return nil, err
	}
	key := ref.Name() + "@" + h.String()
	found, err, _ := r.looks.flights.Do(key, func() (any, error) {
		if list, ok := r.looks.result(key); ok {
			return list, nil
		}
		var list []artifact.Named
		err := r.atHome(ctx, ref, func(l location) (err error) {
			list, err = r.attachedAt(ctx, l, ref, h)
			return err
		})
		if err == nil || ctx.Err() == nil {
			r.looks.keep(key, ref, list, err)
		}
		return list, err
	})
	return slices.Clone(found.([]artifact.Named)), err
}

// looks remembers what registries told about what is attached to images. The zero value is ready for use.
type looks struct {
	flights singleflight.Group

	mu      sync.Mutex
	served  map[string]location // by repository: the place that had it last
	apis    map[string]*referrersAPI
	tags    map[string]*tagList // by host and repository
	results map[string][]artifact.Named
	failed  map[string]error // by registry
	doors   map[string]*door // by registry
}

// door lets one in alone until that one has found out what there is to know of a registry.
type door struct {
	mu   sync.Mutex
	open bool
}

// enter returns when a registry may be asked; leave has to be called afterwards.
func (s *looks) enter(registry string) (leave func()) {
	s.mu.Lock()
	if s.doors == nil {
		s.doors = map[string]*door{}
	}
	d := s.doors[registry]
	if d == nil {
		d = &door{}
		s.doors[registry] = d
	}
	s.mu.Unlock()
	d.mu.Lock()
	if d.open {
		d.mu.Unlock()
		return func() {}
	}
	return func() {
		d.open = true
		d.mu.Unlock()
	}
}

// apiOf returns what is known of the referrers API of a host.
func (s *looks) apiOf(host string) *referrersAPI {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apis == nil {
		s.apis = map[string]*referrersAPI{}
	}
	if s.apis[host] == nil {
		s.apis[host] = &referrersAPI{}
	}
	return s.apis[host]
}

// tagsOf returns what is known of the tags of a repository.
func (s *looks) tagsOf(repository string) *tagList {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tags == nil {
		s.tags = map[string]*tagList{}
	}
	if s.tags[repository] == nil {
		s.tags[repository] = &tagList{}
	}
	return s.tags[repository]
}

func (s *looks) result(key string) ([]artifact.Named, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, ok := s.results[key]
	return list, ok
}

func (s *looks) failure(ref artifact.Reference) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed[ref.Domain()]
}

// keep remembers what came of looking.
func (s *looks) keep(key string, ref artifact.Reference, list []artifact.Named, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.results == nil {
		s.results, s.failed = map[string][]artifact.Named{}, map[string]error{}
	}
	if err != nil {
		s.failed[ref.Domain()] = err
		return
	}
	s.results[key] = list
}

// serves remembers that a repository was read from l.
func (s *looks) serves(ref artifact.Reference, l location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served == nil {
		s.served = map[string]location{}
	}
	s.served[ref.Name()] = l
}

// atHome calls try for the place that the repository of ref was read from, so that a network where only a mirror
// answers is not left for signatures. When nothing was read yet it is like fromSources.
func (r *Client) atHome(ctx context.Context, ref artifact.Reference, try func(location) error) error {
	r.looks.mu.Lock()
	l, ok := r.looks.served[ref.Name()]
	r.looks.mu.Unlock()
	if ok {
		return try(l)
	}
	return r.fromSources(ctx, ref, try)
}

// attachedAt is Attached at one place.
func (r *Client) attachedAt(ctx context.Context, l location, ref artifact.Reference, h v1.Hash) ([]artifact.Named, error) {
	brief, cancel := context.WithTimeout(ctx, contactTimeout)
	c, err := r.dial(brief, l, actionPull, ref)
	cancel()
	if errors.Is(err, artifact.ErrUnauthorized) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	referrers, api, err := c.referrers(ctx, h)
	if err != nil {
		return nil, err
	}
	found, err := c.tagged(ctx, h, api)
	if err != nil {
		return nil, err
	}
	var list []artifact.Named
	for tag, d := range found {
		if tag == artifact.ReferrersTag(h) {
			if referrers, err = c.readReferrers(ctx, d); err != nil {
				return nil, err
			}
			continue
		}
		named, err := ref.WithTag(tag)
		if err != nil {
			return nil, err
		}
		list = append(list, artifact.Named{Ref: named, Desc: d})
	}
	for _, d := range referrers {
		if !artifact.IsManifest(d.MediaType) || d.Digest.Algorithm != "sha256" || d.Size <= 0 {
			continue // what no layout of ours can hold
		}
		list = append(list, artifact.Named{Ref: ref.Repository().WithDigest(d.Digest),
			Desc: v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: d.ArtifactType}})
	}
	slices.SortFunc(list, func(a, b artifact.Named) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) })
	return slices.CompactFunc(list, func(a, b artifact.Named) bool { return a.Ref == b.Ref }), nil
}

// tagged returns what is under the tags that belong to h: those of cosign, and without the API the list of what refers
// to it.
func (c *repository) tagged(ctx context.Context, h v1.Hash, api bool) (map[string]v1.Descriptor, error) {
	base := artifact.ReferrersTag(h)
	has, known, err := c.hasTags(ctx, base)
	if err != nil {
		return nil, err
	}
	found := map[string]v1.Descriptor{}
	look := func(tag string) error {
		if known && !has(tag) {
			return nil
		}
		d, err := c.headManifest(ctx, tag)
		if errors.Is(err, errNoDigest) {
			d, _, err = c.getManifest(ctx, tag)
		}
		if err == nil {
			found[tag] = d
		}
		if errors.Is(err, artifact.ErrSchema1) { // somebody's image
			return nil
		}
		return ignoreRefusal(err)
	}
	tags := []string{base + suffixSignature, base + suffixAttestation, base + suffixContents}
	if !api {
		tags = append(tags, base)
	}
	for _, tag := range tags {
		if err := look(tag); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// readReferrers reads the list of what refers to a manifest that is kept under a tag.
func (c *repository) readReferrers(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
	if !d.MediaType.IsIndex() {
		return nil, nil // somebody's image has this strange tag
	}
	rc, err := c.download(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	raw, err := io.ReadAll(artifact.Verify(rc, c.ref, d))
	if err != nil {
		return nil, err
	}
	idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, c.wrap(fmt.Errorf("index %s: %w", d.Digest, err))
	}
	return idx.Manifests, nil
}
