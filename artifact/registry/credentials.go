package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"

	"github.com/sealrt/sealrt/artifact"
)

// credentials returns what is stored for a repository, and where it is or was looked for, for people. Nothing stored is
// no error. What a file says of one registry goes before docker's helper for all of them.
func (r *Client) credentials(domain, path string) (authn.AuthConfig, string, error) {
	key := domain
	if path != "" {
		key += "/" + path
	}
	found, err := config.GetCredentials(r.system(), key)
	if err != nil {
		return authn.AuthConfig{}, "", fmt.Errorf("credentials for %s: %w", domain, err)
	}
	if found == (types.DockerAuthConfig{}) {
		return r.fromHelper(domain)
	}
	auth := authn.AuthConfig{Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken}
	return auth, r.credentialSource(key, found), nil
}

// credentialSource says where credentials lie: the library does not, so the files that we know are asked again.
func (r *Client) credentialSource(key string, found types.DockerAuthConfig) string {
	for _, file := range []string{r.o.AuthFile, r.o.DockerConfig} {
		if file == "" {
			continue
		}
		sys := r.system()
		sys.AuthFilePath = file
		if c, err := config.GetCredentials(sys, key); err == nil && c == found {
			return file
		}
	}
	return "the user's containers or docker configuration"
}

// Keychain returns the credentials that r uses, for libraries that speak to registries themselves.
func (r *Client) Keychain() authn.Keychain { return keychain{r} }

type keychain struct{ r *Client }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	auth, _, err := k.r.credentials(target.RegistryStr(), "")
	if err != nil || auth == (authn.AuthConfig{}) {
		return authn.Anonymous, err
	}
	return authn.FromConfig(auth), nil
}

// Login verifies user and secret with the registry (host, host:port or its URL) and then stores them, in AuthFile or
// else in DockerConfig, mode 0600, keeping what else the file holds; where that file names a helper for all registries
// (credsStore), it is the helper that keeps them. Login returns a description of where that was. Credentials that the
// registry refuses are an error wrapping ErrUnauthorized, and nothing is written.
func (r *Client) Login(ctx context.Context, registry, user, secret string) (string, error) {
	if user == "" || secret == "" {
		return "", errors.New("log in: user and password must be given")
	}
	registry, err := registryName(registry)
	if err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	if err := r.verifyLogin(ctx, registry, authn.AuthConfig{Username: user, Password: secret}); err != nil {
		return "", fmt.Errorf("log in to %s: %w", registry, err)
	}
	where, err := r.keep(registry, user, secret)
	if err != nil {
		return "", fmt.Errorf("log in to %s: store the credentials: %w", registry, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.sessions)
	return where, nil
}

// keep stores credentials and says where.
func (r *Client) keep(registry, user, secret string) (string, error) {
	h, err := r.helper(registry)
	if err != nil {
		return "", err
	}
	if h != nil {
		return h.String(), h.store(user, secret)
	}
	return config.SetCredentials(r.writable(), registry, user, secret)
}

// registryName reads what a user may call a registry: host, host:port, or the URL that docker knows one by.
func registryName(s string) (string, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	name = strings.TrimSuffix(name, "/")
	name = strings.TrimSuffix(strings.TrimSuffix(name, "/v1"), "/v2")
	if name == "" || strings.ContainsAny(name, "/@? ") {
		return "", fmt.Errorf("%q is not the name of a registry: write it without a repository, like registry.example.com or 10.0.0.1:5000", artifact.DiscreetName(s))
	}
	if name == "index.docker.io" || name == dockerHub {
		name = "docker.io"
	}
	return name, nil
}

func (r *Client) verifyLogin(ctx context.Context, registry string, auth authn.AuthConfig) error {
	e, err := r.endpoint(ctx, location{domain: registry})
	if err != nil {
		return err
	}
	s := &session{e: e, auth: auth, source: "the command line"}
	c := &repository{r: r, l: location{domain: registry}, s: s, hc: &http.Client{Transport: s}}
	resp, err := c.repeat(ctx, func() (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, e.url("/v2/"), nil)
	}, []int{http.StatusOK})
	if err != nil {
		return c.wrap(err)
	}
	return resp.Body.Close()
}

// Logout removes what is stored for registry. It returns an error wrapping ErrNotFound when there is nothing.
func (r *Client) Logout(ctx context.Context, registry string) error {
	registry, err := registryName(registry)
	if err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	erased, err := r.erase(registry)
	if err != nil {
		return fmt.Errorf("log out of %s: %w", registry, err)
	}
	err = config.RemoveAuthentication(r.writable(), registry)
	if errors.Is(err, config.ErrNotLoggedIn) {
		if err = nil; !erased {
			err = fmt.Errorf("credentials in %s: %w", r.loginFile(), artifact.ErrNotFound)
		}
	}
	if err != nil {
		return fmt.Errorf("log out of %s: %w", registry, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.sessions)
	return nil
}

// writable makes the library edit one file in docker's format, which it does without losing what it does not know.
func (r *Client) writable() *types.SystemContext {
	sys := r.system()
	if file := r.loginFile(); file != "" {
		sys.AuthFilePath, sys.DockerCompatAuthFilePath = "", file
	}
	return sys
}

// loginFile returns the one file that Login and Logout edit, "" for the library's choice.
func (r *Client) loginFile() string {
	if r.o.AuthFile != "" {
		return r.o.AuthFile
	}
	return r.o.DockerConfig
}
