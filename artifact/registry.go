package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// RegistryOptions says how registries are reached; the zero value is usable.
type RegistryOptions struct {
	PlainHTTP      bool   // speak http to every registry
	Insecure       bool   // do not verify certificates, and fall back to http
	CAFile         string // PEM certificates trusted beside the system's
	AuthFile       string // the one file that credentials are read from and Login writes to; "" means the usual places
	DockerConfig   string // where Login writes when AuthFile is "": ~/.docker/config.json
	RegistriesConf string // registries.conf (mirrors, blocked registries); "" means the system's
	Retries        int    // repeats of a failed request; 0 means 4, negative none
	Jobs           int    // connections kept per registry; 0 means 4
	UserAgent      string // "" means sealrt
}

// Registry reads and writes images in registries over HTTP (OCI distribution-spec). It implements Source and Sink; its
// methods may be called concurrently. Reads go to the mirrors that registries.conf names first, writes never.
//
// Registries are spoken to over https; those on loopback addresses also over plain http, as docker does. Failed
// requests are repeated, downloads and uploads that break off are resumed where the registry can.
type Registry struct {
	o     RegistryOptions
	pause pause

	mu        sync.Mutex
	hosts     map[hostKey]*endpoint
	sessions  map[sessionKey]*session
	dead      map[string]error   // mirrors that could not be reached
	manifests map[v1.Hash][]byte // put and not tagged yet
	base      map[bool]http.RoundTripper
}

// NewRegistry returns a client; nothing is read or contacted yet.
func NewRegistry(o RegistryOptions) *Registry {
	if o.Retries == 0 {
		o.Retries = 4
	}
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.UserAgent == "" {
		o.UserAgent = "sealrt"
	}
	return &Registry{
		o: o, pause: defaultPause,
		hosts: map[hostKey]*endpoint{}, sessions: map[sessionKey]*session{}, dead: map[string]error{},
		manifests: map[v1.Hash][]byte{}, base: map[bool]http.RoundTripper{},
	}
}

// Resolve implements Source. It asks for the manifest's head, and fetches the manifest where the registry's answer
// lacks what a descriptor needs.
func (r *Registry) Resolve(ctx context.Context, ref Reference) (d v1.Descriptor, err error) {
	err = r.fromSources(ctx, ref, func(l location) error {
		if d, err = r.resolveAt(ctx, l, actionPull, ref); errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w: check the repository and the tag", err)
		}
		return err
	})
	return d, err
}

func (r *Registry) resolveAt(ctx context.Context, l location, action string, ref Reference) (v1.Descriptor, error) {
	c, err := r.dial(ctx, l, action, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := c.headManifest(ctx, ref.Object())
	if errors.Is(err, errNoDigest) {
		d, err = c.getManifest(ctx, ref.Object())
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	if h, ok := ref.Digest(); ok && h != d.Digest {
		return v1.Descriptor{}, fmt.Errorf("%s: %s sent a manifest with digest %s", ref.Familiar(), l.domain, d.Digest)
	}
	return d, nil
}

// Open implements Source. The reader resumes by itself when the connection breaks.
func (r *Registry) Open(ctx context.Context, ref Reference, d v1.Descriptor, offset int64) (rc io.ReadCloser, err error) {
	err = r.fromSources(ctx, ref, func(l location) error {
		c, err := r.dial(ctx, l, actionPull, ref)
		if err != nil {
			return err
		}
		rc, err = c.download(ctx, d, offset)
		return err
	})
	return rc, err
}

// Has implements Sink. It asks the registry itself, not its mirrors.
func (r *Registry) Has(ctx context.Context, ref Reference, d v1.Descriptor) (bool, error) {
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return false, err
	}
	resp, err := c.do(ctx, http.MethodHead, c.url(d), nil, http.StatusOK)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// Put implements Sink.
func (r *Registry) Put(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc) error {
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return err
	}
	if !isManifest(d.MediaType) {
		return c.upload(ctx, d, open)
	}
	if d.Size > MaxManifest {
		return fmt.Errorf("%s: manifest %s has %s, more than the %s that registries take", ref.Familiar(), d.Digest, bytesText(d.Size), bytesText(MaxManifest))
	}
	rc, err := open(0)
	if err != nil {
		return err
	}
	defer rc.Close()
	raw, err := io.ReadAll(newVerifier(rc, ref, d))
	if err != nil {
		return err
	}
	if err := c.putManifest(ctx, d.Digest.String(), d.MediaType, raw); err != nil {
		return err
	}
	r.remember(d.Digest, raw)
	return nil
}

// maxRemembered is how many manifests wait for their tag at most.
const maxRemembered = 16

func (r *Registry) remember(h v1.Hash, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.manifests) >= maxRemembered {
		clear(r.manifests)
	}
	r.manifests[h] = raw
}

// Tag implements Sink. A reference without a tag needs nothing: the digest is its name.
func (r *Registry) Tag(ctx context.Context, ref Reference, d v1.Descriptor) error {
	if ref.Tag() == "" {
		return nil
	}
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return err
	}
	r.mu.Lock()
	raw, ok := r.manifests[d.Digest]
	r.mu.Unlock()
	if !ok {
		rc, err := c.download(ctx, d, 0)
		if err != nil {
			return err
		}
		defer rc.Close()
		if raw, err = io.ReadAll(newVerifier(io.LimitReader(rc, MaxManifest+1), ref, d)); err != nil {
			return err
		}
	}
	return c.putManifest(ctx, ref.Tag(), d.MediaType, raw)
}

// named tells Copy what ref names in the registry that it is written to.
func (r *Registry) named(ctx context.Context, ref Reference) (v1.Hash, error) {
	l, err := r.target(ref)
	if err != nil {
		return v1.Hash{}, err
	}
	if ref.Tag() != "" { // the digest would be what is asked for, not what the tag says
		if ref, err = ref.WithTag(ref.Tag()); err != nil {
			return v1.Hash{}, err
		}
	}
	d, err := r.resolveAt(ctx, l, actionPush, ref)
	return d.Digest, err
}

func (r *Registry) dialUpstream(ctx context.Context, ref Reference) (*client, error) {
	l, err := r.target(ref)
	if err != nil {
		return nil, err
	}
	return r.dial(ctx, l, actionPush, ref)
}

// accepted are the manifests that this program reads.
var accepted = [...]types.MediaType{types.OCIImageIndex, types.OCIManifestSchema1, types.DockerManifestList, types.DockerManifestSchema2} //nolint:gochecknoglobals // a table that nothing changes

// errNoDigest says that the head of a manifest is not enough to describe it.
var errNoDigest = errors.New("the registry sends no digest")

func acceptManifests(req *http.Request) {
	for _, mt := range accepted {
		req.Header.Add("Accept", string(mt))
	}
}

// headManifest asks what a tag or digest names (OCI distribution-spec, "Checking if content exists in the registry").
func (c *client) headManifest(ctx context.Context, object string) (v1.Descriptor, error) {
	resp, err := c.do(ctx, http.MethodHead, c.path("manifests", object), acceptManifests, http.StatusOK)
	var se *statusError
	if errors.As(err, &se) && !isTemporary(err) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUnauthorized) {
		return v1.Descriptor{}, errNoDigest // some proxies refuse HEAD
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	resp.Body.Close()
	mt := types.MediaType(resp.Header.Get("Content-Type"))
	if mt.IsSchema1() {
		return v1.Descriptor{}, c.wrap(errSchema1)
	}
	h, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err != nil || h.Algorithm != "sha256" || resp.ContentLength <= 0 || !isManifest(mt) {
		return v1.Descriptor{}, errNoDigest
	}
	if resp.ContentLength > MaxManifest {
		return v1.Descriptor{}, c.wrap(fmt.Errorf("the manifest has %s, more than the %s that one may have", bytesText(resp.ContentLength), bytesText(MaxManifest)))
	}
	return v1.Descriptor{MediaType: mt, Digest: h, Size: resp.ContentLength}, nil
}

// getManifest fetches a manifest to describe it.
func (c *client) getManifest(ctx context.Context, object string) (v1.Descriptor, error) {
	resp, err := c.do(ctx, http.MethodGet, c.path("manifests", object), acceptManifests, http.StatusOK)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return v1.Descriptor{}, c.wrap(err)
	}
	mt, err := sniffManifest(raw)
	if err != nil {
		return v1.Descriptor{}, c.wrap(err)
	}
	h, n, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mt, Digest: h, Size: n}, nil
}

func (c *client) putManifest(ctx context.Context, object string, mt types.MediaType, raw []byte) error {
	resp, err := c.doBody(ctx, http.MethodPut, c.path("manifests", object), string(mt), raw, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
