package state_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

func TestStateKeepsTheClusterfileForItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	s, err := state.Open(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty state: %v", err)
	}
	c := &runtime.Cluster{
		Spec:    clusterfile.Spec{SSH: clusterfile.SSH{User: "ops", Become: "sudo"}, Env: map[string]string{"K": "V"}},
		Name:    "one",
		Members: []runtime.Member{{Address: "ops@h:22", Role: runtime.Node, Hostname: "h", NodeIP: "10.0.0.1"}, {Address: "m", Role: runtime.Master}},
	}
	want := c.Clusterfile()
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
	s, err := state.Open(dir, "one")
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
	if _, err := state.Open(dir, "one"); err == nil || !strings.Contains(err.Error(), "another sealrt") {
		t.Errorf("second process: %v", err)
	}
	for _, name := range []string{"", "../x", ".x", "a/b"} {
		if _, err := state.Open(dir, name); err == nil {
			t.Errorf("cluster name %q was taken", name)
		}
	}
}

func TestWhoOnlyReadsNeedNotWaitForWhoWorks(t *testing.T) {
	dir := t.TempDir()
	s, err := state.Open(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Save(&clusterfile.Document{File: clusterfile.File{APIVersion: clusterfile.APIVersion, Kind: clusterfile.Kind, Metadata: clusterfile.Metadata{Name: "one"}}}); err != nil {
		t.Fatal(err)
	}
	r, err := state.Read(dir, "one")
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
		s, err := state.Open(t.TempDir(), name)
		if (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
	}
}
