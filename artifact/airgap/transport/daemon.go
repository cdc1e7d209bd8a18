package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// defaultHost is where a docker daemon listens unless told otherwise.
const defaultHost = "unix:///var/run/docker.sock"

// daemon is a docker daemon (Docker Engine API, "Export an image"). It keeps no
// manifests, so an image is saved to a file without a name when it is asked for.
type daemon struct {
	host   string // in errors
	base   string // URL of the API
	client *http.Client
	o      Options

	mu    sync.Mutex
	saved map[artifact.Reference]*saving
}

// saving is an image that was asked for; what it becomes is there once done is
// closed.
type saving struct {
	done   chan struct{}
	images *images
	err    error
}

func newDaemon(o Options) (*daemon, error) {
	d := &daemon{host: o.DockerHost, o: o, saved: map[artifact.Reference]*saving{}}
	if d.host == "" {
		d.host = defaultHost
	}
	d.o.Adopt = true // what is saved is what was asked for
	scheme, address, ok := strings.Cut(d.host, "://")
	if !ok || address == "" {
		return nil, fmt.Errorf("docker daemon at %q: an address looks like unix:///var/run/docker.sock or tcp://127.0.0.1:2375", d.host)
	}
	transport := &http.Transport{DisableCompression: true} // no proxy: a daemon is near
	d.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	switch scheme {
	case "unix":
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}
		d.base = "http://docker"
	case "tcp", "http", "https":
		d.base = "http://" + strings.TrimSuffix(address, "/")
		if scheme == "https" || o.DockerCerts != "" {
			d.base = "https://" + strings.TrimSuffix(address, "/")
			config, err := tlsConfig(o.DockerCerts)
			if err != nil {
				return nil, fmt.Errorf("docker daemon at %s: %w", d.host, err)
			}
			transport.TLSClientConfig = config
		}
	default:
		return nil, fmt.Errorf("docker daemon at %s: addresses of %s: are not known here: write the image to a file with `docker save -o app.tar NAME`, and name it as docker-archive:app.tar:NAME", d.host, scheme)
	}
	return d, nil
}

// tlsConfig reads the files that docker has in DOCKER_CERT_PATH; dir is "" for
// the certificates of the system.
func tlsConfig(dir string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if dir == "" {
		return config, nil
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, "ca.pem"))
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return config, nil // a daemon need not ask for one
	}
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{cert}
	return config, nil
}

// Close implements Place.
func (d *daemon) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for ref, s := range d.saved {
		<-s.done
		if s.images != nil {
			errs = append(errs, s.images.Close())
		}
		delete(d.saved, ref)
	}
	d.client.CloseIdleConnections()
	return errors.Join(errs...)
}

// Refs implements Place. To know what names stand for, all images would have to
// be saved.
func (d *daemon) Refs(context.Context) ([]artifact.Named, error) {
	return nil, errors.New("docker-daemon: without an image: write docker-daemon:NAME:TAG")
}

// Resolve implements artifact.Source.
func (d *daemon) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	p, err := d.save(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return p.Resolve(ctx, ref)
}

// Open implements artifact.Source.
func (d *daemon) Open(ctx context.Context, ref artifact.Reference, desc v1.Descriptor, offset int64) (io.ReadCloser, error) {
	for _, p := range d.ready() {
		r, err := p.Open(ctx, ref, desc, offset)
		if !errors.Is(err, artifact.ErrNotFound) {
			return r, err
		}
	}
	p, err := d.save(ctx, ref)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, ref, desc, offset)
}

// ready returns what was saved so far.
func (d *daemon) ready() []*images {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*images
	for _, s := range d.saved {
		select {
		case <-s.done:
			if s.images != nil {
				list = append(list, s.images)
			}
		default:
		}
	}
	return list
}

// save has the daemon save an image, once.
func (d *daemon) save(ctx context.Context, ref artifact.Reference) (*images, error) {
	d.mu.Lock()
	s, known := d.saved[ref]
	if !known {
		s = &saving{done: make(chan struct{})}
		d.saved[ref] = s
	}
	d.mu.Unlock()
	if known {
		select {
		case <-s.done:
			return s.images, s.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	s.images, s.err = d.fetch(ctx, ref)
	if ctx.Err() != nil { // that is nothing that is known of the image
		d.mu.Lock()
		if s.images == nil {
			delete(d.saved, ref)
		}
		d.mu.Unlock()
	}
	close(s.done)
	return s.images, s.err
}

// fetch writes what the daemon sends to a file without a name.
func (d *daemon) fetch(ctx context.Context, ref artifact.Reference) (*images, error) {
	name := "docker-daemon:" + ref.Familiar()
	query := url.Values{"names": {daemonName(ref)}}
	if p := d.o.Platform; p.OS != "" { // older daemons have no choice, and do not look
		b, err := json.Marshal(v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
		if err != nil {
			return nil, err
		}
		query.Set("platform", string(b))
	}
	// Without a version in the path the daemon's own is meant, of any age.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+"/images/get?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, d.explain(ctx, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %w", name, d.refusal(resp, ref))
	}
	return openArchive(ctx, name, func() (io.ReadCloser, error) { return resp.Body, nil }, d.o)
}

// daemonName is how a daemon is asked for an image. It finds no image by tag and
// digest; which digest the tag's image has is seen when it is there.
func daemonName(ref artifact.Reference) string {
	if ref.Tag() != "" {
		return ref.Name() + ":" + ref.Tag()
	}
	return ref.Name() + "@" + ref.Object()
}

// explain adds to an error of reaching the daemon what the user can do about it.
func (d *daemon) explain(ctx context.Context, err error) error {
	const otherwise = "or write the image to a file with `docker save -o app.tar NAME`, and name it as docker-archive:app.tar:NAME"
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("docker daemon at %s: %w: run as root or as a member of its group, %s", d.host, cause(err), otherwise)
	}
	return fmt.Errorf("docker daemon at %s: %w: start it, set DOCKER_HOST, %s", d.host, cause(err), otherwise)
}

// cause leaves out the URL, which the user did not write.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refusal returns what the daemon answered.
func (d *daemon) refusal(resp *http.Response, ref artifact.Reference) error {
	var answer struct {
		Message string `json:"message"`
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(b, &answer) != nil || answer.Message == "" {
		answer.Message = resp.Status
	}
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w in the docker daemon at %s (%s): `docker pull %s` first", artifact.ErrNotFound, d.host, answer.Message, ref.Familiar())
	}
	return fmt.Errorf("docker daemon at %s: %s", d.host, answer.Message)
}
