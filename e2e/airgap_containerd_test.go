//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sealrt/sealrt/artifact/airgap/export"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// TestContainersFindTheirImages asks a real containerd, as a kubelet does, for
// images of every form of reference: after the import of what a cluster image
// has inside, and after pulling from it as a mirror. Their own registry cannot be
// reached by then.
func TestContainersFindTheirImages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: containerd does")
	}
	w := newBench(t)
	c := buildAirgap(t, w)
	t.Run("import", func(t *testing.T) { importedImagesResolve(t, w, c) })
	t.Run("mirror", func(t *testing.T) { servedImagesResolve(t, c) })
	t.Run("registry", func(t *testing.T) { copiedImagesResolve(t, w, c) })
}

// airgapped is a cluster image with container images inside.
type airgapped struct {
	image  string // its name
	layout string // images/ of its tree
	// references as pods have them: to the platform's manifest, and to an index
	// of which only this machine's platform is inside
	manifests, indexes []string
}

// buildAirgap builds a cluster image of images in the bench's registry, and
// adds a signature that container runtimes are not to see.
func buildAirgap(t *testing.T, w *bench) airgapped {
	t.Helper()
	push := func(ref string, what remote.Taggable) string {
		n, err := name.ParseReference(w.registry + "/" + ref)
		if err != nil {
			t.Fatal(err)
		}
		switch what := what.(type) {
		case v1.Image:
			err = remote.Write(n, what)
		case v1.ImageIndex:
			err = remote.WriteIndex(n, what)
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := remote.Head(n)
		if err != nil {
			t.Fatal(err)
		}
		return d.Digest.String()
	}
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: airgapImage(t, arch, "multi"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	push("plain:1", airgapImage(t, "amd64", "plain"))
	both := push("both:1", airgapImage(t, "amd64", "both"))
	digest := push("digest:1", airgapImage(t, "amd64", "digest"))
	multi := push("multi:1", idx)
	c := airgapped{
		image:     "airgapped:1",
		manifests: []string{w.registry + "/plain:1", w.registry + "/both:1@" + both, w.registry + "/digest@" + digest},
		indexes:   []string{w.registry + "/multi:1@" + multi},
	}
	context := filepath.Join(w.dir, "airgap")
	writeFile(t, filepath.Join(context, "Kubefile"), "FROM scratch\nCOPY imageList manifests\n")
	writeFile(t, filepath.Join(context, "imageList"), strings.Join(slices.Concat(c.manifests, c.indexes), "\n")+"\n")
	w.sealrt(t, "airgap-store", "build", "--platform", "linux/amd64", "-t", c.image, context)
	w.sealrt(t, "airgap-store", "inspect", "--airgap", c.image)
	tree := filepath.Join(w.dir, "airgap-tree")
	w.sealrt(t, "airgap-store", "unpack", c.image, tree)
	c.layout = filepath.Join(tree, "images")
	addSignature(t, c.layout, w.registry+"/both", both)
	return c
}

// airgapImage makes an image with one file.
func airgapImage(t *testing.T, arch, content string) v1.Image {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(tw, content)
	tw.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), l)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// addSignature puts a signature, as cosign makes it, into a layout without a name
// that container runtimes know.
func addSignature(t *testing.T, layout, repository, digest string) {
	t.Helper()
	put := func(mt types.MediaType, v any) v1.Descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
		writeFile(t, filepath.Join(layout, "blobs/sha256", h.Hex), string(b))
		return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(b))}
	}
	config := put(types.OCIConfigJSON, v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}})
	payload := put("application/vnd.dev.cosign.simplesigning.v1+json", map[string]string{"image": digest})
	sig := put(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{payload}})
	sig.Annotations = map[string]string{"io.sealrt.image.name": repository + ":" + strings.Replace(digest, ":", "-", 1) + ".sig"}
	file := filepath.Join(layout, "index.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var idx v1.IndexManifest
	if err := json.Unmarshal(b, &idx); err != nil {
		t.Fatal(err)
	}
	idx.Manifests = append(idx.Manifests, sig)
	if b, err = json.Marshal(idx); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(b))
}

// importedImagesResolve imports on a node what the host command feeds to it.
func importedImagesResolve(t *testing.T, w *bench, c airgapped) {
	d := startContainerd(t, "http://127.0.0.1:1")
	feed := exec.Command(w.program, "host", "feed", c.layout, "--", "ctr", "-a", d.socket, "-n", "k8s.io", "images", "import", "-")
	if out, err := feed.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	for _, ref := range c.manifests {
		if digests, err := d.status(t, ref); err != nil || len(digests) == 0 && strings.Contains(ref, "@") {
			t.Errorf("%s after the import: digests %q, %v", ref, digests, err)
		}
	}
	var names []string
	for name := range strings.FieldsSeq(d.ctr(t, "-n", "k8s.io", "images", "ls", "-q")) {
		if !strings.HasPrefix(name, "sha256:") { // by which the CRI keeps them
			names = append(names, name)
		}
	}
	l, err := layout.Open(c.layout)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var want []string
	for _, e := range l.Entries() {
		if e.Name != "" {
			want = append(want, e.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(names)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names after the import (-want +got):\n%s", diff)
	}

	for _, format := range []string{"oci", "docker"} { // what users take out
		file := filepath.Join(w.dir, format+".tar")
		w.sealrt(t, "airgap-store", "image", "save", c.image, c.manifests[0], "--format", format, "-o", file)
		d.ctr(t, "-n", format, "images", "import", file)
		if out := d.ctr(t, "-n", format, "images", "ls", "-q"); !strings.Contains(out, "plain:1") {
			t.Errorf("%s archive: %s", format, out)
		}
	}
}

// servedImagesResolve pulls every reference from the layout, served as a mirror.
func servedImagesResolve(t *testing.T, c airgapped) {
	l, err := layout.Open(c.layout)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := httptest.NewServer(export.Handler(l))
	defer server.Close()
	d := startContainerd(t, server.URL)
	for _, ref := range slices.Concat(c.indexes, c.manifests) {
		if err := d.pull(t, ref); err != nil {
			t.Errorf("pull %s: %v", ref, err)
			continue
		}
		digests, err := d.status(t, ref)
		_, digest, pinned := strings.Cut(ref, "@")
		if err != nil || pinned && !slices.ContainsFunc(digests, func(have string) bool { return strings.HasSuffix(have, "@"+digest) }) {
			t.Errorf("%s after the pull: digests %q, %v", ref, digests, err)
		}
	}
	if err := d.pull(t, strings.Replace(c.manifests[0], "plain:1", "plain:2", 1)); err == nil {
		t.Error("what is not there was pulled")
	}
}

// copiedImagesResolve pushes the images to a real registry, which takes no index
// that lacks a platform.
func copiedImagesResolve(t *testing.T, w *bench, c airgapped) {
	out, err := w.try("airgap-store", "image", "copy", c.image, w.registry+"/mirror")
	if err == nil || !strings.Contains(err.Error(), "linux/arm64") {
		t.Errorf("index without a platform: %v", err)
	}
	for _, ref := range c.manifests {
		path := strings.TrimPrefix(ref, w.registry+"/")
		want, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := name.ParseReference(w.registry + "/mirror/" + path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := remote.Head(want)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := remote.Head(got); err != nil || e.Digest != d.Digest {
			t.Errorf("%s: %v, %v", got, e, err)
		}
	}
	if n := strings.Count(out, "\n"); n != 5 { // both has two names, multi its tag
		t.Errorf("%d references pushed:\n%s", n, out)
	}
}

// daemon is a containerd of its own, in a folder of its own.
type daemon struct {
	socket string
	conn   *grpc.ClientConn
}

// startContainerd starts Debian's containerd, which asks only that mirror for
// images, and ends it with the test.
func startContainerd(t *testing.T, mirror string) *daemon {
	t.Helper()
	return startContainerdWith(t, func(hosts string) {
		writeFile(t, filepath.Join(hosts, "_default/hosts.toml"), fmt.Sprintf(`server = "http://127.0.0.1:1"
[host.%q]
  capabilities = ["pull", "resolve"]
`, mirror))
	})
}

// startContainerdWith starts one whose files of registries configure writes into
// a folder.
func startContainerdWith(t *testing.T, configure func(hosts string)) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctrd-") // short: the path of a socket is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{socket: filepath.Join(dir, "c.sock")}
	configure(filepath.Join(dir, "hosts"))
	writeFile(t, filepath.Join(dir, "config.toml"), fmt.Sprintf(`version = 2
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = "%[1]s/c.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "%[1]s/hosts"
`, dir))
	var log bytes.Buffer
	cmd := exec.Command("containerd", "-c", filepath.Join(dir, "config.toml"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's containerd", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("containerd did not end")
		}
		if t.Failed() {
			t.Logf("containerd: %s", log.String()[max(0, log.Len()-16<<10):])
		}
	})
	if d.conn, err = grpc.NewClient("unix://"+d.socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	d.await(t, ended)
	return d
}

// await waits until the daemon answers.
func (d *daemon) await(t *testing.T, ended <-chan error) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		if _, err := d.call("ListImages", nil); err == nil {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("containerd ended: %v", err)
		case <-deadline:
			t.Fatal("containerd does not answer")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ctr runs containerd's own client.
func (d *daemon) ctr(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ctr", append([]string{"-a", d.socket}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ctr %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// status asks for an image as a kubelet does, and returns its repository
// digests. An image that is not there is an error.
func (d *daemon) status(t *testing.T, ref string) ([]string, error) {
	t.Helper()
	answer, err := d.call("ImageStatus", field(1, field(1, []byte(ref))))
	if err != nil {
		return nil, err
	}
	image := fields(answer, 1)
	if len(image) == 0 {
		return nil, errors.New("no such image")
	}
	var digests []string
	for _, b := range fields(image[0], 3) {
		digests = append(digests, string(b))
	}
	return digests, nil
}

// pull pulls an image as a kubelet does.
func (d *daemon) pull(t *testing.T, ref string) error {
	t.Helper()
	_, err := d.call("PullImage", field(1, field(1, []byte(ref))))
	return err
}

// call calls a method of the image service (Kubernetes' cri-api, runtime/v1:
// ImageSpec.image is field 1 and all that is asked with here).
func (d *daemon) call(method string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var answer []byte
	err := d.conn.Invoke(ctx, "/runtime.v1.ImageService/"+method, &request, &answer, grpc.ForceCodec(rawCodec{}))
	return answer, err
}

// rawCodec passes messages on as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (rawCodec) Name() string                       { return "proto" }

// field writes a field of a protocol buffer that holds bytes.
func field(n int, content []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(n)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(content))), content...)
}

// fields returns the contents of all fields of that number, of a message that
// has nothing but bytes and numbers.
func fields(message []byte, n int) [][]byte {
	var found [][]byte
	for len(message) > 0 {
		key, size := binary.Uvarint(message)
		if size <= 0 {
			return found
		}
		message = message[size:]
		value, size := binary.Uvarint(message)
		if size <= 0 {
			return found
		}
		message = message[size:]
		if key&7 != 2 {
			continue
		}
		if value > uint64(len(message)) {
			return found
		}
		if int(key>>3) == n {
			found = append(found, message[:value])
		}
		message = message[value:]
	}
	return found
}
