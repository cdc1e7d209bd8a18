package buildkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
)

func TestAddressesAreThoseOfBuildKitHost(t *testing.T) {
	for _, c := range []struct{ address, want string }{
		{"buildkit://unix:///run/buildkit/buildkitd.sock", "unix:///run/buildkit/buildkitd.sock"},
		{"unix:///tmp/b.sock", "unix:///tmp/b.sock"},
		{"buildkit://tcp://farm.example:1234", "tcp://farm.example:1234"},
		{"tcp://[::1]:1234", "tcp://[::1]:1234"},
		{"tcp://farm:1234/", "tcp://farm:1234"},
		{"buildkit://", defaultAddress},
	} {
		got, err := ParseAddress(c.address)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.address, got, err, c.want)
		}
	}
	for address, want := range map[string]string{
		"":                             `"" is no way to reach a daemon`,
		"farm":                         `"" is no way to reach a daemon`,
		"buildkit://farm:1234":         `"farm" is no way to reach a daemon`,
		"docker-container://x":         `"docker-container" is no way to reach a daemon`,
		"tcp://farm":                   "it has no host and port",
		"tcp://farm:":                  "it has no host and port",
		"unix:run/b.sock":              "the socket's path is not absolute",
		"tcp://:1234":                  "it has no host and port",
		"tcp://farm:1234/x":            "it has no host and port",
		"buildkit://unix://run/b.sock": "the socket's path is not absolute",
		"unix:///":                     "the socket's path is not absolute",
		"unix://%zz":                   "it is no URL",
	} {
		_, err := ParseAddress(address)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "write buildkit://unix:///run") {
			t.Errorf("%q: error %v, want %q", address, err, want)
		}
	}
}

func TestCertificatesBelongToTCP(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ca.pem", "cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca, cert := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem")
	for _, c := range []struct {
		name, address string
		tls           TLS
		options       int
		want          string // in the error
	}{
		{"none", "tcp://farm:1", TLS{}, 0, ""},
		{"none, unix", "unix:///s", TLS{}, 0, ""},
		{"server only", "tcp://farm:1", TLS{CA: ca}, 1, ""},
		{"directory", "tcp://farm:1", TLS{Dir: dir}, 2, ""},
		{"unix", "unix:///s", TLS{CA: ca}, 0, "certificates are for daemons at tcp://"},
		{"half", "tcp://farm:1", TLS{Cert: cert}, 0, "go together"},
		{"missing", "tcp://farm:1", TLS{CA: "/nowhere/ca.pem"}, 0, "/nowhere/ca.pem"},
		{"empty directory", "tcp://farm:1", TLS{Dir: t.TempDir()}, 0, "holds none of ca.pem"},
	} {
		got, err := c.tls.clientOptions(c.address)
		if len(got) != c.options || (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d options, %v, want %d and %q", c.name, len(got), err, c.options, c.want)
		}
	}
}

func TestNamedFilesWinOverTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := TLS{Dir: dir, CA: "mine.pem"}.filled()
	if err != nil || got.CA != "mine.pem" || got.Cert != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOpenSaysWhereNobodyAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	_, err := Open(t.Context(), "buildkit://unix://"+socket, Options{Store: newStore(t), Tools: artifact.Reference{}})
	if err == nil || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("error %v", err)
	}
}
