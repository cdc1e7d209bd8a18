package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// statusError is a registry's refusal. It is ErrNotFound or ErrUnauthorized where the status says so.
type statusError struct {
	status     int
	host       string        // that answered
	cause      error         // what the registry said (OCI distribution-spec, "Error Codes")
	who        string        // which credentials were sent, never the secret
	retryAfter time.Duration // 0: it did not say
}

// newStatusError reads what an answer says; the caller closes the body.
func newStatusError(resp *http.Response, who string) *statusError {
	cause := transport.CheckError(resp)
	if resp.Request != nil && resp.Request.Method == http.MethodHead { // there is no body to tell more
		cause = fmt.Errorf("HEAD %s: %s", resp.Request.URL.Redacted(), resp.Status)
	}
	host := ""
	if resp.Request != nil {
		host = resp.Request.URL.Host
	}
	return &statusError{
		status: resp.StatusCode, host: host, cause: cause, who: who,
		retryAfter: retryAfter(resp, time.Now()),
	}
}

// Error implements error.
func (e *statusError) Error() string {
	switch {
	case e.Is(ErrNotFound):
		return fmt.Sprintf("not found (%s)", e.cause)
	case e.Is(ErrUnauthorized):
		return fmt.Sprintf("unauthorized (%s): %s", e.who, e.cause)
	}
	return e.cause.Error()
}

// Is implements errors.Is for the sentinels of this package.
func (e *statusError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.status == http.StatusNotFound
	case ErrUnauthorized:
		return e.status == http.StatusUnauthorized || e.status == http.StatusForbidden
	}
	return false
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
		status >= 500 && status != http.StatusNotImplemented
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

// explain adds to an error of talking to host what the user can do about it.
func (r *Registry) explain(host string, err error) error {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, ErrUnauthorized):
		return fmt.Errorf("%w: run `sealrt login %s` with the right user (some registries also answer so for what does not exist)", err, host)
	case isRateLimit(err):
		return fmt.Errorf("%w: %s has been asked too often: run `sealrt login %s`, as most registries let users ask more, try again later, or name a mirror in registries.conf", err, host, host)
	case isCertificate(err):
		return fmt.Errorf("the certificate of %s is not trusted: %w: pass --ca-file with the certificate of its authority, put that into /etc/containers/certs.d/%[1]s/ca.crt, or pass --insecure", host, err)
	case speaksHTTP(err):
		return fmt.Errorf("%s speaks plain http, not https: pass --plain-http if that is what you want", host)
	case wantsHTTPS(err):
		return fmt.Errorf("%s speaks https, not plain http: leave out --plain-http", host)
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w: check its name, the network and the proxy settings", host, err)
	}
	return err
}
