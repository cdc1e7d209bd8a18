package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

// site is a master over SSH, and clients with homes of their own.
type site struct {
	t      *testing.T
	server *hosttest.Server
	keeper []string
}

func newSite(t *testing.T) *site {
	server, err := hosttest.NewServer(hosttest.ServerOptions{Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// called sealrt, the program of the tests is sealrt
	name := filepath.Join(t.TempDir(), "sealrt")
	if err := os.Symlink(exe, name); err != nil {
		t.Fatal(err)
	}
	return &site{t: t, server: server, keeper: []string{name, "host", "keep", "--dir", filepath.Join(t.TempDir(), "state")}}
}

func (s *site) address() string { return fmt.Sprintf("root@127.0.0.1:%d", s.server.Port()) }

// sealrt runs a command with a home; the password of the login comes from the
// environment, where the Clusterfile says that it is.
func (s *site) sealrt(home string, args ...string) (stdout string, err error) {
	s.t.Helper()
	var out bytes.Buffer
	env := &environment{stdin: strings.NewReader(""), stdout: &out, stderr: &bytes.Buffer{}, home: home, uid: 1, keeper: s.keeper,
		getenv: func(name string) string { return map[string]string{"LOGIN": "pw", "USER": "me"}[name] }}
	root := newRoot(env)
	root.SetArgs(args)
	err = root.ExecuteContext(s.t.Context())
	return out.String(), err
}

// cluster makes the state of a cluster in a home, and on the master.
func (s *site) cluster(home string) {
	s.t.Helper()
	clusters := filepath.Join(home, ".sealrt", "clusters")
	folder, err := state.Open(clusters, "one")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := folder.Save(&clusterfile.Document{File: clusterfile.File{
		APIVersion: clusterfile.APIVersion, Kind: clusterfile.Kind, Metadata: clusterfile.Metadata{Name: "one", Revision: 3},
		Spec: clusterfile.Spec{
			SSH:   clusterfile.SSH{Password: "env:LOGIN"},
			Hosts: []clusterfile.Host{{Address: clusterfile.Strings{s.address()}, Role: "master", NodeIP: "192.0.2.1"}},
		},
	}}); err != nil {
		s.t.Fatal(err)
	}
	made := `[{"ref":"docker.io/library/k:v1","digest":"sha256:` + strings.Repeat("a", 64) + `","kind":{"Type":"rootfs","Distro":"kubernetes","Version":"v1.34.4"}}]` + "\n"
	for name, text := range map[string]string{state.Images: made, "secrets/ca.key": "key", state.Kubeconfig: "{}\n", state.Journal: "{}\n", state.KnownHosts: s.server.KnownHosts()} {
		if err := folder.Write(name, []byte(text)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := folder.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		out[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(p)
			out[rel] += " " + string(raw)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRecoverIntoAnEmptyHomeIsWhatWasLost(t *testing.T) {
	s := newSite(t)
	lost, found := t.TempDir(), t.TempDir()
	s.cluster(lost)
	if _, err := s.sealrt(lost, "recover", "--cluster", "one", "--keep-local"); err != nil {
		t.Fatal(err)
	}
	// the password is asked for on no terminal here
	pw := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(pw, []byte("pw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	recovered := func(home string, args ...string) error {
		fd, err := syscall.Open(pw, syscall.O_RDONLY, 0) // the command closes it
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.sealrt(home, append([]string{"recover", "--from", s.address(), "--accept-new-host-key", "--password-fd", fmt.Sprint(fd)}, args...)...)
		return err
	}
	if err := recovered(found); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(".sealrt", "clusters", "one")
	if diff := cmp.Diff(files(t, filepath.Join(lost, dir)), files(t, filepath.Join(found, dir))); diff != "" {
		t.Error(diff)
	}
	if err := recovered(found, "--cluster", "two"); err == nil || !strings.Contains(err.Error(), "is a master of the cluster one, not of two") {
		t.Errorf("%v", err)
	}
	folder, err := state.Open(filepath.Join(found, ".sealrt", "clusters"), "one")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := folder.Load()
	if err != nil {
		t.Fatal(err)
	}
	doc.Metadata.Revision = 9
	if err := folder.Save(doc); err != nil {
		t.Fatal(err)
	}
	folder.Close()
	if err := recovered(found); err == nil || !strings.Contains(err.Error(), "pass --force to give the newer one up") {
		t.Errorf("%v", err)
	}
}

func TestAKeyThatTheClusterDoesNotKnowIsNotTaken(t *testing.T) {
	const known = "a ssh-ed25519 AAAA\nb ssh-ed25519 BBBB\n"
	for accepted, want := range map[string]string{"": known, "b ssh-ed25519 BBBB\n": known, "c ssh-ed25519 CCCC\n": known + "c ssh-ed25519 CCCC\n", "a ssh-ed25519 XXXX\n": ""} {
		got, err := withKeys([]byte(known), []byte(accepted))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", accepted, got, err)
		}
	}
}

func TestWhoOnlyLooksSeesWhatAnotherClientChanged(t *testing.T) {
	s := newSite(t)
	one, two := t.TempDir(), t.TempDir()
	s.cluster(one)
	s.cluster(two)
	spread := func(home string) {
		t.Helper()
		if _, err := s.sealrt(home, "recover", "--cluster", "one", "--keep-local"); err != nil {
			t.Fatal(err)
		}
	}
	change := func(home string, revision int64, endpoint string) {
		t.Helper()
		folder, err := state.Open(filepath.Join(home, ".sealrt", "clusters"), "one")
		if err != nil {
			t.Fatal(err)
		}
		defer folder.Close()
		doc, err := folder.Load()
		if err != nil {
			t.Fatal(err)
		}
		doc.Metadata.Revision, doc.Spec.TLSSANs = revision, []string{endpoint}
		if err := errors.Join(folder.Save(doc), folder.Record([]byte(`{"time":"2026-01-02T03:04:05Z","op":"x","command":"upgrade","client":"she@there","what":"begin"}`))); err != nil {
			t.Fatal(err)
		}
	}
	spread(one)
	change(one, 8, "a.example.com")
	spread(one)
	// nobody answers for the cluster here, and status says so; what it knows is new
	if out, err := s.sealrt(two, "status", "--cluster", "one"); err == nil || !strings.Contains(out, "cluster one of ") {
		t.Errorf("%v\n%s", err, out)
	}
	dir := filepath.Join(".sealrt", "clusters", "one")
	if diff := cmp.Diff(files(t, filepath.Join(one, dir)), files(t, filepath.Join(two, dir))); diff != "" {
		t.Error(diff)
	}
	change(two, 8, "b.example.com")
	if _, err := s.sealrt(two, "status", "--cluster", "one"); err == nil || !strings.Contains(err.Error(), "two states have the revision 8 and differ") {
		t.Errorf("%v", err)
	}
}
