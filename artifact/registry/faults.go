package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sealrt/sealrt/artifact"
)

// statusError is a registry's refusal. It is ErrNotFound or ErrUnauthorized where the status says so.
type statusError struct {
	status     int
	host       string        // that answered
	cause      error         // what the registry said (OCI distribution-spec, "Error Codes")
	who        string        // which credentials were sent, never the secret
	retryAfter time.Duration // 0: it did not say
}

// newStatusError reads what an answer to s says; the caller closes the body.
func newStatusError(resp *http.Response, s *session) *statusError {
	cause := withoutSecrets(transport.CheckError(resp), append(s.secrets(), secretsOf(resp.Request)...)...)
	if resp.Request != nil && resp.Request.Method == http.MethodHead { // there is no body to tell more
		cause = fmt.Errorf("HEAD %s: %s", artifact.DiscreetText(resp.Request.URL.String()), resp.Status)
	}
	host := ""
	if resp.Request != nil {
		host = resp.Request.URL.Host
	}
	return &statusError{
		status: resp.StatusCode, host: host, cause: cause, who: s.who(),
		retryAfter: retryAfter(resp, time.Now()),
	}
}

// Error implements error.
func (e *statusError) Error() string {
	switch {
	case e.Is(artifact.ErrNotFound):
		return fmt.Sprintf("not found (%s)", e.cause)
	case e.Is(artifact.ErrUnauthorized):
		return fmt.Sprintf("unauthorized (%s): %s", e.who, e.cause)
	}
	return e.cause.Error()
}

// Is implements errors.Is for the sentinels of this package.
func (e *statusError) Is(target error) bool {
	switch target {
	case artifact.ErrNotFound:
		return e.status == http.StatusNotFound
	case artifact.ErrUnauthorized:
		return e.status == http.StatusUnauthorized || e.status == http.StatusForbidden && !e.isQuota()
	}
	return false
}

// isQuota reports whether the refusal is about how much somebody may store. There is no code for that; Harbor, GitLab and
// Quay say so in words.
func (e *statusError) isQuota() bool {
	return (e.status == http.StatusForbidden || e.status == http.StatusPreconditionFailed) && e.says("quota", "upper limit", "storage limit", "exceed")
}

// isFull reports whether the registry has no room left.
func (e *statusError) isFull() bool {
	return e.status == http.StatusInsufficientStorage || e.status >= 500 && e.says("no space left", "disk quota exceeded")
}

// says reports whether one of the phrases is in what the registry said.
func (e *statusError) says(phrases ...string) bool {
	text := strings.ToLower(e.cause.Error())
	return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(text, p) })
}

// Unwrap returns what the registry said.
func (e *statusError) Unwrap() error { return e.cause }

// restart reports whether an upload that is refused so should begin anew: the registry forgot it, disagrees on how far
// it has come, or the token ran out while bytes were flowing.
func (e *statusError) restart() bool {
	return e.status == http.StatusNotFound || e.status == http.StatusRequestedRangeNotSatisfiable || e.status == http.StatusUnauthorized
}

// isTemporary reports whether the same request may succeed later.
func isTemporary(err error) bool {
	var se *statusError
	if errors.As(err, &se) {
		return temporaryStatus(se.status)
	}
	var te *transport.Error
	if errors.As(err, &te) {
		return temporaryStatus(te.StatusCode)
	}
	var dns *net.DNSError
	var op *net.OpError
	var ne net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), isCertificate(err):
		return false
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED):
		return true
	case errors.As(err, &op):
		return op.Op != "dial" || op.Timeout()
	case errors.As(err, &ne) && ne.Timeout():
		return true
	}
	s := err.Error() // net/http and its http2 have no types for these
	return strings.Contains(s, "server closed idle connection") || strings.Contains(s, "http2: ") || strings.Contains(s, "stream error")
}

func temporaryStatus(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		status >= 500 && status != http.StatusNotImplemented && status != http.StatusInsufficientStorage
}

func isCertificate(err error) bool {
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// speaksHTTP reports whether err comes of speaking TLS to a server that does not.
func speaksHTTP(err error) bool {
	var header tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &header)
}

// wantsHTTPS reports whether a server answered, over plain http, that it speaks TLS.
func wantsHTTPS(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && te.StatusCode == http.StatusBadRequest && strings.Contains(strings.ToUpper(te.Error()), "HTTPS")
}

// wantsProxyLogin reports whether it is a proxy that refuses (RFC 9110, section 15.5.8). Of tunnels the library has only the
// text.
func wantsProxyLogin(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && te.StatusCode == http.StatusProxyAuthRequired ||
		strings.HasSuffix(err.Error(), http.StatusText(http.StatusProxyAuthRequired))
}

// explain adds to an error of talking to host what the user can do about it.
func (r *Client) explain(host string, err error) error {
	var op *net.OpError
	var dns *net.DNSError
	var se *statusError
	switch errors.As(err, &se); {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case se != nil && se.isQuota():
		return fmt.Errorf("%w: the quota for this place in %s is used up: remove images there, or ask its administrator for more", err, host)
	case se != nil && se.isFull():
		return fmt.Errorf("%w: the registry has no space left: free some on %s, then try again: what has arrived is not sent again", err, host)
	case errors.Is(err, artifact.ErrUnauthorized):
		return fmt.Errorf("%w: run `sealrt login %s` with the right user (some registries also answer so for what does not exist)", err, host)
	case isRateLimit(err):
		return fmt.Errorf("%w: %s has been asked too often: run `sealrt login %s`, as most registries let users ask more, try again later, or name a mirror in registries.conf", err, host, host)
	case se != nil && se.status >= 500:
		return fmt.Errorf("%w: %s, or a proxy before it, has a fault: see its log or try again later: what has arrived is not sent again", err, host)
	case se != nil && se.status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %s is read-only, as caches of other registries are: push to another one", err, host)
	case wantsProxyLogin(err):
		return fmt.Errorf("the proxy before %s wants a login: %w: put it into HTTPS_PROXY, or HTTP_PROXY, as http://USER:PASSWORD@HOST:PORT", host, err)
	case isCertificate(err):
		return fmt.Errorf("the certificate of %s is not trusted: %w: pass --ca-file with the certificate of its authority, put that into /etc/containers/certs.d/%[1]s/ca.crt, or pass --insecure", host, err)
	case speaksHTTP(err):
		return fmt.Errorf("%s speaks plain http, not https: pass --plain-http if that is what you want", host)
	case wantsHTTPS(err):
		return fmt.Errorf("%s speaks https, not plain http: leave out --plain-http", host)
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return fmt.Errorf("the proxy before %s cannot be reached: %w: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY", host, err)
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w: check its name, the network and the proxy settings", host, err)
	case se == nil && isTemporary(err):
		return fmt.Errorf("the connection to %s broke: %w: check the network and try again: what has arrived is not sent again", host, err)
	}
	return err
}
