package backup_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/backup"
	"github.com/sealrt/sealrt/runtime/state"
)

func manifest() backup.Manifest {
	c := &runtime.Cluster{
		Name:    "shop",
		Images:  []runtime.Image{{Digest: "sha256:aa", Kind: artifact.Kind{Distro: "k3s", Version: "v1.25.3+k3s1"}}},
		Members: []runtime.Member{{Address: "10.0.0.1", Hostname: "m1", Role: runtime.Master}, {Address: "10.0.0.2", Hostname: "n1", Role: runtime.Node}},
	}
	return backup.ManifestOf(c, runtime.Kept{Dir: "/kept", Form: "files"}, time.Unix(1e9, 0), "v0.1.0")
}

// data is what tar -c of a directory gives.
func data(t *testing.T, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func kept(t *testing.T) *bytes.Buffer {
	return data(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700},
		tar.Header{Typeflag: tar.TypeReg, Name: "./token", Mode: 0o600},
		tar.Header{Typeflag: tar.TypeDir, Name: "./db/", Mode: 0o700},
		tar.Header{Typeflag: tar.TypeReg, Name: "./db/state.db", Mode: 0o644, Uid: 7, ModTime: time.Unix(5, 0)},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./node-token", Linkname: "token"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "./kine.sock"},
	)
}

// written is a backup in a file.
func written(t *testing.T) (file, digest string) {
	t.Helper()
	var out bytes.Buffer
	digest, err := backup.Write(&out, manifest(), state.Files{state.Clusterfile: []byte("kind: Cluster\n"), "secrets/join.json": []byte("{}")}, kept(t))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "backup.tar")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, digest
}

func TestBackupIsReadAsItWasWritten(t *testing.T) {
	file, digest := written(t)
	b, err := backup.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(manifest(), b.Manifest); diff != "" {
		t.Error(diff)
	}
	if b.Digest != digest || string(b.State["secrets/join.json"]) != "{}" || len(b.State) != 2 {
		t.Errorf("%+v", b)
	}
	var out bytes.Buffer
	if err := b.Data(&out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(h.Name+" "+h.Linkname+string(raw)))
		if h.Name == "db/state.db" && (h.Mode != 0o644 || h.Uid != 7 || h.ModTime.Unix() != 5) {
			t.Errorf("%+v", h)
		}
	}
	if diff := cmp.Diff([]string{"token ./token", "db/", "db/state.db ./db/state.db", "node-token token"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSameDataGivesTheSameFile(t *testing.T) {
	_, first := written(t)
	if _, second := written(t); first != second {
		t.Error("two backups of the same differ")
	}
}

func TestDamagedBackupIsRefused(t *testing.T) {
	file, _ := written(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"another byte":       {bytes.Replace(whole, []byte("./db/state.db"), []byte("./db/staXe.db"), 1), "data/db/state.db is damaged"},
		"another state":      {bytes.Replace(whole, []byte("kind: Cluster"), []byte("kind: cluster"), 1), "state/Clusterfile is damaged"},
		"cut off":            {whole[:len(whole)/2], "cut off"},
		"cut off in a state": {whole[:bytes.Index(whole, []byte("kind: Cluster"))+5], "cut off"},
		"cut off at an end":  {whole[:bytes.Index(whole, []byte("SHA256SUMS"))], "cut off"},
		"nothing":            {nil, "no backup of a cluster"},
		"another layout":     {bytes.Replace(whole, []byte(`"layout": 1`), []byte(`"layout": 2`), 1), "its layout is 2"},
		"an image's archive": {data(t, tar.Header{Typeflag: tar.TypeReg, Name: "oci-layout"}).Bytes(), "no backup of a cluster"},
	} {
		if err := os.WriteFile(file, c.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Read(file); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error is %v, want %q", name, err, c.want)
		}
	}
}

func TestWhatLeadsOutOfTheDirectoryIsRefused(t *testing.T) {
	for name, h := range map[string]tar.Header{
		"outside of the directory": {Typeflag: tar.TypeReg, Name: "../etc/passwd"},
		"leads out":                {Typeflag: tar.TypeSymlink, Name: "./a/b", Linkname: "../../etc"},
		"to /etc":                  {Typeflag: tar.TypeSymlink, Name: "./a", Linkname: "/etc"},
		"of a kind":                {Typeflag: tar.TypeLink, Name: "./a", Linkname: "token"},
	} {
		if _, err := backup.Write(io.Discard, manifest(), nil, data(t, h)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error is %v, want %q", err, name)
		}
	}
}

func TestBackupWithoutDataIsNone(t *testing.T) {
	for name, r := range map[string]io.Reader{"nothing": &bytes.Buffer{}, "a directory": data(t, tar.Header{Typeflag: tar.TypeDir, Name: "./"})} {
		if _, err := backup.Write(io.Discard, manifest(), nil, r); err == nil || !strings.Contains(err.Error(), "there is none") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBackupOfAnotherVersionOrDistributionIsRefusedByName(t *testing.T) {
	for _, c := range []struct{ distro, version, want string }{
		{"k3s", "v1.25.3+k3s1", ""}, {"k3s", "v1.26.1+k3s1", "runs v1.26.1+k3s1"}, {"k0s", "v1.25.3+k3s1", "runs k0s"},
	} {
		is := &runtime.Cluster{Name: "shop", Images: []runtime.Image{{Kind: artifact.Kind{Distro: c.distro, Version: c.version}}}}
		err := manifest().Fits(is)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "k3s v1.25.3+k3s1")) {
			t.Errorf("%s %s: %v", c.distro, c.version, err)
		}
	}
}
