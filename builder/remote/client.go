package remote

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// maxRedirects is how often a server may send a download on.
const maxRedirects = 10

var (
	errTooManyRedirects = fmt.Errorf("it is redirected more than %d times", maxRedirects)
	errDowngrade        = errors.New("it is redirected from https to plain http, where anybody may change it")
	errRedirectScheme   = errors.New("it is redirected to something else than http or https")
)

// NewClient returns the client for remote files of ADD. It keeps no cookies, asks for no compression, and
// trusts the PEM certificates in caFile, unless that is "", beside the system's. proxy may be nil: no proxy.
func NewClient(caFile string, proxy func(*http.Request) (*url.URL, error)) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a system without any
		}
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file %s: there is no PEM certificate in it: give the certificate of the authority", caFile)
		}
		config.RootCAs = pool
	}
	return &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                 proxy,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: 2 * time.Minute,
			IdleConnTimeout:       time.Minute,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true, // what the server has is what is wanted
		},
	}, nil
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch last := via[len(via)-1].URL; {
	case len(via) > maxRedirects:
		return errTooManyRedirects
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return errRedirectScheme
	case last.Scheme == "https" && req.URL.Scheme == "http":
		return errDowngrade
	}
	return nil
}

// ProxyOf returns the proxy that the usual variables ask for (HTTP_PROXY, HTTPS_PROXY, NO_PROXY, or the same in lower
// case, which come first). lookUp returns the value of a variable, "" without one.
func ProxyOf(lookUp func(name string) string) func(*http.Request) (*url.URL, error) {
	config := httpproxy.Config{
		HTTPProxy:  cmp.Or(lookUp("http_proxy"), lookUp("HTTP_PROXY")),
		HTTPSProxy: cmp.Or(lookUp("https_proxy"), lookUp("HTTPS_PROXY")),
		NoProxy:    cmp.Or(lookUp("no_proxy"), lookUp("NO_PROXY")),
	}
	choose := config.ProxyFunc()
	return func(req *http.Request) (*url.URL, error) {
		u, err := choose(req.URL)
		if err != nil { // which would show the password
			return nil, errors.New("the proxy that HTTP_PROXY or HTTPS_PROXY names is not a URL: write http://user:password@host:port, with %40 for an @ in the password")
		}
		return u, nil
	}
}
