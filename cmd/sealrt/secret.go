package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret is how many bytes a secret may have, as in BuildKit.
const maxSecret = 500 << 10

// secretUsage is said of a --secret that cannot be read. What was written is not repeated: it may be the secret.
const secretUsage = "--secret: write id=ID,src=FILE or id=ID,env=NAME"

// parseSecrets reads --secret, in the syntax of docker buildx build.
// See https://docs.docker.com/reference/cli/docker/buildx/build/#secret.
func parseSecrets(list []string, getenv func(string) string) (map[string][]byte, error) {
	secrets := map[string][]byte{}
	for _, text := range list {
		s, err := parseSecret(text)
		if err != nil {
			return nil, usageError{err}
		}
		if _, twice := secrets[s.id]; twice {
			return nil, usageError{fmt.Errorf("--secret id=%s is given twice", s.id)}
		}
		if secrets[s.id], err = s.read(getenv); err != nil {
			return nil, fmt.Errorf("--secret id=%s: %w", s.id, err)
		}
	}
	return secrets, nil
}

// secret says where a secret comes from.
type secret struct{ id, kind, src, env string }

func parseSecret(text string) (s secret, err error) {
	fields := map[string]*string{"id": &s.id, "type": &s.kind, "src": &s.src, "source": &s.src, "env": &s.env}
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return s, errors.New(secretUsage)
		}
		into := fields[strings.ToLower(key)]
		if into == nil {
			return s, fmt.Errorf("%s; %q is no part of that", secretUsage, key)
		}
		*into = value
	}
	if s.kind == "env" && s.env == "" {
		s.env, s.src = s.src, ""
	}
	switch {
	case s.id == "":
		return s, errors.New(secretUsage)
	case s.kind != "" && s.kind != "file" && s.kind != "env":
		return s, fmt.Errorf("--secret id=%s: the type is file or env", s.id)
	case s.src != "" && s.env != "":
		return s, fmt.Errorf("--secret id=%s: it comes from a file, src=, or a variable, env=, not both", s.id)
	}
	return s, nil
}

// read returns the content. A secret with nothing but an id is the variable of that name, or else the file.
func (s secret) read(getenv func(string) string) ([]byte, error) {
	if s.src == "" && s.env == "" {
		if s.kind != "file" && getenv(s.id) != "" || s.kind == "env" {
			s.env = s.id
		} else {
			s.src = s.id
		}
	}
	if s.env == "" {
		return readSecret(s.src)
	}
	value := getenv(s.env)
	switch {
	case value == "":
		return nil, fmt.Errorf("the variable %s is not set", s.env)
	case len(value) > maxSecret:
		return nil, tooLarge("the variable " + s.env)
	}
	return []byte(value), nil
}

func readSecret(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSecret {
		return nil, tooLarge(name)
	}
	return content, nil
}

func tooLarge(what string) error {
	return fmt.Errorf("%s is larger than the %s that a secret may have: RUN --mount=type=bind shows large files", what, sizeText(maxSecret))
}
