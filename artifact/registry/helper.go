package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	program "github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
)

// helper is the program, docker-credential-NAME, that a docker configuration names for the credentials of all registries
// (credsStore in https://docs.docker.com/reference/cli/docker/login/#credential-stores). The containers libraries know
// only those for single registries (credHelpers).
type helper struct {
	run      program.ProgramFunc
	name     string
	file     string // that names it
	registry string // as helpers know it
}

// tokenUser is the user name under which helpers keep identity tokens.
const tokenUser = "<token>"

// helper returns the helper for a registry, or nil when the configuration names none.
func (r *Client) helper(registry string) (*helper, error) {
	file := r.loginFile()
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c struct {
		CredsStore  string            `json:"credsStore"`
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.CredsStore == "" || c.CredHelpers[registry] != "" {
		return nil, nil
	}
	if filepath.Base(c.CredsStore) != c.CredsStore {
		return nil, fmt.Errorf("%s: credsStore is %q: name a program docker-credential-NAME by its NAME", file, c.CredsStore)
	}
	h := &helper{name: "docker-credential-" + c.CredsStore, file: file, registry: registry}
	if registry == "docker.io" {
		h.registry = "https://index.docker.io/v1/" // docker's name for its hub
	}
	h.run = program.NewShellProgramFunc(h.name)
	return h, nil
}

// String names the helper for people.
func (h *helper) String() string { return h.name + ", which credsStore in " + h.file + " names" }

// fail says what the helper could not do.
func (h *helper) fail(doing string, err error) error {
	if _, lookErr := exec.LookPath(h.name); lookErr != nil {
		err = fmt.Errorf("%w: install it, or take credsStore out of the file", lookErr)
	}
	return fmt.Errorf("%s %s: %w", doing, h, err)
}

func (h *helper) store(user, secret string) error {
	err := program.Store(h.run, &credentials.Credentials{ServerURL: h.registry, Username: user, Secret: secret})
	if err != nil {
		return h.fail("store in", err)
	}
	return nil
}

// fromHelper returns what docker's helper for all registries keeps for one of them, if there is such a helper.
func (r *Client) fromHelper(registry string) (authn.AuthConfig, string, error) {
	h, err := r.helper(registry)
	if h == nil || err != nil {
		return authn.AuthConfig{}, r.o.AuthFile, err
	}
	c, err := program.Get(h.run, h.registry)
	if credentials.IsErrCredentialsNotFound(err) {
		return authn.AuthConfig{}, h.String(), nil
	}
	if err != nil {
		return authn.AuthConfig{}, "", h.fail("ask", err)
	}
	if c.Username == tokenUser {
		return authn.AuthConfig{IdentityToken: c.Secret}, h.String(), nil
	}
	return authn.AuthConfig{Username: c.Username, Password: c.Secret}, h.String(), nil
}

// erase makes docker's helper for all registries, if there is one, forget a registry, and reports whether it knew it.
func (r *Client) erase(registry string) (bool, error) {
	h, err := r.helper(registry)
	if h == nil || err != nil {
		return false, err
	}
	if _, err := program.Get(h.run, h.registry); credentials.IsErrCredentialsNotFound(err) {
		return false, nil
	}
	if err := program.Erase(h.run, h.registry); err != nil {
		return false, h.fail("erase in", err)
	}
	return true, nil
}
