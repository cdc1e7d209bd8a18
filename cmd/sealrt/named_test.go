package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// naming is a cluster whose Clusterfile names files.
func naming(t *testing.T) *known {
	t.Helper()
	folder, err := state.Open(t.TempDir(), "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	return &known{env: &environment{stderr: &bytes.Buffer{}}, state: folder, cluster: &runtime.Cluster{Name: "one"}, named: state.Files{}}
}

func TestFilesThatTheClusterfileNamesAreKeptWithTheCluster(t *testing.T) {
	k := naming(t)
	hook, ca := filepath.Join(t.TempDir(), "hook.sh"), filepath.Join(t.TempDir(), "ca.pem")
	save := func() state.Files {
		t.Helper()
		files := state.Files{}
		if err := k.keepNamed(files); err != nil {
			t.Fatal(err)
		}
		for name, data := range files {
			if err := k.state.Write(name, data); err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	for name, text := range map[string]string{hook: "echo 1", ca: "CA"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := k.readNamed(name); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	save()
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	k.named = state.Files{}
	if got, err := k.readNamed(hook); err != nil || string(got) != "echo 1" {
		t.Errorf("the lost file is %q, %v", got, err)
	}
	if files := save(); len(files) != 2 || files[keptName(ca)] != nil {
		t.Errorf("what is named no more stays: %v", files)
	}
	k.named = nil // nothing was read
	if files := save(); len(files) != 0 {
		t.Errorf("%v", files)
	}
	k.named = state.Files{}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if _, err := k.readNamed(ca); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
