package main

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

// A cluster that stands is held against what is asked, by what the state kept of
// its image.
func TestSettingsThatAClusterCannotChangeAreRefusedBeforeAnyHostIsAsked(t *testing.T) {
	folder, err := state.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	ref, err := artifact.ParseReference("k3s:v1.25.3")
	if err != nil {
		t.Fatal(err)
	}
	made := runtime.Image{
		Ref: ref, Digest: "sha256:aa", Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: "k3s", Version: "v1.25.3+k3s1"},
		Files: fstest.MapFS{"etc/k3s.yaml": {Data: []byte("cluster-cidr: 10.9.0.0/16\n")}},
	}
	members := []runtime.Member{{Address: "10.0.0.1", NodeIP: "10.0.0.1", Role: runtime.Master}}
	was := &runtime.Cluster{Name: "test", Members: members, Images: []runtime.Image{made}}
	if err := saveCluster(folder, was); err != nil {
		t.Fatal(err)
	}
	before, err := folder.Load()
	if err != nil {
		t.Fatal(err)
	}
	next := made
	next.Digest, next.Files = "sha256:bb", fstest.MapFS{"etc/k3s.yaml": {Data: []byte("cluster-cidr: 10.9.0.0/16\n")}}
	asked := func(image runtime.Image, document string) error {
		k := &known{state: folder, driver: k3s.Driver{}, cluster: &runtime.Cluster{Name: "test", Members: members, Images: []runtime.Image{image}}}
		k.cluster.Others = []clusterfile.Other{{Line: 9, Raw: document}}
		return k.changeable(before)
	}
	for _, image := range []runtime.Image{made, next} {
		if err := asked(image, "cluster-cidr: 10.8.0.0/16"); err != nil {
			t.Errorf("a cluster that was never made to its end: %v", err)
		}
	}
	if err := os.WriteFile(folder.KubeconfigPath(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, image := range []runtime.Image{made, next} {
		for document, want := range map[string]string{
			"disable: [traefik]":        "",
			"cluster-cidr: 10.9.0.0/16": "",
			"cluster-cidr: 10.8.0.0/16": "the cluster test stands: cluster-cidr is [10.9.0.0/16] and [10.8.0.0/16]",
			"data-dir: /srv/k3s":        "the cluster test stands: the cluster has /var/lib/rancher/k3s for its data-dir",
		} {
			err := asked(image, document)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, %s: %v, want %q", image.Digest, document, err, want)
			}
		}
	}
}
