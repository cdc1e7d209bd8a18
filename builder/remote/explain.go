package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// statusError is a server's refusal.
type statusError struct {
	code   int
	status string // "404 Not Found"
}

// newStatusError says what an answer means; one that may be another the next time is a *temporaryError.
func newStatusError(resp *http.Response) error {
	e := &statusError{code: resp.StatusCode, status: resp.Status}
	switch {
	case e.code == http.StatusRequestTimeout, e.code == http.StatusTooManyRequests,
		e.code >= 500 && e.code != http.StatusNotImplemented && e.code != http.StatusHTTPVersionNotSupported:
		return &temporaryError{cause: e, after: retryAfter(resp.Header)}
	}
	return e
}

// Error implements error.
func (e *statusError) Error() string {
	switch e.code {
	case http.StatusNotFound, http.StatusGone:
		return e.status + ": check the URL"
	case http.StatusUnauthorized, http.StatusForbidden:
		return e.status + ": the server wants to know who asks, or lets nobody have it: check the URL, or fetch the file and COPY it"
	case http.StatusProxyAuthRequired:
		return e.status + ": the proxy wants user and password: put them into the proxy's variable"
	}
	if e.code >= 500 || e.code == http.StatusTooManyRequests {
		return e.status + ": the server cannot do it now: try again later"
	}
	return e.status + ": check the URL"
}

// retryAfter reads how long a server asks us to wait (RFC 9110, section 10.2.3); a date is taken by the server's clock.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(n, 0), 3600)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// transportError takes the URL, which may be one that a server redirects to and private, out of an error of the client,
// and marks what may succeed later.
func transportError(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) {
		err = ue.Err
	}
	var dns *net.DNSError
	var header tls.RecordHeaderError
	switch {
	case isCertificateError(err), errors.Is(err, errTooManyRedirects), errors.Is(err, errDowngrade), errors.Is(err, errRedirectScheme),
		errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header), errors.As(err, &dns) && dns.IsNotFound:
		return err
	}
	return &temporaryError{cause: err}
}

func isCertificateError(err error) bool {
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// explain adds what to do to the error that ends a transfer.
func (t *transfer) explain(err error) error {
	var op *net.OpError
	var dns *net.DNSError
	var header tls.RecordHeaderError
	var status *statusError
	var again *temporaryError
	switch {
	case errors.As(err, &status):
		return status
	case isCertificateError(err):
		return fmt.Errorf("its server's certificate is not trusted: %w: pass --ca-file with the certificate of its authority", err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header):
		return fmt.Errorf("its server speaks no https: %w: check the URL", err)
	case errors.Is(err, errTooManyRedirects), errors.Is(err, errDowngrade), errors.Is(err, errRedirectScheme):
		return fmt.Errorf("%w: give the URL where the file really is", err)
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("its server cannot be reached: %w: check the URL, the network and the proxy settings", err)
	case errors.As(err, &again) && t.pos > 0:
		return fmt.Errorf("broken off after %d bytes: %w: try again", t.pos, err)
	case errors.As(err, &again):
		return fmt.Errorf("%w: try again, or fetch the file and COPY it", err)
	}
	return err
}
