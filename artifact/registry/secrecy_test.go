package registry

import (
	"errors"
	"net/http"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestErrorsShowNoSecret(t *testing.T) {
	cause := errors.New("")
	for text, want := range map[string]string{
		"plain":                      "plain",
		"the password is s3cret/+":   "the password is ***",
		"escaped: s3cret%2F%2B.":     "escaped: ***.",
		`Get "https://u:p@h/x": EOF`: `Get "https://***@h/x": EOF`,
		"GET https://h/x?X-Sig=abc&scope=repository%3Aa&n=5: 403": "GET https://h/x?X-Sig=***&scope=repository%3Aa&n=5: 403",
		"basic dTpzM2NyZXQvKw==":                                  "basic ***",
	} {
		err := withoutSecrets(errors.Join(cause, errors.New(text)), append(basicForms("u", "s3cret/+"), "")...)
		if got := err.Error(); got != "\n"+want {
			t.Errorf("%q, want %q", got, want)
		}
		if !errors.Is(err, cause) {
			t.Errorf("%q lost its cause", text)
		}
	}
	if withoutSecrets(nil) != nil {
		t.Error("there is an error where there was none")
	}
}

func TestNamesShowNoPassword(t *testing.T) {
	digest := "sha256:" + artifacttest.DigestOf([]byte("x")).Hex
	for name, want := range map[string]string{
		"app:1": "app:1", "app@" + digest: "app@" + digest, "h:5/app:1@" + digest: "h:5/app:1@" + digest, "app:1@sha256:abc": "app:1@sha256:abc",
		"u:p@h/app:1": "***@h/app:1", "https://u:p/q@h/app": "https://***@h/app", "u:p@h:5000": "***@h:5000", "u@h": "u@h",
	} {
		if got := artifact.DiscreetName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	_, err := artifact.ParseReference("u:s3cret@h/app:1")
	artifacttest.WantError(t, err, `image reference "***@h/app:1": it has a user and a password, which `+"`sealrt login` stores")
}

func TestRequestsHoldSecrets(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://u:s3cret@h/x?sig=abcdef&scope=x", nil)
	artifacttest.Check(t, err)
	req.Header.Set("Authorization", "Bearer token")
	found := map[string]bool{}
	for _, s := range secretsOf(req) {
		found[s] = true
	}
	for _, s := range []string{"s3cret", "abcdef", "token"} {
		if !found[s] {
			t.Errorf("%s is not among %v", s, found)
		}
	}
	if found["x"] || secretsOf(nil) != nil {
		t.Error("what everybody may see is hidden")
	}
}
