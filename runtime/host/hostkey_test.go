package host_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestUnknownMachineIsRefusedWithBothWaysOut(t *testing.T) {
	_, key := newKey(t)
	s := serve(t, hosttest.ServerOptions{HostKeys: []ssh.Signer{key}}, func(o *host.SSHOptions) { o.KnownHosts = []string{"/no/such/file"} })
	_, err := host.Dial(t.Context(), s.o)
	if err == nil {
		t.Fatal("let in")
	}
	for _, want := range []string{ssh.FingerprintSHA256(key.PublicKey()), fmt.Sprintf("`ssh -p %d 127.0.0.1`", s.server.Port()), "ssh-keyscan", "--accept-new-host-key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
	if users := s.server.Users(); len(users) != 0 || len(s.server.Tried()) != 0 {
		t.Errorf("keys were shown to a machine that nobody knows: %v", s.server.Tried())
	}
}

func TestNewMachineIsAcceptedOnceAndThenKnown(t *testing.T) {
	accept := t.TempDir() + "/cluster/known_hosts"
	s := connected(t, hosttest.ServerOptions{}, func(o *host.SSHOptions) { o.KnownHosts, o.AcceptNew = []string{}, accept })
	for range 2 {
		h, err := host.Dial(t.Context(), s.o)
		if err != nil {
			t.Fatal(err)
		}
		_ = h.Close()
	}
	content, err := os.ReadFile(accept)
	if err != nil || string(content) != s.server.KnownHosts() {
		t.Errorf("got %q %v, want %q", content, err, s.server.KnownHosts())
	}
}

func TestChangedKeyIsNeverAccepted(t *testing.T) {
	_, old := newKey(t)
	for _, accept := range []bool{false, true} {
		var file string
		s := serve(t, hosttest.ServerOptions{}, nil)
		file = writeFile(t, "known hosts", "# mine\n"+knownhosts.Line([]string{fmt.Sprintf("127.0.0.1:%d", s.server.Port())}, old.PublicKey())+"\n")
		s.o.KnownHosts = []string{file}
		if accept {
			s.o.KnownHosts, s.o.AcceptNew = []string{}, file
		}
		_, err := host.Dial(t.Context(), s.o)
		if err == nil {
			t.Fatal("let in")
		}
		for _, want := range []string{"has changed", file + ":2", fmt.Sprintf("ssh-keygen -f '%s' -R '[127.0.0.1]:%d'", file, s.server.Port()), ssh.FingerprintSHA256(old.PublicKey())} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("accept %t: got %q, want %q in it", accept, err, want)
			}
		}
		if len(s.server.Tried()) != 0 {
			t.Errorf("keys were shown to a machine that changed: %v", s.server.Tried())
		}
	}
}

func TestMachineIsKnownByTheOneKeyThatIsOnFile(t *testing.T) {
	_, first := newKey(t)
	second := newECDSA(t)
	for _, onFile := range []ssh.Signer{first, second} {
		for _, hashed := range []bool{false, true} {
			s := serve(t, hosttest.ServerOptions{HostKeys: []ssh.Signer{first, second}}, nil)
			address := fmt.Sprintf("127.0.0.1:%d", s.server.Port())
			line := knownhosts.Line([]string{address}, onFile.PublicKey())
			if hashed {
				line = knownhosts.HashHostname(knownhosts.Normalize(address)) + line[strings.IndexByte(line, ' '):]
			}
			s.o.KnownHosts = []string{writeFile(t, "known_hosts", line+"\n")}
			h, err := host.Dial(t.Context(), s.o)
			if err != nil {
				t.Errorf("%s, hashed %t: %v", onFile.PublicKey().Type(), hashed, err)
				continue
			}
			_ = h.Close()
		}
	}
}

func TestMachineIsKnownByItsAuthority(t *testing.T) {
	_, authority := newKey(t)
	_, plain := newKey(t)
	cert := &ssh.Certificate{Key: plain.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(zeros{}, authority); err != nil {
		t.Fatal(err)
	}
	certified, err := ssh.NewCertSigner(cert, plain)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, hosttest.ServerOptions{HostKeys: []ssh.Signer{plain, certified}}, nil)
	line := knownhosts.Line([]string{fmt.Sprintf("127.0.0.1:%d", s.server.Port())}, authority.PublicKey())
	s.o.KnownHosts = []string{writeFile(t, "known_hosts", "@cert-authority "+line+"\n")}
	h, err := host.Dial(t.Context(), s.o)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	s = serve(t, hosttest.ServerOptions{HostKeys: []ssh.Signer{plain}}, nil)
	line = knownhosts.Line([]string{fmt.Sprintf("127.0.0.1:%d", s.server.Port())}, authority.PublicKey())
	s.o.KnownHosts = []string{writeFile(t, "known_hosts", "@cert-authority "+line+"\n")}
	if _, err := host.Dial(t.Context(), s.o); err == nil || !strings.Contains(err.Error(), "the machine is not known") {
		t.Errorf("without a certificate: %v", err)
	}
}

// zeros is a source of no randomness, which a certificate's nonce does not need here.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBrokenKnownHostsIsNamedByLine(t *testing.T) {
	file := writeFile(t, "known_hosts", "# fine\nnonsense\n")
	s := serve(t, hosttest.ServerOptions{}, func(o *host.SSHOptions) { o.KnownHosts = []string{file} })
	_, err := host.Dial(t.Context(), s.o)
	if err == nil || !strings.Contains(err.Error(), file+":2") || !strings.Contains(err.Error(), "remove that line") {
		t.Errorf("got %v", err)
	}
}
