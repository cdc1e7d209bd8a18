// Package jointoken makes tokens that hosts join a k0s cluster with, and keeps
// their IDs, by which they are invalidated when they were used. k0s prints a
// token and does not say its ID, which it invalidates tokens by.
package jointoken

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxSize is many times what a token unpacks to.
const maxSize = 1 << 20

// ID returns the ID of a join token: a token is a kubeconfig, compressed by gzip
// and written in base64, whose user has a bootstrap token of Kubernetes,
// ID.SECRET (https://docs.k0sproject.io/stable/k0s-multi-node, "About join
// tokens"; https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
func ID(token string) (string, error) {
	packed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxSize))
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	var config struct {
		Users []struct {
			User struct {
				Token string `json:"token"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return "", errors.New("join token: it holds no kubeconfig") // the cause would show a part of it
	}
	for _, u := range config.Users {
		if id, _, ok := strings.Cut(u.User.Token, "."); ok && id != "" {
			return id, nil
		}
	}
	return "", errors.New("join token: its kubeconfig has no bootstrap token")
}

// Create has k0s make a token for a role, which lives as long as expiry says,
// and returns it. Its ID is added to the file granted.
func Create(ctx context.Context, k0s, granted, role, expiry string) (string, error) {
	token, err := run(ctx, k0s, "token", "create", "--role="+role, "--expiry="+expiry)
	if err != nil {
		return "", err
	}
	id, err := ID(token)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(granted), 0o700); err != nil {
		return "", fmt.Errorf("note the token: %w", err)
	}
	f, err := os.OpenFile(granted, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return "", fmt.Errorf("note the token: %w", err)
	}
	_, err = f.WriteString(id + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("note the token: %w", err)
	}
	return strings.TrimSpace(token), nil
}

// Invalidate has k0s invalidate the tokens whose IDs are in the file, and removes
// the file. Where there is none, nothing is done; a token that is gone already is
// no error.
func Invalidate(ctx context.Context, k0s, granted string) error {
	raw, err := os.ReadFile(granted)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("invalidate tokens: %w", err)
	}
	if ids := strings.Fields(string(raw)); len(ids) > 0 {
		if _, err := run(ctx, k0s, append([]string{"token", "invalidate"}, ids...)...); err != nil {
			return err
		}
	}
	if err := os.Remove(granted); err != nil {
		return fmt.Errorf("invalidate tokens: %w", err)
	}
	return nil
}

// run returns what the program prints; its error says what it complained of.
func run(ctx context.Context, program string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	c := exec.CommandContext(ctx, program, args...)
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args[:2], " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}
