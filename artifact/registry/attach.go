package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// Attach implements Attacher. What has a tag gets it in the repository of ref. What names its subject is found by registries
// with the referrers API themselves; for the others it joins the list under ReferrersTag, where what others listed stays
// (OCI distribution-spec 1.1, "Pushing Manifests with Subject").
func (r *Client) Attach(ctx context.Context, ref artifact.Reference, n artifact.Named) error {
	h, err := artifact.SubjectDigest(ref)
	if err != nil {
		return err
	}
	defer r.looks.forget(ref, h)
	if n.Ref.Tag() != "" {
		to, err := ref.WithTag(n.Ref.Tag())
		if err != nil {
			return err
		}
		return r.Tag(ctx, to, n.Desc)
	}
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return err
	}
	if c.r.looks.apiOf(c.s.e.host).present() {
		return nil
	}
	if _, api, err := c.referrers(ctx, h); err != nil || api {
		return err
	}
	entry, err := c.referrer(ctx, h, n.Desc)
	if err != nil {
		return err
	}
	r.attaching.Lock() // of those in this process none overwrites the other
	defer r.attaching.Unlock()
	return c.listReferrer(ctx, artifact.ReferrersTag(h), entry)
}

// forget makes Attached look again.
func (s *looks) forget(ref artifact.Reference, h v1.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.results, ref.Name()+"@"+h.String())
	delete(s.served, ref.Name()) // which may be a mirror
	delete(s.failed, ref.Domain())
	for place := range s.tags {
		if strings.HasSuffix(place, "/"+ref.Path()) {
			delete(s.tags, place)
		}
	}
}

// referrer returns how a list of what refers to h has the manifest d, which was put.
func (c *repository) referrer(ctx context.Context, h v1.Hash, d v1.Descriptor) (v1.Descriptor, error) {
	raw, err := c.r.manifest(ctx, c, d)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var m struct {
		Subject      *v1.Descriptor    `json:"subject"`
		ArtifactType string            `json:"artifactType"`
		Config       v1.Descriptor     `json:"config"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return v1.Descriptor{}, c.wrap(fmt.Errorf("manifest %s: %w", d.Digest, err))
	}
	if m.Subject == nil || m.Subject.Digest != h {
		return v1.Descriptor{}, c.wrap(fmt.Errorf("manifest %s does not refer to %s and has no tag: it cannot be found as attached to it", d.Digest, h))
	}
	return v1.Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: cmp.Or(m.ArtifactType, string(m.Config.MediaType)), Annotations: m.Annotations,
	}, nil
}

// attachTries is how often a list is written that somebody else writes at the same time.
const attachTries = 6

// errOvertaken says that somebody else changed a list meanwhile.
var errOvertaken = errors.New("somebody else changes the list of what is attached at the same time")

// listReferrer makes entry one of the index under tag. Registries have no way to do that at once; those that know
// If-Match refuse what would undo the change of somebody else, for the others the list is read again afterwards.
func (c *repository) listReferrer(ctx context.Context, tag string, entry v1.Descriptor) error {
	for try := range attachTries {
		list, err := c.referrersList(ctx, tag)
		if err != nil {
			return err
		}
		if list.has(entry.Digest) {
			return nil
		}
		if err := c.putList(ctx, tag, list, entry, try < attachTries/2); err != nil && !errors.Is(err, errOvertaken) {
			return err
		}
		if list, err = c.referrersList(ctx, tag); err != nil || list.has(entry.Digest) {
			return err
		}
		if err := sleep(ctx, c.r.pause.before(try, nil)); err != nil {
			return err
		}
	}
	return c.wrap(fmt.Errorf("%s: %w: try again", tag, errOvertaken))
}

// referrersList is an index under a ReferrersTag, in which the entries of others stay as they are.
type referrersList struct {
	etag    string // "" if there is no list, or the registry has none
	rest    map[string]json.RawMessage
	entries []json.RawMessage
}

// referrersList reads the list under a tag; it is empty when there is none.
func (c *repository) referrersList(ctx context.Context, tag string) (*referrersList, error) {
	l := &referrersList{rest: map[string]json.RawMessage{}}
	resp, err := c.do(ctx, http.MethodGet, c.path("manifests", tag), acceptManifests, http.StatusOK)
	if errors.Is(err, artifact.ErrNotFound) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	l.etag = resp.Header.Get("ETag")
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, artifact.MaxManifest+1))
	if err != nil {
		return nil, c.wrap(fmt.Errorf("%s: %w", tag, err))
	}
	if mt, err := artifact.ManifestType(raw); err != nil || !mt.IsIndex() {
		return nil, c.wrap(fmt.Errorf("tag %s is not the list of what is attached to an image, which belongs there: remove that tag", tag))
	}
	err = json.Unmarshal(raw, &l.rest)
	if err == nil {
		err = json.Unmarshal(l.rest["manifests"], &l.entries)
	}
	if err != nil {
		return nil, c.wrap(fmt.Errorf("%s: %w", tag, err))
	}
	return l, nil
}

func (l *referrersList) has(h v1.Hash) bool {
	return slices.ContainsFunc(l.entries, func(raw json.RawMessage) bool {
		var d v1.Descriptor
		return json.Unmarshal(raw, &d) == nil && d.Digest == h
	})
}

// with returns the list with one entry more.
func (l *referrersList) with(entry v1.Descriptor) ([]byte, error) {
	e, err := json.Marshal(entry)
	if err != nil {
		return nil, err
	}
	all, err := json.Marshal(append(l.entries, e))
	if err != nil {
		return nil, err
	}
	index := maps.Clone(l.rest)
	index["schemaVersion"], index["manifests"] = json.RawMessage("2"), all
	index["mediaType"] = json.RawMessage(`"` + types.OCIImageIndex + `"`)
	raw, err := json.Marshal(index)
	if err == nil && len(raw) > artifact.MaxManifest {
		err = fmt.Errorf("the list of what is attached has more than %s: remove old signatures", disk.Bytes(artifact.MaxManifest))
	}
	return raw, err
}

// putList writes a list with one entry more, if nobody did since it was read: then the error wraps errOvertaken. Some registries know no such
// condition, and some servers before them know it and get it wrong; hence conditional.
func (c *repository) putList(ctx context.Context, tag string, l *referrersList, entry v1.Descriptor, conditional bool) error {
	raw, err := l.with(entry)
	if err != nil {
		return c.wrap(fmt.Errorf("%s: %w", tag, err))
	}
	resp, err := c.repeat(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.path("manifests", tag), bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", string(types.OCIImageIndex))
		switch {
		case !conditional:
		case l.rest["manifests"] == nil:
			req.Header.Set("If-None-Match", "*")
		case l.etag != "":
			req.Header.Set("If-Match", l.etag)
		}
		return req, nil
	}, []int{http.StatusCreated, http.StatusOK, http.StatusAccepted})
	var se *statusError
	if errors.As(err, &se) && se.status == http.StatusPreconditionFailed && conditional {
		return errOvertaken
	}
	if err != nil {
		return c.wrap(fmt.Errorf("%s: %w", tag, err))
	}
	return resp.Body.Close()
}
