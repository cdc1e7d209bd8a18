package jointoken_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/distros/k0s/jointoken"
)

// packed is a join token that holds a text.
func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

const kubeconfig = "apiVersion: v1\nkind: Config\nusers:\n- name: kubelet-bootstrap\n  user: {token: abcdef.0123456789abcdef}\n"

func TestIDIsOfTheBootstrapToken(t *testing.T) {
	id, err := jointoken.ID(packed(t, kubeconfig) + "\n")
	if err != nil || id != "abcdef" {
		t.Errorf("%q, %v", id, err)
	}
}

func TestWhatIsNoTokenIsRefusedAndNotShown(t *testing.T) {
	for name, c := range map[string]struct{ token, want string }{
		"no base64":     {"%", "illegal base64"},
		"no gzip":       {"AAAA", "unexpected EOF"},
		"no kubeconfig": {packed(t, "secret: [\n"), "no kubeconfig"},
		"no token":      {packed(t, "users: []\n"), "no bootstrap token"},
	} {
		_, err := jointoken.ID(c.token)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// program is one that notes how it was called and prints a text.
func program(t *testing.T, dir, prints string) string {
	t.Helper()
	path := filepath.Join(dir, "k0s")
	script := "#!/bin/sh\necho \"$@\" >>" + dir + "/calls\ncase $2 in create) echo " + prints + ";; esac\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokensThatWereMadeAreInvalidatedAndForgotten(t *testing.T) {
	dir := t.TempDir()
	k0s, granted := program(t, dir, packed(t, kubeconfig)), filepath.Join(dir, "k0s.d", "granted")
	if err := jointoken.Invalidate(t.Context(), k0s, granted); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"controller", "worker"} {
		if token, err := jointoken.Create(t.Context(), k0s, granted, role, "2h"); err != nil || token != packed(t, kubeconfig) {
			t.Fatalf("%q, %v", token, err)
		}
	}
	if info, err := os.Stat(granted); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the note: %v, %v", info, err)
	}
	for range 2 {
		if err := jointoken.Invalidate(t.Context(), k0s, granted); err != nil {
			t.Fatal(err)
		}
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	want := "token create --role=controller --expiry=2h\ntoken create --role=worker --expiry=2h\ntoken invalidate abcdef abcdef\n"
	if err != nil || string(calls) != want {
		t.Errorf("%q, %v", calls, err)
	}
}

func TestAProgramThatFailsIsQuotedAndTheNoteStays(t *testing.T) {
	dir := t.TempDir()
	k0s, granted := filepath.Join(dir, "k0s"), filepath.Join(dir, "granted")
	if err := os.WriteFile(k0s, []byte("#!/bin/sh\necho not running >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(granted, []byte("abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := jointoken.Invalidate(t.Context(), k0s, granted); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(granted); err != nil {
		t.Error(err)
	}
}
