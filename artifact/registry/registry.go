package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// Options says how registries are reached; the zero value is usable.
type Options struct {
	PlainHTTP      bool   // speak http to every registry
	Insecure       bool   // do not verify certificates, and fall back to http
	CAFile         string // PEM certificates trusted beside the system's
	AuthFile       string // the one file that credentials are read from and Login writes to; "" means the usual places
	DockerConfig   string // where Login writes when AuthFile is "": ~/.docker/config.json
	RegistriesConf string // registries.conf (mirrors, blocked registries); "" means the system's
	Retries        int    // repeats of a failed request; 0 means 4, negative none
	Jobs           int    // connections kept per registry; 0 means 4
	UserAgent      string // "" means sealrt
	// CertDirs are where directories HOST[:PORT] with certificates are (containers-certs.d(5)): the first that there is
	// counts. nil means DefaultCertDirs.
	CertDirs []string
	// Proxy returns the proxy that a request goes through, nil for none (see http.Transport). nil means what the
	// environment says: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, which never hold for loopback addresses.
	Proxy func(*http.Request) (*url.URL, error)
	// Observe is told, as EventNote, when a registry makes everybody wait. It is called from any goroutine and may be nil.
	Observe func(artifact.Event)
}

// Client reads and writes images in registries over HTTP (OCI distribution-spec). It implements Source and Sink; its
// methods may be called concurrently. Reads go to the mirrors that registries.conf names first, writes never.
//
// Registries are spoken to over https; those on loopback addresses also over plain http, as docker does. Failed
// requests are repeated, downloads and uploads that break off are resumed where the registry can.
type Client struct {
	o     Options
	pause pause
	stall time.Duration // without a byte of a download
	gates *gates

	mu        sync.Mutex
	hosts     map[hostKey]*endpoint
	sessions  map[sessionKey]*session
	dead      map[string]error   // mirrors that could not be reached
	manifests map[v1.Hash][]byte // put and not tagged yet
	base      map[certKey]http.RoundTripper

	looks   looks // for what is attached to images
	uploads uploads

	attaching sync.Mutex // held while a list of what is attached is changed
}

// New returns a client; nothing is read or contacted yet.
func New(o Options) *Client {
	if o.Retries == 0 {
		o.Retries = 4
	}
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.UserAgent == "" {
		o.UserAgent = "sealrt"
	}
	if o.CertDirs == nil {
		o.CertDirs = DefaultCertDirs[:]
	}
	if o.Proxy == nil {
		o.Proxy = proxyFromEnvironment
	}
	if o.Observe == nil {
		o.Observe = func(artifact.Event) {}
	}
	tell := func(text string) { o.Observe(artifact.Event{Kind: artifact.EventNote, Name: text}) }
	return &Client{
		o: o, pause: defaultPause, stall: headerTimeout, gates: &gates{tell: tell, until: map[string]time.Time{}},
		hosts: map[hostKey]*endpoint{}, sessions: map[sessionKey]*session{}, dead: map[string]error{},
		manifests: map[v1.Hash][]byte{}, base: map[certKey]http.RoundTripper{},
	}
}

// Resolve implements Source. It asks for the manifest's head, and fetches the manifest where the registry's answer
// lacks what a descriptor needs.
func (r *Client) Resolve(ctx context.Context, ref artifact.Reference) (d v1.Descriptor, err error) {
	err = r.fromSources(ctx, ref, func(l location) error {
		if d, err = r.resolveAt(ctx, l, actionPull, ref); errors.Is(err, artifact.ErrNotFound) {
			return fmt.Errorf("%w: check the repository and the tag", err)
		}
		if err == nil {
			r.looks.serves(ref, l)
		}
		return err
	})
	return d, err
}

// Fetch is Resolve that returns the manifest too, whose bytes have the digest, with one request. It is for what is not on
// this machine yet.
func (r *Client) Fetch(ctx context.Context, ref artifact.Reference) (d v1.Descriptor, raw []byte, err error) {
	err = r.fromSources(ctx, ref, func(l location) error {
		c, err := r.dial(ctx, l, actionPull, ref)
		if err != nil {
			return err
		}
		if d, raw, err = c.getManifest(ctx, ref.Object()); errors.Is(err, artifact.ErrNotFound) {
			return fmt.Errorf("%w: check the repository and the tag", err)
		}
		if err != nil {
			return err
		}
		r.looks.serves(ref, l)
		return checkPinned(ref, l, d)
	})
	return d, raw, err
}

// checkPinned refuses an answer to a reference with a digest that has another one.
func checkPinned(ref artifact.Reference, l location, d v1.Descriptor) error {
	if h, ok := ref.Digest(); ok && h != d.Digest {
		return fmt.Errorf("%s: %s sent a manifest with digest %s: the registry, or a proxy before it, is damaged", ref.Familiar(), l.domain, d.Digest)
	}
	return nil
}

func (r *Client) resolveAt(ctx context.Context, l location, action string, ref artifact.Reference) (v1.Descriptor, error) {
	c, err := r.dial(ctx, l, action, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := c.headManifest(ctx, ref.Object())
	if errors.Is(err, errNoDigest) {
		d, _, err = c.getManifest(ctx, ref.Object())
	}
	if err == nil {
		err = checkPinned(ref, l, d)
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	return d, nil
}

// Open implements Source. The reader resumes by itself when the connection breaks.
func (r *Client) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (rc io.ReadCloser, err error) {
	err = r.fromSources(ctx, ref, func(l location) error {
		c, err := r.dial(ctx, l, actionPull, ref)
		if err != nil {
			return err
		}
		if rc, err = c.download(ctx, d, offset); err == nil {
			r.looks.serves(ref, l)
		}
		return err
	})
	return rc, err
}

// Has implements Sink. It asks the registry itself, not its mirrors.
func (r *Client) Has(ctx context.Context, ref artifact.Reference, d v1.Descriptor) (bool, error) {
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return false, err
	}
	resp, err := c.do(ctx, http.MethodHead, c.url(d), nil, http.StatusOK)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// Put implements Sink.
func (r *Client) Put(ctx context.Context, ref artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return err
	}
	if !artifact.IsManifest(d.MediaType) {
		return c.upload(ctx, d, open)
	}
	if d.Size > artifact.MaxManifest {
		return fmt.Errorf("%s: manifest %s has %s, more than the %s that registries take", ref.Familiar(), d.Digest, disk.Bytes(d.Size), disk.Bytes(artifact.MaxManifest))
	}
	rc, err := open(0)
	if err != nil {
		return err
	}
	defer rc.Close()
	raw, err := io.ReadAll(artifact.Verify(rc, ref, d))
	if err != nil {
		return err
	}
	if err := c.putManifest(ctx, d.Digest.String(), d.MediaType, raw); err != nil {
		return err
	}
	r.remember(d.Digest, raw)
	return nil
}

// manifest returns the bytes of a manifest that was put.
func (r *Client) manifest(ctx context.Context, c *repository, d v1.Descriptor) ([]byte, error) {
	r.mu.Lock()
	raw, ok := r.manifests[d.Digest]
	r.mu.Unlock()
	if ok {
		return raw, nil
	}
	rc, err := c.download(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(artifact.Verify(io.LimitReader(rc, artifact.MaxManifest+1), c.ref, d))
}

// maxRemembered is how many manifests wait for their tag at most.
const maxRemembered = 16

func (r *Client) remember(h v1.Hash, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.manifests) >= maxRemembered {
		clear(r.manifests)
	}
	r.manifests[h] = raw
}

// Tag implements Sink. A reference without a tag needs nothing: the digest is its name.
func (r *Client) Tag(ctx context.Context, ref artifact.Reference, d v1.Descriptor) error {
	if ref.Tag() == "" {
		return nil
	}
	c, err := r.dialUpstream(ctx, ref)
	if err != nil {
		return err
	}
	raw, err := r.manifest(ctx, c, d)
	if err != nil {
		return err
	}
	return c.putManifest(ctx, ref.Tag(), d.MediaType, raw)
}

// ChecksDigests tells Copy that registries verify what they get (OCI distribution-spec, "Pushing blobs").
func (r *Client) ChecksDigests() {}

// Named tells Copy what ref names in the registry that it is written to.
func (r *Client) Named(ctx context.Context, ref artifact.Reference) (v1.Hash, error) {
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

func (r *Client) dialUpstream(ctx context.Context, ref artifact.Reference) (*repository, error) {
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
