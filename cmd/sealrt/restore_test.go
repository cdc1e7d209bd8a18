package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/backup"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

// shop is a cluster of one master with a state on this machine.
func shop(t *testing.T, env *environment, version string) *known {
	t.Helper()
	folder, err := state.Open(env.clusters(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference("registry.example.com/k3s:" + strings.ReplaceAll(version, "+", "-"))
	if err != nil {
		t.Fatal(err)
	}
	image := runtime.Image{Ref: ref, Digest: "sha256:" + strings.Repeat("a", 64), Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: "k3s", Version: version}}
	c := &runtime.Cluster{Name: "shop", Images: []runtime.Image{image}, Members: []runtime.Member{
		{Address: "10.0.0.1", Role: runtime.Master, Hostname: "m1", NodeIP: "10.0.0.1"}, {Address: "10.0.0.2", Role: runtime.Node, Hostname: "n1", NodeIP: "10.0.0.2"},
	}}
	if err := saveCluster(folder, c); err != nil {
		t.Fatal(err)
	}
	if err := folder.Write("secrets/"+joinSecrets, []byte(`{"k3s server token":"old","k3s agent token":"older"}`)); err != nil {
		t.Fatal(err)
	}
	k := &known{env: env, state: folder, cluster: c, driver: k3s.Driver{}, hosts: connections{}}
	t.Cleanup(k.close)
	return k
}

func somebody(t *testing.T) (*environment, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	return &environment{home: t.TempDir(), stdout: &out, stderr: io.Discard, getenv: func(string) string { return "" }}, &out
}

// gathered is what tar writes of the directory that a master gathered.
func gathered(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	w := tar.NewWriter(&out)
	for name, text := range map[string]string{"./token": "K10::server:old\n"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// backedUp is a backup of the shop.
func backedUp(t *testing.T, k *known) (*backup.File, string) {
	t.Helper()
	h := hosttest.New("10.0.0.1")
	h.Respond([]string{"tar"}, gathered(t), 0)
	k.hosts["10.0.0.1"] = h
	files, err := k.stateForBackup()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "shop.backup.tar")
	err = k.env.writeBackup(file, func(w io.Writer) (string, error) {
		return k.streamBackup(t.Context(), w, backup.ManifestOf(k.cluster, runtime.Kept{Form: "files"}, time.Unix(1e9, 0), "v0"), files)
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := backup.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return b, file
}

func TestBackupIsAFileThatOnlyItsOwnerReadsWithTokenAndStateInIt(t *testing.T) {
	env, out := somebody(t)
	k := shop(t, env, "v1.25.3+k3s1")
	if err := k.state.Write(state.Kubeconfig, []byte("of the old hosts")); err != nil {
		t.Fatal(err)
	}
	b, file := backedUp(t, k)
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if want := "sha256:" + b.Digest + "\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	for _, name := range []string{state.Clusterfile, state.Images, "secrets/" + joinSecrets} {
		if len(b.State[name]) == 0 {
			t.Errorf("it lacks %s", name)
		}
	}
	if b.State[state.Kubeconfig] != nil {
		t.Error("it has a kubeconfig, by which a cluster counts as made")
	}
}

func TestBackupIsRefusedBeforeAHostIsAskedWhereItCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"-": "", file: "", filepath.Join(dir, "new"): "", "new.tar": "",
		dir: "no file that can be replaced", filepath.Join(dir, "none", "new"): "no such file", filepath.Join(file, "new"): "not a directory",
	} {
		if err := backupFits(name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestBackupThatBreaksOffLeavesTheOldFile(t *testing.T) {
	env, out := somebody(t)
	k := shop(t, env, "v1.25.3+k3s1")
	h := hosttest.New("10.0.0.1")
	broken := errors.New("the host is gone")
	h.Serve([]string{"tar"}, func(_ context.Context, c host.Command) error {
		if _, err := io.WriteString(c.Stdout, gathered(t)[:600]); err != nil {
			return err
		}
		return broken
	})
	k.hosts["10.0.0.1"] = h
	file := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := env.writeBackup(file, func(w io.Writer) (string, error) {
		return k.streamBackup(t.Context(), w, backup.ManifestOf(k.cluster, runtime.Kept{}, time.Now(), ""), state.Files{})
	})
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "old" || out.Len() > 0 {
		t.Errorf("%q, %v, printed %q", raw, err, out)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRestoreRefusesByName(t *testing.T) {
	env, _ := somebody(t)
	b, _ := backedUp(t, shop(t, env, "v1.25.3+k3s1"))
	for name, c := range map[string]struct {
		version, secrets string
		fresh            bool
		want             string
	}{
		"the same":           {"v1.25.3+k3s1", "", false, ""},
		"another version":    {"v1.26.1+k3s1", "", false, "runs v1.26.1+k3s1"},
		"another token":      {"v1.25.3+k3s1", `{"k3s server token":"new"}`, false, "another k3s server token since"},
		"known, on others":   {"v1.25.3+k3s1", "", true, "is known here, on other hosts"},
		"another, on others": {"v1.26.1+k3s1", "", true, "runs v1.26.1+k3s1"},
	} {
		env, _ := somebody(t)
		k := shop(t, env, c.version)
		if c.secrets != "" {
			if err := k.state.Write("secrets/"+joinSecrets, []byte(c.secrets)); err != nil {
				t.Fatal(err)
			}
		}
		var f restoreFlags
		if c.fresh {
			f.masters = "10.0.1.1"
		}
		if err := k.takes(t.Context(), b, f); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestRestoreOnOtherHostsTakesTheStateOfTheBackupWithThem(t *testing.T) {
	env, _ := somebody(t)
	b, _ := backedUp(t, shop(t, env, "v1.25.3+k3s1"))
	for _, dry := range []bool{true, false} {
		env, _ := somebody(t)
		f := restoreFlags{masters: "10.0.1.1", nodes: "10.0.1.2"}
		f.cluster, f.dryRun = "shop", dry
		k, done, err := openForRestore(t.Context(), env, f, b)
		if err != nil {
			t.Fatal(err)
		}
		if len(k.cluster.Members) != 2 || k.cluster.Members[0].Address != "10.0.1.1" || k.cluster.Members[1].Role != runtime.Node {
			t.Errorf("members are %+v", k.cluster.Members)
		}
		if k.cluster.Image().Kind.Version != "v1.25.3+k3s1" {
			t.Errorf("image is %+v", k.cluster.Image())
		}
		if secrets, err := k.secrets(); err != nil || secrets["k3s server token"] != "old" {
			t.Errorf("secrets are %v, %v", secrets, err)
		}
		if err := k.takes(t.Context(), b, f); err != nil {
			t.Errorf("its own state is in its way: %v", err)
		}
		for _, hosts := range [][2]string{{"10.0.1.1", ""}, {"10.0.1.1", "10.0.1.3"}, {"10.0.1.2", "10.0.1.1"}} {
			other := f
			other.masters, other.nodes = hosts[0], hosts[1]
			if err := k.takes(t.Context(), b, other); err == nil || !strings.Contains(err.Error(), "began on the hosts 10.0.1.1") {
				t.Errorf("on %q: %v", hosts, err)
			}
		}
		if there, err := state.Exists(env.clusters(), "shop"); err != nil || there == dry {
			t.Errorf("dry run %v: state is there: %v, %v", dry, there, err)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
		if there, err := state.Exists(env.clusters(), "shop"); err != nil || there {
			t.Errorf("what nobody began is known: %v, %v", there, err)
		}
	}
}

func TestDataGoesToTheHostOnceAndWhole(t *testing.T) {
	env, _ := somebody(t)
	b, file := backedUp(t, shop(t, env, "v1.25.3+k3s1"))
	h := hosttest.New("10.0.0.1")
	var got bytes.Buffer
	h.Serve([]string{"tar"}, func(_ context.Context, c host.Command) error {
		_, err := io.Copy(&got, c.Stdin)
		return err
	})
	h.Respond([]string{"mv", "-T"}, "", 0)
	h.Respond([]string{"test", "-d"}, "", 1)
	if err := sendData(t.Context(), h, b, "/kept"); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&got)
	if first, err := r.Next(); err != nil || first.Name != "token" {
		t.Errorf("%+v, %v", first, err)
	}
	h.Respond([]string{"test", "-d"}, "", 0)
	n := len(h.Calls())
	if err := sendData(t.Context(), h, b, "/kept"); err != nil || len(h.Calls()) != n+1 {
		t.Errorf("the second time: %v, %q", err, h.Transcript()[n:])
	}

	h.Respond([]string{"test", "-d"}, "", 1)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(raw, []byte("server:old"), []byte("server:new"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	n = len(h.Calls())
	if err := sendData(t.Context(), h, b, "/kept"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("of a file that has changed: %v", err)
	}
	for _, call := range h.Calls()[n:] {
		if call.Argv[0] == "mv" {
			t.Error("data that is damaged got its name")
		}
	}
	if last := h.Transcript()[len(h.Transcript())-1]; !strings.Contains(last, "rm -rf") || !strings.Contains(last, "/kept.part") {
		t.Errorf("what it brought of it stays there: %q", last)
	}
}

func TestRestoreThatBeganGoesOnAndAnotherFileIsAnotherOne(t *testing.T) {
	env, _ := somebody(t)
	k := shop(t, env, "v1.25.3+k3s1")
	b, _ := backedUp(t, k)
	first, err := k.begunOrNew(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.record(restoreFile, first); err != nil {
		t.Fatal(err)
	}
	if again, err := k.begunOrNew(b); err != nil || again != first {
		t.Errorf("%+v is not %+v, %v", again, first, err)
	}
	other := *b
	other.Digest = strings.Repeat("0", 64)
	if new, err := k.begunOrNew(&other); err != nil || new.Operation == first.Operation {
		t.Errorf("of another file: %+v, %v", new, err)
	}
}
