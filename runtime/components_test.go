package runtime_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

// builtWith is a program as a linker of Go leaves it, as far as it says how it was
// built (debug/buildinfo).
func builtWith(modules ...string) string {
	b := append([]byte("\xff Go buildinf:\x08\x02"), make([]byte, 16)...)
	text := strings.Repeat("s", 16) + "path\tprogram\n" + strings.Join(modules, "\n") + "\n" + strings.Repeat("e", 16)
	for _, s := range []string{"go1.19.1", text} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return strings.Repeat("code", 1<<15) + string(b) + strings.Repeat("data", 1<<15)
}

// unpacking is a program that has others inside.
func unpacking(t *testing.T, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return strings.Repeat("code", 1<<10) + out.String() + builtWith("dep\tgithub.com/urfave/cli\tv1.22.9\th1:x=")
}

// TestComponentsOfK3sAreReadFromItsImage reads the table that k3s publishes for a
// release out of an image of it.
func TestComponentsOfK3sAreReadFromItsImage(t *testing.T) {
	program := unpacking(t, map[string]string{
		"bin/runc": builtWith("mod\tgithub.com/opencontainers/runc\t(devel)\t"),
		"bin/k3s": builtWith(
			"dep\tk8s.io/kubernetes\tv1.25.3\n=>\tgithub.com/k3s-io/kubernetes\tv1.25.3-k3s1\th1:x=", "dep\tgithub.com/k3s-io/kine\tv0.9.3\th1:x=",
			"dep\tgithub.com/mattn/go-sqlite3\tv1.14.15\th1:x=", "dep\tgo.etcd.io/etcd/server/v3\tv3.5.4\n=>\tgithub.com/k3s-io/etcd/server/v3\tv3.5.3-k3s1\th1:x=",
			"dep\tgithub.com/containerd/containerd\tv1.6.8\n=>\tgithub.com/k3s-io/containerd\tv1.6.8-k3s1\th1:x=", "dep\tgithub.com/opencontainers/runc\tv1.1.4\th1:x=",
			"dep\tgithub.com/flannel-io/flannel\tv0.19.2\th1:x=", "dep\tgithub.com/k3s-io/helm-controller\tv0.12.3\th1:x="),
	})
	images := []string{
		"docker.io/rancher/mirrored-metrics-server:v0.6.1", "docker.io/rancher/mirrored-library-traefik:2.9.1", "docker.io/rancher/mirrored-coredns-coredns:1.9.1",
		"registry.example.com:5000/rancher/local-path-provisioner:v0.0.21", "docker.io/rancher/not-mirrored-coredns-coredns-plugin:7",
	}
	for name, tt := range map[string]struct {
		layers [][]layer.Entry
		images []string
		want   []string
	}{
		"all": {[][]layer.Entry{{file("bin/k3s", builtWith()), file("etc/x", "x")}, {file("bin/k3s", program)}, {file("etc/y", "y")}}, images, []string{
			"Kubernetes v1.25.3-k3s1", "Kine v0.9.3", "SQLite unknown", "Etcd v3.5.3-k3s1", "Containerd v1.6.8-k3s1", "Runc v1.1.4", "Flannel v0.19.2",
			"Metrics-server v0.6.1", "Traefik 2.9.1", "CoreDNS 1.9.1", "Helm-controller v0.12.3", "Local-path-provisioner v0.0.21"}},
		"no program of Go": {[][]layer.Entry{{file("bin/k3s", "a script")}}, images[:1], []string{
			"Kubernetes unknown", "Kine unknown", "SQLite unknown", "Etcd unknown", "Containerd unknown", "Runc unknown", "Flannel unknown",
			"Metrics-server v0.6.1", "Traefik unknown", "CoreDNS unknown", "Helm-controller unknown", "Local-path-provisioner unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			store, ref := image(t, tt.layers...)
			_, m, config, err := artifact.Manifest(t.Context(), store, ref, nil)
			if err != nil {
				t.Fatal(err)
			}
			found, err := k3s.Driver{}.Components().Versions(t.Context(), store, ref, m, config, tt.images)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range found {
				got = append(got, c.Name+" "+c.Version)
				if c.Version != runtime.Unknown && c.From == "" {
					t.Errorf("nobody says that %s is %s", c.Name, c.Version)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if name == "all" && found[2].From != "inside of module github.com/mattn/go-sqlite3 v1.14.15 of bin/k3s" {
				t.Errorf("SQLite: %q", found[2].From)
			}
		})
	}
}

func TestAProgramThatIsDamagedLeavesWhatImagesTell(t *testing.T) {
	noise := make([]byte, 2<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	whole := unpacking(t, map[string]string{"bin/k3s": string(noise)})
	store, ref := image(t, []layer.Entry{file("bin/k3s", whole[:1<<20])})
	_, m, config, err := artifact.Manifest(t.Context(), store, ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, err := k3s.Driver{}.Components().Versions(t.Context(), store, ref, m, config, []string{"rancher/mirrored-coredns-coredns:1.9.1"})
	if err == nil || !strings.Contains(err.Error(), "how bin/k3s of test:v1 was built") || len(found) != 12 || found[9].Version != "1.9.1" {
		t.Errorf("%v, %v", found, err)
	}
}
