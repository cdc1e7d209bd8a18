package builder

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
)

// installScript does to its machine what upstream's installer does, in the same places and by the same variables.
const installScript = `#!/bin/sh
set -e
BIN_DIR=${INSTALL_K3S_BIN_DIR:-/usr/local/bin}
SYSTEMD_DIR=${INSTALL_K3S_SYSTEMD_DIR:-/etc/systemd/system}
TMP=$(mktemp -d -t k3s-install.XXXXXXXXXX)
curl -o "$TMP/k3s" -sfL "https://get.k3s.io:@PORT@/download/$INSTALL_K3S_VERSION/k3s"
chmod 755 "$TMP/k3s"
mv -f "$TMP/k3s" "$BIN_DIR/k3s"
for cmd in kubectl crictl ctr; do
	[ -e "$BIN_DIR/$cmd" ] || ln -s k3s "$BIN_DIR/$cmd"
done
echo '[Unit]' > "$SYSTEMD_DIR/k3s.service"
echo 'export K3S=1' > /etc/sealrt-fake-profile
[ "$INSTALL_K3S_SKIP_ENABLE" = true ] && exit 0
systemctl enable k3s
`

// serveInstaller serves the script at https://get.k3s.io, on a loopback address, and returns what a build needs to
// reach it. The port is 443 if this user may have it.
func serveInstaller(t *testing.T) (addHost, port, caFile string) {
	t.Helper()
	cert, caFile := certificate(t, "get.k3s.io")
	ip := fmt.Sprintf("127.77.%d.%d", os.Getpid()>>8&255, os.Getpid()&255)
	l, err := net.Listen("tcp", ip+":443")
	if err != nil {
		if l, err = net.Listen("tcp", ip+":0"); err != nil {
			t.Skipf("no loopback address: %v", err)
		}
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.ReplaceAll(installScript, "@PORT@", port))
	})
	mux.HandleFunc("/download/{version}/k3s", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the k3s binary") })
	server := httptest.NewUnstartedServer(mux)
	server.Listener.Close()
	server.Listener = l
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return "get.k3s.io:" + ip, port, caFile
}

// certificate makes a certificate of its own authority, and the file that says to trust it.
func certificate(t *testing.T, name string) (cert tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

func TestTheOnlineKubefileOfTheDesignBuildsAsWritten(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	addHost, port, ca := serveInstaller(t)
	text := "FROM scratch\nCOPY imageList manifests\nRUN curl -sfL https://get.k3s.io | INSTALL_K3S_VERSION=v1.25.3 sh -\nCOPY . .\n"
	if port != "443" {
		t.Logf("port 443 is not free or not ours: the Kubefile names %s", port)
		text = strings.ReplaceAll(text, "get.k3s.io", "get.k3s.io:"+port)
	}
	o := runOptions(t, text, map[string]string{"imageList": "# none\n", "README.md": "r\n"})
	o.AddHosts, o.CAFile = []string{addHost}, ca
	var log bytes.Buffer
	output(&o, &log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the commands said:\n%s", &log)
		}
	})
	b := mustBuild(t, o)
	want := map[string]string{
		"Metadata": `{"distro":"k3s","arch":"` + runtime.GOARCH + `"}` + "\n", "README.md": "r\n", "imageList": "# none\n",
		"manifests/": "", "manifests/imageList": "# none\n",
		"bin/": "", "bin/k3s": "the k3s binary", "bin/kubectl": "-> k3s", "bin/crictl": "-> k3s", "bin/ctr": "-> k3s",
		"etc/": "", "etc/k3s.service": "[Unit]\n",
	}
	if diff := cmp.Diff(want, b.files(t)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"/usr/local/bin/k3s", "/etc/systemd/system/k3s.service", "/etc/sealrt-fake-profile"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("the builder's machine has %s now", name)
		}
	}
	if got := b.config.Config.Labels[artifact.LabelDistro]; got != "k3s" {
		t.Errorf("distro %q", got)
	}
}
