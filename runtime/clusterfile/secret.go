package clusterfile

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Where a secret is, as the document says it.
const (
	fromPrompt = "prompt"
	fromEnv    = "env:"
	fromFile   = "file:"
)

// Secrets answer the references to secrets. A nil function is a place that
// cannot be asked.
type Secrets struct {
	Getenv   func(name string) string
	ReadFile func(name string) ([]byte, error)
	Prompt   func(what string) (string, error)
}

// IsReference reports whether a text says where a secret is: env:NAME or
// file:PATH.
func IsReference(s string) bool {
	return strings.HasPrefix(s, fromEnv) || strings.HasPrefix(s, fromFile)
}

// Reveal returns the secret that a reference names: prompt, env:NAME, or
// file:PATH, of which a line end at the end does not count. One that is not
// there is an error. What names the secret in errors and questions.
func (s Secrets) Reveal(what, reference string) (string, error) {
	kind, rest, _ := strings.Cut(reference, ":")
	switch {
	case reference == fromPrompt && s.Prompt != nil:
		return s.Prompt(what)
	case kind == "env" && s.Getenv != nil:
		if value := s.Getenv(rest); value != "" {
			return value, nil
		}
		return "", fmt.Errorf("%s: the variable %s is not set: set it, or name another place", what, rest)
	case kind == "file" && s.ReadFile != nil:
		raw, err := s.ReadFile(rest)
		if err != nil {
			return "", fmt.Errorf("%s: %w: secrets are kept nowhere: put the file there, or name another place", what, err)
		}
		return strings.TrimRight(string(raw), "\r\n"), nil
	}
	return "", fmt.Errorf("%s: nothing can be asked for it here: name a place with env:NAME or file:PATH", what)
}

// CheckSetting refuses the value of a setting that looks like a secret: what is
// kept of a cluster names secrets by where they are. The error does not repeat it.
func CheckSetting(name, value string) error {
	if inClear(secretEnv, name, value) {
		return errClear
	}
	return nil
}

// checkSecret refuses what does not say where a secret is. It does not repeat
// it: it may be the secret.
func checkSecret(s string) error {
	name, isEnv := strings.CutPrefix(s, fromEnv)
	file, isFile := strings.CutPrefix(s, fromFile)
	switch {
	case s == fromPrompt, isFile && file != "", isEnv && checkEnv(name) == nil:
		return nil
	}
	return quiet{errors.New("a secret does not stand here itself: write where it is, prompt, env:NAME or file:PATH")}
}

// quiet is an error of a value that must not be repeated.
type quiet struct{ error }

// errClear says that a value looks like a secret.
var errClear = quiet{errors.New("this looks like a secret, which must not stand here itself: write where it is, env:NAME or file:PATH")}

// The ends of names whose values are secrets, in settings and in
// configurations. Names of Kubernetes objects and of files are not: secretName,
// token-file.
var (
	secretEnv = regexp.MustCompile(`(?i)(^|_)(pass|password|passwd|passphrase|secret|secret_?key|access_?key|token|api_?key|private_?key|credentials?)$`)
	secretKey = regexp.MustCompile(`(?i)(password|passwd|passphrase|token|api[-_]?key|private[-_]?key|secret[-_]?key|certificatekey|clientsecret)$`)
	privatePE = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)
	urlWithIn = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#]*:[^\s/?#]+@\S+`)
)

// inClear reports whether a value looks like a secret, of itself or by the name
// that it has. A reference does not, nor does a path or a template.
func inClear(names *regexp.Regexp, name, value string) bool {
	if privatePE.MatchString(value) {
		return true
	}
	if found := urlWithIn.FindString(value); found != "" && !strings.Contains(found, "{{") {
		u, err := url.Parse(found)
		if err != nil || u.User != nil {
			return true
		}
	}
	if !names.MatchString(name) || value == "" || IsReference(value) {
		return false
	}
	return !strings.HasPrefix(value, "/") && !strings.Contains(value, "{{")
}
