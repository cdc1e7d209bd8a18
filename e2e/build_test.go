//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// design is one of the Kubefiles from which sealrt was designed, with files
// that stand in for those that its author would have.
type design struct {
	name, text string
	files      map[string]string // LIST is the image list
	args       []string          // of build
	distro     string
	version    string
	want       []string // of the tree, without images/
}

// installer is what get.k3s.io serves here: where the real one installs, it
// writes.
const installer = `set -e
printf 'k3s %s' "$INSTALL_K3S_VERSION" > "$INSTALL_K3S_BIN_DIR/k3s"
chmod 755 "$INSTALL_K3S_BIN_DIR/k3s"
ln -s k3s "$INSTALL_K3S_BIN_DIR/kubectl"
echo '[Unit]' > "$INSTALL_K3S_SYSTEMD_DIR/k3s.service"
[ "$INSTALL_K3S_SKIP_START" = true ]
`

func designs(addHost, caFile string) []design {
	rootfs := map[string]string{
		"imageList": "LIST", "bin/k3s": "k3s", "etc/k3s/k3s.yaml": "a: b\n", "etc/node/password": "x\n", "k3s-install.sh": "#!/bin/sh\n",
		"README.md": "k3s\n", "Metadata": `{"distro":"k3s","version":"v1.25.3","arch":"x86_64"}`,
	}
	return []design{
		{"k3s offline", "FROM scratch\nCOPY imageList manifests\nCOPY . .\n", rootfs, nil, "k3s", "v1.25.3",
			[]string{"Kubefile", "Metadata", "README.md", "bin/k3s", "etc/k3s/k3s.yaml", "etc/node/password", "imageList", "k3s-install.sh", "manifests/imageList"}},
		{"k3s online", "FROM scratch\nCOPY imageList manifests\nRUN curl -sfL https://get.k3s.io | INSTALL_K3S_VERSION=v1.25.3 sh -\nCOPY . .\n",
			map[string]string{"imageList": "LIST", "README.md": "k3s\n"},
			[]string{"--add-host", addHost, "--ca-file", caFile}, "k3s", "",
			[]string{"Kubefile", "Metadata", "README.md", "bin/k3s", "bin/kubectl", "etc/k3s.service", "imageList", "manifests/imageList"}},
		{"k0s", "COPY rootfs/* .\nCOPY ${ARCH} .\nCOPY ImageList manifests\nBASE rootfs cache\n",
			map[string]string{"ImageList": "LIST", "rootfs/bin/k0s": "k0s", "rootfs/etc/k0s.yaml": "a: b\n", "rootfs/README.md": "k0s\n",
				runtime.GOARCH + "/lib/x.so": "x", "other/lib/y.so": "y"},
			nil, "k0s", "",
			[]string{"Metadata", "README.md", "bin/k0s", "etc/k0s.yaml", "lib/x.so", "manifests/ImageList"}},
		{"kubernetes", "FROM scratch\nCOPY . .\nCOPY imageList manifests\n", map[string]string{"imageList": "LIST", "bin/kubeadm": "kubeadm"}, nil, "kubernetes", "",
			[]string{"Kubefile", "Metadata", "bin/kubeadm", "imageList", "manifests/imageList"}},
	}
}

// TestDesignsBuildWithTheProgram builds the designs' Kubefiles as a user types
// it, with container images that come from a real registry.
func TestDesignsBuildWithTheProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: RUN's web server listens on port 443")
	}
	w := newBench(t)
	addHost, caFile := serveInstaller(t, w.dir)
	var list strings.Builder
	upstream := map[string]bool{}
	for i, name := range []string{"pause:3.9", "coredns:v1.9.1"} {
		digest := w.containerImage(t, w.registry+"/"+name, (i+1)*3<<20/2)
		fmt.Fprintf(&list, "# %s\n%s/%s\n", name, w.registry, name)
		upstream[digest] = true
	}
	for _, d := range designs(addHost, caFile) {
		t.Run(d.name, func(t *testing.T) {
			context := t.TempDir()
			writeFile(t, filepath.Join(context, "Kubefile"), d.text)
			for name, content := range d.files {
				writeFile(t, filepath.Join(context, name), strings.ReplaceAll(content, "LIST", list.String()))
			}
			image := "designs/" + strings.ReplaceAll(d.name, " ", "-") + ":v1"
			build := append([]string{"build", "-t", image, context}, d.args...)
			w.sealrt(t, "store", append(build, "--check")...)
			digest := w.sealrt(t, "store", build...)
			if again := w.sealrt(t, "other", append(build, "--jobs", "1", "-q")...); again != digest {
				t.Errorf("in another store the digest is %s, not %s", again, digest)
			}
			tree := filepath.Join(t.TempDir(), "tree")
			w.sealrt(t, "store", "unpack", image, tree)
			if diff := cmp.Diff(d.want, namesIn(t, tree)); diff != "" {
				t.Errorf("tree: %s", diff)
			}
			checkLabels(t, w.sealrt(t, "store", "inspect", "-o", "json", image), tree, d)
			if diff := cmp.Diff(upstream, checkLayout(t, filepath.Join(tree, "images"))); diff != "" {
				t.Errorf("container images, by digest: %s", diff)
			}
		})
	}
	t.Run("FROM an image of the store", func(t *testing.T) { w.buildOver(t, list.String()) })
}

// buildOver adds a container image to a cluster image: what the base has is
// not added again.
func (w *bench) buildOver(t *testing.T, list string) {
	w.containerImage(t, w.registry+"/metrics:1", 2<<20)
	context := t.TempDir()
	writeFile(t, filepath.Join(context, "Kubefile"), "ARG BASE=v1\nFROM designs/k3s-offline:$BASE\nCOPY imageList manifests\n")
	writeFile(t, filepath.Join(context, "imageList"), list+w.registry+"/metrics:1\n")
	w.sealrt(t, "store", "build", "-t", "designs/more:v1", context)
	base, more := w.layers(t, "designs/k3s-offline:v1"), w.layers(t, "designs/more:v1")
	if diff := cmp.Diff(base, more[:len(base)]); diff != "" {
		t.Fatalf("layers of the base: %s", diff)
	}
	added := int64(0)
	for _, l := range more[len(base):] {
		added += l.Size
	}
	if added < 2<<20 || added > 5<<19 {
		t.Errorf("an image of 2 MiB added %d bytes", added)
	}
	tree := filepath.Join(t.TempDir(), "tree")
	w.sealrt(t, "store", "unpack", "designs/more:v1", tree)
	if n := len(checkLayout(t, filepath.Join(tree, "images"))); n != 3 {
		t.Errorf("%d container images, want 3", n)
	}
}

type layerSize struct {
	Digest string
	Size   int64
}

func (w *bench) layers(t *testing.T, image string) []layerSize {
	t.Helper()
	return inspected(t, w.sealrt(t, "store", "inspect", "-o", "json", image)).Layers
}

type inspection struct {
	Type, Distro, Version, ImagesDigest string
	Labels                              map[string]string
	Layers                              []layerSize
}

func inspected(t *testing.T, text string) inspection {
	t.Helper()
	var found struct{ Platforms []inspection }
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found.Platforms) != 1 {
		t.Fatalf("inspect: %v: %s", err, text)
	}
	return found.Platforms[0]
}

// containerImage builds and pushes an image of one random file, and returns
// its digest.
func (w *bench) containerImage(t *testing.T, name string, size int) string {
	t.Helper()
	context := t.TempDir()
	content := make([]byte, size)
	rand.Read(content)
	writeFile(t, filepath.Join(context, "app"), string(content))
	writeFile(t, filepath.Join(context, "Kubefile"), "FROM scratch\nCOPY app /\nCMD [\"/app\"]\nBASE none\n")
	return strings.TrimSpace(w.sealrt(t, "containers", "build", "-q", "-t", name, "--push", context))
}

// namesIn lists the files below dir, those in images/ left out.
func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, p)
		if name == "images" {
			return fs.SkipDir
		}
		if err == nil && !e.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func checkLabels(t *testing.T, text, tree string, d design) {
	t.Helper()
	got := inspected(t, text)
	index, err := os.ReadFile(filepath.Join(tree, "images", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"io.sealrt.type": "rootfs", "io.sealrt.format": "1", "io.sealrt.distro": d.distro,
		"io.sealrt.images.digest": fmt.Sprintf("sha256:%x", sha256.Sum256(index)),
	}
	if d.version != "" {
		want["io.sealrt.distro.version"] = d.version
	}
	if diff := cmp.Diff(want, got.Labels); diff != "" {
		t.Errorf("labels: %s", diff)
	}
	var meta struct{ Distro, Version, Arch string }
	raw, err := os.ReadFile(filepath.Join(tree, "Metadata"))
	if err == nil {
		err = json.Unmarshal(raw, &meta)
	}
	if err != nil || meta.Distro != d.distro || meta.Version != d.version || meta.Arch == "" {
		t.Errorf("Metadata %q: %v", raw, err)
	}
}

// checkLayout follows an OCI layout from its index to every blob, and returns
// the digests of the images that it names.
func checkLayout(t *testing.T, dir string) map[string]bool {
	t.Helper()
	type descriptor struct {
		Digest      string
		Size        int
		Annotations map[string]string
	}
	read := func(d descriptor) []byte {
		blob, err := os.ReadFile(filepath.Join(dir, "blobs", strings.Replace(d.Digest, ":", "/", 1)))
		if err != nil {
			t.Fatal(err)
		}
		if len(blob) != d.Size || fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) != d.Digest {
			t.Errorf("blob %s is not what its name says", d.Digest)
		}
		return blob
	}
	var index struct{ Manifests []descriptor }
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range index.Manifests {
		found[m.Digest] = true
		if m.Annotations["io.containerd.image.name"] == "" {
			t.Errorf("%s has no name", m.Digest)
		}
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		if err := json.Unmarshal(read(m), &manifest); err != nil {
			t.Fatal(err)
		}
		for _, d := range append(manifest.Layers, manifest.Config) {
			read(d)
		}
	}
	return found
}

// serveInstaller serves https://get.k3s.io on an address of loopback.
func serveInstaller(t *testing.T, dir string) (addHost, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "get.k3s.io"}, DNSNames: []string{"get.k3s.io"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(dir, "ca.pem")
	writeFile(t, caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	l, err := net.Listen("tcp", "127.0.0.77:443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, installer) }),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
	}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return "get.k3s.io:127.0.0.77", caFile
}
