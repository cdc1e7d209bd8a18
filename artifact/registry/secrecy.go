package registry

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/sealrt/sealrt/artifact"
)

// discreet is an error whose text says nothing that only we and a registry know.
type discreet struct {
	err  error
	text string
}

// Error implements error.
func (d *discreet) Error() string { return d.text }

// Unwrap returns the error that says all.
func (d *discreet) Unwrap() error { return d.err }

// leastSecret is the length in bytes of what is looked for: a shorter one is in every other word.
const leastSecret = 4

// withoutSecrets returns err with a text that shows neither secrets, in any form that they are sent in, nor passwords
// and signatures in addresses. Servers repeat what they were told, and storage that they redirect to has its keys there.
func withoutSecrets(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	before := err.Error()
	after := before
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // one may be a part of another
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if len(form) >= leastSecret {
				after = strings.ReplaceAll(after, form, artifact.Hidden)
			}
		}
	}
	if after = artifact.DiscreetText(after); after == before {
		return err
	}
	return &discreet{err, after}
}

// secretsOf lists what a request shows to prove who sends it.
func secretsOf(req *http.Request) []string {
	if req == nil {
		return nil
	}
	var list []string
	if _, value, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok {
		list = append(list, value)
	}
	if user, secret, ok := req.BasicAuth(); ok {
		list = append(list, basicForms(user, secret)...)
	}
	if secret, ok := req.URL.User.Password(); ok {
		list = append(list, basicForms(req.URL.User.Username(), secret)...)
	}
	for key, values := range req.URL.Query() {
		if !artifact.IsPublicParameter(key) {
			list = append(list, values...)
		}
	}
	return list
}

// basicForms lists how a password is written (RFC 7617).
func basicForms(user, secret string) []string {
	return []string{secret, base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))}
}

// secrets lists what the registry must know and nobody else.
func (s *session) secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(secretsIn(s.auth), s.token)
}

func secretsIn(auth authn.AuthConfig) []string {
	return append(basicForms(auth.Username, auth.Password), auth.Auth, auth.IdentityToken, auth.RegistryToken)
}
