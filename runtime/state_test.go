package runtime_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
)

func TestStateKeepsTheClusterfileForItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	s, err := runtime.OpenState(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty state: %v", err)
	}
	c := &runtime.Cluster{Name: "one", Members: []runtime.Member{{Address: "ops@h:22", Role: runtime.Node, Hostname: "h", NodeIP: "10.0.0.1"}}, Env: map[string]string{"K": "V"}}
	want := c.Clusterfile(runtime.SSH{User: "ops", Become: "sudo"})
	if err := s.Save(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(s.Path("Clusterfile"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestStateRefusesUnknownFieldsAndASecondProcess(t *testing.T) {
	dir := t.TempDir()
	s, err := runtime.OpenState(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Write("Clusterfile", []byte("apiVersion: sealrt.io/v1\nkind: Cluster\nspec: {hots: []}\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), "hots") {
		t.Errorf("unknown field: %v", err)
	}
	if _, err := runtime.OpenState(dir, "one"); err == nil || !strings.Contains(err.Error(), "another sealrt") {
		t.Errorf("second process: %v", err)
	}
	for _, name := range []string{"", "../x", ".x", "a/b"} {
		if _, err := runtime.OpenState(dir, name); err == nil {
			t.Errorf("cluster name %q was taken", name)
		}
	}
}

func TestWhoOnlyReadsNeedNotWaitForWhoWorks(t *testing.T) {
	dir := t.TempDir()
	s, err := runtime.OpenState(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Save(&runtime.Clusterfile{Metadata: runtime.ClusterfileMetadata{Name: "one"}}); err != nil {
		t.Fatal(err)
	}
	r, err := runtime.ReadState(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := r.Load(); err != nil || f.Metadata.Name != "one" {
		t.Errorf("read %+v, %v", f, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestClusterNameIsPartOfAHostName(t *testing.T) {
	for name, good := range map[string]bool{"default": true, "a-1": true, "": false, "..": false, "a/b": false, "a b": false, "A": false, "-a": false, "a_b": false, strings.Repeat("a", 64): false} {
		s, err := runtime.OpenState(t.TempDir(), name)
		if (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
	}
}
