package state_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

// tree is every file of a folder with its mode.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		out[rel] = info.Mode().String()
		if d.Type().IsRegular() {
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

func TestALostClientIsRebuiltFromAnyMaster(t *testing.T) {
	lost := newClient(t)
	server, err := hosttest.NewServer(hosttest.ServerOptions{Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	known := filepath.Join(t.TempDir(), "known")
	if err := os.WriteFile(known, []byte(server.KnownHosts()), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := host.Dial(t.Context(), host.SSHOptions{
		Address: host.Address{User: "me", Host: "127.0.0.1", Port: server.Port()}, KnownHosts: []string{known},
		Password: func() (string, error) { return "pw", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	dir := filepath.Join(t.TempDir(), "state")
	argv := []string{"env", "SEALRT_TEST_KEEP=" + dir, os.Args[0]}
	if err := lost.folder.Write(state.KnownHosts, []byte(server.KnownHosts())); err != nil {
		t.Fatal(err)
	}
	o := lost.options()
	o.Masters, o.Argv = []state.Master{{Name: "m", Host: h}}, argv
	hold, err := state.Take(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	save(t, hold, "a:1", state.Files{state.Images: []byte("[]\n"), state.Kubeconfig: []byte("{}\n"), "secrets/ca.key": []byte("key")})
	if err := hold.Record(t.Context(), []byte(`{"step":1}`)); err != nil {
		t.Fatal(err)
	}
	// while the lock is held, too
	snapshot, err := state.Fetch(t.Context(), o.Masters[0], argv, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := newClient(t)
	if err := fresh.folder.Restore(snapshot, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, lost.folder.Path("")), tree(t, fresh.folder.Path(""))); diff != "" {
		t.Error(diff)
	}
}

func TestANewerStateIsNotOverwritten(t *testing.T) {
	a, b, m := newClient(t), newClient(t), newMaster(t, "m")
	h := a.take(m)
	save(t, h, "a:1", nil)
	h.Close()
	snapshot, err := state.Fetch(t.Context(), state.Master{Name: "m", Host: m}, []string{"keep"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[int64]string{2: "which is newer than revision 1 there", 1: "pass --force to give up what is here (-)", 0: ""} {
		d := document("b:1")
		d.Metadata.Revision = revision
		if err := b.folder.Save(d); err != nil {
			t.Fatal(err)
		}
		err := b.folder.Restore(snapshot, false)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("revision %d: %v", revision, err)
		}
		if err := b.folder.Restore(snapshot, true); err != nil || b.revision() != 1 {
			t.Errorf("by force: %v, revision %d", err, b.revision())
		}
	}
	if _, err := state.Fetch(t.Context(), state.Master{Name: "x", Host: newMaster(t, "x")}, []string{"keep"}, nil); err == nil || !strings.Contains(err.Error(), "no state of a cluster is here") {
		t.Errorf("%v", err)
	}
}

func TestWhatACrashLeftHalfWrittenIsCompleted(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, "one")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Clusterfile": "old", "images.json": "old", "kubeconfig": "old", ".new-Clusterfile": "new",
		".commit":         `{"Clusterfile":true,"images.json":false,"known_hosts":true}`, // known_hosts has its place already
		".new-kubeconfig": "never counted",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := state.Open(home, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := tree(t, dir)
	if !strings.HasSuffix(got["Clusterfile"], " new") || got["images.json"] != "" || !strings.HasSuffix(got["kubeconfig"], " old") || got[".commit"] != "" {
		t.Errorf("%v", got)
	}
}
