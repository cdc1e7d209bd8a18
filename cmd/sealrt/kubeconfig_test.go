package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestKubeconfigIsReadFromAMasterThatAnswers(t *testing.T) {
	var out, story bytes.Buffer
	h := hosttest.New("10.0.0.2")
	h.WriteFile("/etc/rancher/k3s/k3s.yaml", 0o600, []byte("clusters: [{cluster: {server: 'https://127.0.0.1:6443'}}]\n"))
	h.Respond(k3s.Driver{}.Kubectl("get", "--raw", "/readyz"), "ok", 0)
	k := &known{
		env: &environment{stdout: &out, stderr: &story, progressMode: "plain", getenv: func(string) string { return "" }}, driver: k3s.Driver{},
		cluster: &runtime.Cluster{Name: "test", Images: []runtime.Image{{Kind: artifact.Kind{Distro: "k3s"}}}, Members: []runtime.Member{
			{Address: "10.0.0.2", NodeIP: "10.0.0.2", Role: runtime.Master},
		}},
		hosts: connections{"10.0.0.2": h},
	}
	if err := k.exportKubeconfig(t.Context(), "-"); err != nil || !strings.Contains(out.String(), "https://10.0.0.2:6443") {
		t.Errorf("%v: %s", err, out.String())
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := k.exportKubeconfig(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	info, _ := os.Stat(file)
	if err != nil || !bytes.Equal(raw, out.Bytes()) || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v: %s", err, info.Mode(), raw)
	}
}

func TestEveryVerbIsThereOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, construct := range constructors() {
		name := construct(&environment{}).Name()
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	for _, verb := range []string{"run", "apply", "plan", "add", "delete", "upgrade", "uninstall", "reset", "gen", "recover", "status", "kubeconfig", "exec", "scp", "doctor", "support-bundle", "registry"} {
		if !seen[verb] {
			t.Errorf("%s is not there", verb)
		}
	}
}

func TestVerbsThatChangeAClusterPrintTheirPlanAsJSON(t *testing.T) {
	changes := []string{"run", "apply", "add", "delete", "upgrade", "uninstall", "reset"}
	for _, construct := range constructors() {
		cmd := construct(&environment{})
		if !slices.Contains(changes, cmd.Name()) {
			continue
		}
		for _, flag := range []string{"output", "yes", "dry-run"} {
			if cmd.Flags().Lookup(flag) == nil {
				t.Errorf("%s has no --%s", cmd.Name(), flag)
			}
		}
	}
}
