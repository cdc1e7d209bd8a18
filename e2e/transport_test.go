//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
	"github.com/sealrt/sealrt/artifact/store"
)

// dockerd is Debian's docker daemon on a socket of its own, which leaves the
// network of the machine alone.
type dockerd struct {
	dir, host string
	client    *http.Client
}

func newDockerd(t *testing.T) *dockerd {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sealrt-dockerd-") // a short name: sockets have no long ones
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(dir, "socket")
	d := &dockerd{dir: dir, host: "unix://" + socket, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
	var log bytes.Buffer
	cmd := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"-H", d.host, "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--bridge=none")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("dockerd: %v: apt-get install --no-install-recommends docker.io", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) // it ends its containerd, too
		if err := <-ended; err != nil {
			t.Errorf("dockerd: %v\n%s", err, &log)
		}
	})
	deadline := time.After(time.Minute)
	for {
		if resp, err := d.client.Get("http://docker/_ping"); err == nil {
			resp.Body.Close()
			return d
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("dockerd: %v\n%s", err, &log)
		case <-deadline:
			t.Fatalf("dockerd does not answer\n%s", &log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// call asks the daemon for something and returns the answer.
func (d *dockerd) call(t *testing.T, method, path string, body io.Reader) []byte {
	t.Helper()
	req, err := http.NewRequest(method, "http://docker"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(b[:min(len(b), 1000)], []byte(`"error"`)) {
		t.Fatalf("%s %s: %s, %v: %.500s", method, path, resp.Status, err, b)
	}
	return b
}

// TestTransports reads one image from everywhere that Debian's docker, containerd
// and skopeo, and crane's writer, put it. Without its registry it has one digest, whoever
// saved it.
func TestTransports(t *testing.T) {
	docker := newDockerd(t)
	dir := docker.dir
	const image = "localhost:5000/team/app:v1"
	path := func(name string) string { return filepath.Join(dir, name) }
	run := func(argv ...string) string {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		var story bytes.Buffer
		cmd.Stderr = &story
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, &story)
		}
		return strings.TrimSpace(string(out))
	}
	writeCrane(t, path("crane.tar"), image)
	crane, err := os.Open(path("crane.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer crane.Close()
	docker.call(t, http.MethodPost, "/images/load", crane)
	saved := docker.call(t, http.MethodGet, "/images/get?names="+image, nil)
	if err := os.WriteFile(path("saved.tar"), saved, 0o644); err != nil {
		t.Fatal(err)
	}
	run("gzip", "-k", path("saved.tar"))
	run("zstd", "-q", "-k", path("saved.tar"))
	skopeo := func(args ...string) string { return run(append([]string{"skopeo", "--insecure-policy"}, args...)...) }
	skopeo("copy", "--src-daemon-host", docker.host, "docker-daemon:"+image, "docker-archive:"+path("skopeo.tar")+":"+image)
	skopeo("copy", "docker-archive:"+path("crane.tar"), "oci-archive:"+path("skopeo.oci")+":"+image)
	skopeo("copy", "docker-archive:"+path("crane.tar"), "oci:"+path("layout")+":"+image)
	skopeo("copy", "docker-archive:"+path("crane.tar"), "oci:"+path("nameless"))
	skopeo("copy", "docker-archive:"+path("crane.tar"), "docker-archive:"+path("nameless.tar"))
	ctr := func(args ...string) {
		run(append([]string{"ctr", "--address", path("exec/containerd/containerd.sock"), "images"}, args...)...)
	}
	ctr("import", "--no-unpack", path("crane.tar"))
	ctr("export", path("ctr.tar"), image)
	digest := func(place string) string { return skopeo("inspect", "--format", "{{.Digest}}", place) }

	docked := take(t, transport.Options{}, "docker-archive:"+path("crane.tar"), image)
	for _, station := range []struct {
		place string
		o     transport.Options
		want  string
	}{
		{"docker-daemon:", transport.Options{DockerHost: docker.host}, docked},
		{"docker-archive:saved.tar", transport.Options{}, docked},
		{"docker-archive:saved.tar.gz", transport.Options{}, docked},
		{"docker-archive:saved.tar.zst", transport.Options{}, docked},
		{"docker-archive:skopeo.tar", transport.Options{}, docked},
		{"docker-archive:nameless.tar", transport.Options{Adopt: true}, docked},
		{"oci-archive:skopeo.oci", transport.Options{}, digest("oci-archive:" + path("skopeo.oci"))},
		{"docker-archive:ctr.tar", transport.Options{}, digest("oci-archive:" + path("ctr.tar"))}, // it has both forms
		{"oci:layout", transport.Options{}, digest("oci:" + path("layout") + ":" + image)},
		{"oci:nameless", transport.Options{Adopt: true}, digest("oci:" + path("nameless"))},
	} {
		t.Run(station.place, func(t *testing.T) {
			station.o.Dir, station.o.TempDir, station.o.Platform = dir, t.TempDir(), v1.Platform{OS: "linux", Architecture: "amd64"}
			if got := take(t, station.o, station.place, image); got != station.want {
				t.Errorf("digest %s, want %s", got, station.want)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		p, err := transport.Open(t.Context(), "docker-daemon:", transport.Options{DockerHost: docker.host})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ref, _ := artifact.ParseReference("absent:1")
		if _, err := p.Resolve(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "`docker pull absent:1` first") {
			t.Errorf("error %v", err)
		}
	})
}

// writeCrane writes an image as crane save does: its layers are compressed. Two
// layers are the same, of which docker save makes a link.
func writeCrane(t *testing.T, file, image string) {
	t.Helper()
	img := empty.Image
	var layers []v1.Layer
	for range 3 {
		l, err := random.Layer(1<<20, types.DockerLayer)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(img, slices.Concat(layers, layers[:1])...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, ref, img); err != nil {
		t.Fatal(err)
	}
}

// take copies an image from a place into a store, which verifies all of it, and
// returns the digest that it has there.
func take(t *testing.T, o transport.Options, place, image string) string {
	t.Helper()
	p, err := transport.Open(t.Context(), place, o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref, err := artifact.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := artifact.Copy(t.Context(), s, ref, p, ref, artifact.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, m, _, err := artifact.Manifest(t.Context(), s, ref, nil); err != nil || len(m.Layers) != 4 {
		t.Errorf("%s: %v", place, fmt.Sprint(m, err))
	}
	return d.Digest.String()
}
