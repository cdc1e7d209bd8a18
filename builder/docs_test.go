package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/builder/sandbox"
	"github.com/sealrt/sealrt/kubefile"
)

// docBlock is a fenced block of docs/kubefile.md.
type docBlock struct {
	line       int // of the file, where the text begins
	info, text string
}

// readDocs returns the fenced blocks of the reference, in their order.
func readDocs(t *testing.T) []docBlock {
	t.Helper()
	data, err := os.ReadFile("../docs/kubefile.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []docBlock
	for _, m := range regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$").FindAllSubmatchIndex(data, -1) {
		blocks = append(blocks, docBlock{
			line: 1 + bytes.Count(data[:m[4]], []byte("\n")), info: string(data[m[2]:m[3]]), text: string(data[m[4]:m[5]]),
		})
	}
	return blocks
}

// TestDocumentationBuilds builds every Kubefile of docs/kubefile.md. A tree block after one lists the files of the image
// that are not in images/; a Kubefile that is marked as a mistake has an error block, and fails with just that. There
// are no other blocks.
func TestDocumentationBuilds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("RUN needs Linux")
	}
	images := docImages(t)
	blocks := readDocs(t)
	built, refused := 0, 0
	for n, b := range blocks {
		next := docBlock{}
		if n+1 < len(blocks) {
			next = blocks[n+1]
		}
		switch b.info {
		case "Kubefile":
			built++
			t.Run(fmt.Sprint("line ", b.line), func(t *testing.T) { buildDoc(t, b.text, next, images) })
		case "Kubefile mistake":
			refused++
			t.Run(fmt.Sprint("line ", b.line), func(t *testing.T) { refuseDoc(t, b.text, next) })
		case "tree", "error":
			if n == 0 || !strings.HasPrefix(blocks[n-1].info, "Kubefile") {
				t.Errorf("line %d: nothing to compare this with", b.line)
			}
		default:
			t.Errorf("line %d: a block of %q is tested by nobody", b.line, b.info)
		}
	}
	if built < 25 || refused < 6 {
		t.Errorf("%d examples and %d mistakes: the test reads little", built, refused)
	}
}

func buildDoc(t *testing.T, text string, want docBlock, images artifact.Source) {
	o := runOptions(t, text, docContext(t))
	o.Source = images
	o.Secrets = map[string][]byte{"token": []byte("a secret")}
	if strings.Contains(text, "https://") {
		if _, err := exec.LookPath("curl"); err != nil && strings.Contains(text, "curl") {
			t.Skipf("THE EXAMPLE WITH curl WAS NOT TESTED: %v", err)
		}
		o.BuildArgs, o.CAFile = serveDocs(t)
	}
	var log bytes.Buffer
	output(&o, &log)
	d, err := Build(t.Context(), o)
	if errors.Is(err, sandbox.ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, THE EXAMPLE WAS NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatalf("%s\n%v\n%s", text, err, &log)
	}
	b := read(t, o.Store, d, nil)
	if want.info != "tree" {
		return
	}
	names := slices.DeleteFunc(b.names(t), func(name string) bool {
		return name == artifact.MetadataFile || strings.HasPrefix(name, "images/")
	})
	if diff := cmp.Diff(want.text, strings.Join(names, "\n")+"\n"); diff != "" {
		t.Errorf("%s\n(-docs +built)\n%s", text, diff)
	}
}

// refuseDoc checks a mistake as sealrt build --check does.
func refuseDoc(t *testing.T, text string, want docBlock) {
	if want.info != "error" {
		t.Fatal("the block after it is no error")
	}
	f, err := kubefile.Parse("Kubefile", strings.NewReader(text))
	var found kubefile.Errors
	if err != nil && !errors.As(err, &found) {
		t.Fatal(err)
	}
	err = Check(t.Context(), Options{File: f, Context: writeContext(t, docContext(t)), Platform: &amd64}, found)
	if err == nil {
		t.Fatalf("%s\nno error", text)
	}
	if diff := cmp.Diff(want.text, err.Error()+"\n"); diff != "" {
		t.Errorf("%s\n(-docs +said)\n%s", text, diff)
	}
}

// docContext is the context of the examples.
func docContext(t *testing.T) map[string]string {
	t.Helper()
	const list = "nginx:1.25 # a comment\n"
	return map[string]string{
		"bin/k3s": "k3s", "etc/config.yaml": "a: b\n", "scripts/setup.sh": "echo set up\n", "scripts/README.md": "read me\n",
		"imageList": list, "ImageList": list, "more.txt": "docker.io/library/redis:7\n",
		"manifests/shop.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\n", "charts/shop/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
		"rootfs/bin/k0s": "k0s", "rootfs/etc/k0s.yaml": "c: d\n", runtime.GOARCH + "/bin/k0s": "k0s for one platform",
		"release notes.txt": "news\n", "cni-plugins.tgz": tgz(t, "./bridge", "./loopback"),
		".kubefileignore": "**/*.bak\n", "old.bak": "",
	}
}

func tgz(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// docRegistry answers for all registries from the one in memory.
type docRegistry struct {
	artifact.Source // which hides what else a registry can do: only what is below asks the right one
	host            string
}

func (r docRegistry) here(ref artifact.Reference) (artifact.Reference, error) {
	_, object, _ := strings.Cut(ref.String(), "/")
	return artifact.ParseReference(r.host + "/" + object)
}

func (r docRegistry) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	here, err := r.here(ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return r.Source.Resolve(ctx, here)
}

func (r docRegistry) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	here, err := r.here(ref)
	if err != nil {
		return nil, err
	}
	return r.Source.Open(ctx, here, d, offset)
}

// docImages is a registry of the images that the examples name. alpine is the shell of this machine with its libraries.
func docImages(t *testing.T) artifact.Source {
	t.Helper()
	host, client := newRegistry(t)
	for _, i := range []struct {
		name  string
		files map[string]string
	}{
		{"library/alpine:3.20", shellFiles(t)},
		{"library/k3s:v1.25.3", map[string]string{"bin/k3s": "k3s", "manifests/imageList": "# none\n"}},
		{"rancher/k3s:v1.25.3-k3s1", map[string]string{"bin/k3s": "k3s"}},
		{"library/nginx:1.25", map[string]string{"nginx": "n"}},
	} {
		pushFiles(t, client, host+"/"+i.name, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, i.files)
	}
	pushFiles(t, client, host+"/library/redis:7", v1.Platform{OS: "linux", Architecture: "arm64"}, map[string]string{"redis": "r"})
	return docRegistry{client, host}
}

func pushFiles(t *testing.T, client *registry.Client, name string, p v1.Platform, files map[string]string) {
	t.Helper()
	o := options(t, "COPY --chmod=0755 . .\nBASE none\n", files)
	o.Platforms, o.Tags = []v1.Platform{p}, []artifact.Reference{ref(t, name)}
	mustBuild(t, o)
	if _, err := artifact.Copy(t.Context(), client, ref(t, name), o.Store, ref(t, name), artifact.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
}

// shellFiles are the files of this machine that make a root file system in which a shell runs.
func shellFiles(t *testing.T) map[string]string {
	t.Helper()
	names := []string{"/bin/sh", "/bin/mkdir"}
	for _, program := range names {
		out, err := exec.Command("ldd", program).Output()
		if err != nil {
			t.Skipf("NO EXAMPLE WAS TESTED: ldd %s: %v", program, err)
		}
		for _, word := range strings.Fields(string(out)) {
			if strings.HasPrefix(word, "/") {
				names = append(names, word)
			}
		}
	}
	files := map[string]string{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(name, "/")] = string(data)
	}
	return files
}

// serveDocs is the web of the examples, behind a proxy, and what a build needs to see it.
func serveDocs(t *testing.T) (args map[string]string, caFile string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("get.k3s.io/{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.ReplaceAll(installScript, "@PORT@", "443"))
	})
	mux.HandleFunc("get.k3s.io/download/v1.25.3/k3s", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the k3s binary") })
	mux.HandleFunc("example.com/k3s", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the k3s binary") })
	web := httptest.NewUnstartedServer(mux)
	web.TLS = &tls.Config{}
	var authorities []byte
	for _, name := range []string{"get.k3s.io", "example.com"} {
		cert, file := certificate(t, name)
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		web.TLS.Certificates, authorities, caFile = append(web.TLS.Certificates, cert), append(authorities, pem...), file
	}
	if err := os.WriteFile(caFile, authorities, 0o600); err != nil {
		t.Fatal(err)
	}
	web.StartTLS()
	t.Cleanup(web.Close)
	proxy := httptest.NewServer(tunnel(web.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	return map[string]string{"https_proxy": proxy.URL}, caFile
}

// tunnel is a proxy that leads every CONNECT to one address.
func tunnel(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "the examples use https", http.StatusMethodNotAllowed)
			return
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(there, buffered) // the connection, and what was read of it already
			there.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(here, there)
	})
}
