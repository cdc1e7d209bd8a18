package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
)

func TestStatusListsTheComponentsOfAnImageThatIsHere(t *testing.T) {
	store := registrytest.Store(t)
	ref := converttest.Tag(t, store, "k3s:v1", converttest.Put(t, store, converttest.Image{
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"},
		Labels:   map[string]string{artifact.LabelType: artifact.TypeRootfs, artifact.LabelDistro: "k3s", artifact.LabelDistroVersion: "v1.25.3+k3s1"},
		Layers:   [][]converttest.File{{converttest.Text("bin/k3s", "a stand-in")}},
	}))
	desc, err := store.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	image := runtime.Image{Ref: ref, Digest: desc.Digest.String(), Images: []string{"docker.io/rancher/mirrored-coredns-coredns:1.9.1"}}
	k := &known{env: &environment{stderr: io.Discard, store: store}, cluster: &runtime.Cluster{Images: []runtime.Image{image}}, driver: k3s.Driver{}}
	found, err := k.components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printStatus(&environment{stdout: &out}, "", clusterStatus{Components: found}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nCOMPONENT", "\nKine                    unknown\n", "\nCoreDNS                 1.9.1\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	k.driver = kubernetes.Driver{}
	if found, err := k.components(t.Context()); err != nil || found != nil {
		t.Errorf("a distribution that does not say its parts: %v, %v", found, err)
	}
	k.driver, k.cluster.Images[0].Digest = k3s.Driver{}, "sha256:"+strings.Repeat("0", 64)
	if found, err := k.components(t.Context()); err != nil || found != nil {
		t.Errorf("an image that is not here: %v, %v", found, err)
	}
}
