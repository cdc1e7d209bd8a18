package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
)

// DefaultCertDirs is where a system has the certificates of single registries (containers-certs.d(5), and
// https://docs.docker.com/engine/security/certificates/).
var DefaultCertDirs = [...]string{"/etc/containers/certs.d", "/etc/docker/certs.d"} //nolint:gochecknoglobals // a table that nothing changes

// certKey is what hosts have in common that share connections' settings.
type certKey struct {
	dir      string // of the host's certificates; "" if it has none
	insecure bool
}

// byHost sends each request over connections that know the certificates of its host. What a registry redirects to gets
// none of the registry's.
type byHost struct {
	r        *Client
	insecure bool
}

// RoundTrip implements http.RoundTripper.
func (t *byHost) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, err := t.r.transport(req.URL.Host, t.insecure)
	if err != nil {
		return nil, err
	}
	return rt.RoundTrip(req)
}

// transport returns the connections to a host, verifying certificates or not.
func (r *Client) transport(host string, insecure bool) (http.RoundTripper, error) {
	dir, err := r.certDir(host)
	if err != nil {
		return nil, err
	}
	key := certKey{dir, insecure}
	r.mu.Lock()
	defer r.mu.Unlock()
	if rt := r.base[key]; rt != nil {
		return rt, nil
	}
	c, err := r.tlsConfig(key)
	if err != nil {
		return nil, err
	}
	rt := &gated{gates: r.gates, inner: transport.NewUserAgent(&http.Transport{
		Proxy:                 r.o.Proxy,
		DialContext:           dialContext,
		TLSClientConfig:       c,
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   max(r.o.Jobs, idleConns),
		DisableCompression:    true, // blobs are what their digest says, and sizes are counted
		// No HTTP/2: layers on connections of their own take half of the processor time, and no window of the server
		// holds back one that is sent far.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}, r.o.UserAgent)}
	r.base[key] = rt
	return rt, nil
}

// idleConns is how many connections to a host are kept at least, for the many small requests about signatures.
const idleConns = 8

// proxyFromEnvironment is http.ProxyFromEnvironment with an error that does not show the variable, and the password in it.
func proxyFromEnvironment(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errors.New("the proxy that HTTP_PROXY or HTTPS_PROXY names is not a URL: write http://user:password@host:port, with %40 for an @ in the password")
	}
	return u, nil
}

// certDir returns the directory with the certificates of a host, "" when it has none. Docker Hub has the name there that
// users know it by.
func (r *Client) certDir(host string) (string, error) {
	if host == dockerHub {
		host = "docker.io"
	}
	for _, parent := range r.o.CertDirs {
		dir := filepath.Join(parent, host)
		_, err := os.Stat(dir)
		switch {
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return "", fmt.Errorf("look for the certificates of %s: %w", host, err)
		}
	}
	return "", nil
}

// tlsConfig returns which certificates to trust and to show.
func (r *Client) tlsConfig(key certKey) (*tls.Config, error) {
	pool, err := r.pool()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: pool, InsecureSkipVerify: key.insecure, MinVersion: tls.VersionTLS12}
	if key.dir == "" {
		return c, nil
	}
	if err := tlsclientconfig.SetupCertificates(key.dir, c); err != nil {
		return nil, fmt.Errorf("read the certificates in %s: %w", key.dir, blame(key.dir, err))
	}
	return c, nil
}

// blame names the pair in dir that cannot be read: the library does not.
func blame(dir string, err error) error {
	files, readErr := os.ReadDir(dir)
	if readErr != nil {
		return err
	}
	for _, f := range files {
		base, isCert := strings.CutSuffix(f.Name(), ".cert")
		if !isCert {
			continue
		}
		_, pairErr := tls.LoadX509KeyPair(filepath.Join(dir, f.Name()), filepath.Join(dir, base+".key"))
		if pairErr != nil && !errors.Is(pairErr, fs.ErrNotExist) {
			return fmt.Errorf("%s.cert and %[1]s.key: %w: put a pair there that belongs together, in PEM", base, pairErr)
		}
	}
	return err
}

// pool returns the certificates to trust: nil means the system's.
func (r *Client) pool() (*x509.CertPool, error) {
	if r.o.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(r.o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificates of --ca-file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the certificates of --ca-file: %s holds no PEM certificate", r.o.CAFile)
	}
	return pool, nil
}
