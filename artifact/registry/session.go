package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What a token is asked for (the "scope" of https://distribution.github.io/distribution/spec/auth/scope/).
const (
	actionPull = "pull"
	actionPush = "pull,push"
)

type sessionKey struct {
	host   hostKey
	scopes string
}

// session shows a registry who we are, for one repository and what is done there. It is an http.RoundTripper.
type session struct {
	e      *endpoint
	scopes []string
	auth   authn.AuthConfig
	source string // where auth comes from, for people

	mu    sync.Mutex
	token string
	until time.Time // when token runs out
}

// session returns the session for scopes, the first of which is about the repository l.
func (r *Client) session(e *endpoint, l location, scopes ...string) (*session, error) {
	key := sessionKey{hostKey{e.host, e.insecure}, l.path + " " + strings.Join(scopes, " ")}
	r.mu.Lock()
	s := r.sessions[key]
	r.mu.Unlock()
	if s != nil {
		return s, nil
	}
	auth, source, err := r.credentials(l.domain, l.path)
	if err != nil {
		return nil, err
	}
	s = &session{e: e, scopes: scopes, auth: auth, source: source}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.sessions[key]; other != nil {
		return other, nil
	}
	r.sessions[key] = s
	return s, nil
}

// who says which credentials are sent, for people: never the secret.
func (s *session) who() string {
	switch {
	case s.auth == authn.AuthConfig{} && s.source != "":
		return "no credentials were sent, none are stored in " + s.source
	case s.auth == authn.AuthConfig{}:
		return "no credentials were sent, none are stored"
	case s.auth.Username == "":
		return "a token from " + s.source + " was sent"
	}
	return fmt.Sprintf("credentials of %q from %s were sent", s.auth.Username, s.source)
}

func (s *session) bearer() bool {
	return s.e.challenge != nil && strings.EqualFold(s.e.challenge.Scheme, "bearer")
}

// RoundTrip implements http.RoundTripper. Credentials go to the registry alone, never where it redirects to. A token
// that has run out is replaced, and the request sent again if its body can be.
func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	if !sameHost(req.URL.Host, s.e.host) {
		return s.e.rt.RoundTrip(req)
	}
	header, err := s.header(req.Context())
	if err != nil {
		return nil, err
	}
	resp, err := s.e.rt.RoundTrip(withAuthorization(req, header))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !s.bearer() {
		return resp, err
	}
	s.forget(header)
	if req.Body != nil && req.GetBody == nil {
		return resp, nil // the sender starts over
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the first answer says more than a body that cannot be sent again
		}
	}
	if header, err = s.header(req.Context()); err != nil {
		resp.Body.Close()
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	resp.Body.Close()
	return s.e.rt.RoundTrip(withAuthorization(again, header))
}

func withAuthorization(req *http.Request, header string) *http.Request {
	if header == "" {
		return req
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", header)
	return req
}

// header returns the Authorization header, or "".
func (s *session) header(ctx context.Context) (string, error) {
	if s.auth.RegistryToken != "" {
		return "Bearer " + s.auth.RegistryToken, nil
	}
	if !s.bearer() {
		if s.auth.Username == "" {
			return "", nil
		}
		var req http.Request
		req.Header = http.Header{}
		req.SetBasicAuth(s.auth.Username, s.auth.Password)
		return req.Header.Get("Authorization"), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == "" || time.Now().After(s.until) {
		token, err := s.exchange(ctx)
		if err != nil {
			return "", err
		}
		s.token, s.until = cmp.Or(token.AccessToken, token.Token), time.Now().Add(lifetime(token))
	}
	return "Bearer " + s.token, nil
}

// forget drops a token that was refused, unless it has been replaced already.
func (s *session) forget(header string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if header == "Bearer "+s.token {
		s.token = ""
	}
}

// exchange asks the registry's token server for a token (https://distribution.github.io/distribution/spec/auth/token/).
// The library lets a token server on a private address pass only when the registry has that very address; on the
// networks of our users both are private and differ, so it is told the server's address. Link-local ones, where
// clouds keep their secrets, stay refused.
func (s *session) exchange(ctx context.Context) (*transport.Token, error) {
	realm, err := url.Parse(s.e.challenge.Parameters["realm"])
	if err != nil {
		return nil, fmt.Errorf("token server: %w", withoutSecrets(err))
	}
	host := s.e.host
	if a, err := netip.ParseAddr(realm.Hostname()); err != nil || !a.IsLinkLocalUnicast() {
		host = realm.Host
	}
	reg, err := name.NewRegistry(host)
	if err != nil {
		return nil, fmt.Errorf("token server: %w", err)
	}
	for try := 0; ; try++ {
		t, err := transport.Exchange(ctx, reg, authn.FromConfig(s.auth), s.e.rt, s.scopes, s.e.challenge)
		if err == nil {
			return t, nil
		}
		if try >= s.e.r.o.Retries || !isTemporary(err) {
			return nil, s.tokenError(err)
		}
		if err := s.e.r.wait(ctx, try, err); err != nil {
			return nil, err
		}
	}
}

// lifetime returns how long a token can be used: what its server says, 60 seconds if it does not
// (https://distribution.github.io/distribution/spec/auth/token/), less what a request may be on its way. A layer sent with
// a token that is refused is sent for nothing.
func lifetime(t *transport.Token) time.Duration {
	d := time.Duration(cmp.Or(max(t.ExpiresIn, 0), 60)) * time.Second
	return d - min(d/10, 10*time.Second)
}

// tokenError says why there is no token, and nothing of what was sent and answered that may be one.
func (s *session) tokenError(err error) error {
	if strings.HasPrefix(err.Error(), "no token in bearer response") { // the library shows the answer, and what is in it
		return errors.New("token server: there is no token in its answer")
	}
	var te *transport.Error
	if errors.As(err, &te) {
		err = withoutSecrets(err, append(secretsIn(s.auth), secretsOf(te.Request)...)...)
		return &statusError{status: te.StatusCode, cause: fmt.Errorf("token server: %w", err), who: s.who()}
	}
	return fmt.Errorf("token server: %w", withoutSecrets(err, secretsIn(s.auth)...))
}
