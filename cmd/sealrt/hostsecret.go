package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// secretReferences finds the passwords that a Clusterfile names by where they
// are: "prompt", "env:NAME" or "file:PATH". Each is looked for when a host asks
// for it, and once, whatever the number of hosts.
type secretReferences struct {
	env   *environment
	mu    sync.Mutex
	found map[string]func() (string, error)
}

// secret returns who answers when a host asks for a password: what flags gave,
// or else what the Clusterfile's field refers to; nil where neither says
// anything.
func (d *dialer) secret(flag func() (string, error), field, reference, prompt string) (func() (string, error), error) {
	if flag != nil || reference == "" {
		return flag, nil
	}
	return d.secrets.of(field, reference, prompt)
}

func (s *secretReferences) of(field, reference, prompt string) (func() (string, error), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := reference
	if reference == "prompt" {
		key = prompt
	}
	if f := s.found[key]; f != nil {
		return f, nil
	}
	var look func() (string, error)
	kind, where, _ := strings.Cut(reference, ":")
	switch {
	case reference == "prompt":
		look = func() (string, error) { return s.env.asked(prompt) }
	case kind == "env" && where != "":
		look = func() (string, error) { return s.variable(field, where) }
	case kind == "file" && where != "":
		look = func() (string, error) { return s.file(field, where) }
	default:
		// it may be the password itself: it is not repeated
		return nil, usageError{fmt.Errorf("%s is no reference to a password: write prompt, env:NAME or file:PATH", field)}
	}
	if s.found == nil {
		s.found = map[string]func() (string, error){}
	}
	s.found[key] = sync.OnceValues(look)
	return s.found[key], nil
}

func (s *secretReferences) variable(field, name string) (string, error) {
	value := s.env.getenv(name)
	if value == "" {
		return "", fmt.Errorf("%s: the environment variable %s is not set", field, name)
	}
	return value, nil
}

// file returns the first line of a file, which is the user's alone.
func (s *secretReferences) file(field, name string) (string, error) {
	name = s.env.homely(name)
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: %s can be read by others: chmod 600 it", field, name)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s: %s is empty", field, name)
	}
	return line, nil
}

// homely returns the path that a Clusterfile names, where ~ is the user's home.
func (e *environment) homely(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		return filepath.Join(e.home, rest)
	}
	return name
}
