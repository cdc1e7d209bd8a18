package lint

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
)

func TestEquivalent(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		want, have string
		yes        bool
	}{
		{"registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10", true},
		{"registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10@" + digest, true},
		{"registry.k8s.io/pause:3.10", "harbor.local/k8s/pause:3.10", true},
		{"registry.k8s.io/pause:3.10", "harbor.local/k8s/pause:3.9", false},
		{"registry.k8s.io/pause:3.10", "harbor.local/k8s/mypause:3.10", false},
		{"registry.k8s.io/coredns/coredns:v1.11.3", "registry.aliyuncs.com/google_containers/coredns:v1.11.3", true},
		{"registry.k8s.io/coredns/coredns:v1.11.3", "harbor.local/x/coredns/coredns:v1.11.3", true},
		{"docker.io/rancher/mirrored-pause:3.6", "harbor.local/rancher/mirrored-pause:3.6", true},
		{"docker.io/rancher/mirrored-pause:3.6", "harbor.local/mirrored-pause:3.6", false},
		{"busybox:1", "harbor.local/library/busybox:1", true},
		{"busybox:1", "harbor.local/busybox:1", true},
		{"a.example/x@" + digest, "a.example/x@" + digest, true},
		{"a.example/x@" + digest, "a.example/x:1@" + digest, true},
		{"a.example/x@" + digest, "b.example/x:1", false},
	} {
		if got := Equivalent(parseRef(t, c.want), parseRef(t, c.have)); got != c.yes {
			t.Errorf("%s for %s: %t", c.have, c.want, got)
		}
	}
}

func TestHeldIn(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	entry := func(annotations string) string {
		return `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"` + digest + `"` + annotations + `}`
	}
	held, err := HeldIn([]byte(`{"schemaVersion":2,"manifests":[`+entry("")+","+
		entry(`,"annotations":{"org.opencontainers.image.ref.name":"a.example/x:1","io.containerd.image.name":"docker.io/library/x:1"}`)+","+
		entry(`,"annotations":{"org.opencontainers.image.ref.name":"a.example/y@`+digest+`"}`)+`]}`), "images/index.json")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range held {
		got = append(got, h.Ref.Familiar()+" "+h.Where)
	}
	if diff := cmp.Diff([]string{"x:1 images/index.json", "a.example/y@" + digest + " images/index.json"}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"{", `{"manifests":[` + entry(`,"annotations":{"io.containerd.image.name":"Bad Name"}`) + `]}`} {
		if _, err := HeldIn([]byte(bad), "images/index.json"); err == nil || !strings.HasPrefix(err.Error(), "images/index.json: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func parseRef(t *testing.T, s string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
