package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesThatAClusterfileNamesLieBesideIt(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "Clusterfile")
	if err := os.WriteFile(name, []byte(`apiVersion: sealrt.io/v1
kind: Cluster
spec:
  ssh: {identity: id, password: "file:pw"}
  hosts: [{address: a, role: master, env: {B: "file:b", C: "env:C"}, ssh: {identity: ~/id, becomePassword: "file:/pw"}}]
  env: {A: "file:sub/a"}
  config: [{path: etc/x.yaml, data: {a: ["file:c", plain]}}]
  hooks: [{phase: preflight, file: check.sh}]
---
datastore-endpoint: file:ds # a comment
write-kubeconfig-mode: "0644"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := readClusterfile(&environment{}, name)
	if err != nil {
		t.Fatal(err)
	}
	s, h := doc.Spec, doc.Spec.Hosts[0]
	for got, want := range map[string]string{
		s.SSH.Identity: dir + "/id", s.SSH.Password: "file:" + dir + "/pw", s.Env["A"]: "file:" + dir + "/sub/a", s.Hooks[0].File: dir + "/check.sh",
		h.Env["B"]: "file:" + dir + "/b", h.Env["C"]: "env:C", h.SSH.Identity: "~/id", h.SSH.BecomePassword: "file:/pw",
		s.Config[0].Data["a"].([]any)[0].(string): "file:" + dir + "/c",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if raw := doc.Others[0].Raw; !strings.Contains(raw, "datastore-endpoint: file:"+dir+"/ds # a comment") || !strings.Contains(raw, `"0644"`) {
		t.Errorf("%s", raw)
	}
}
