package runtime_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
)

func TestDamagedBlobIsFoundAndRemovedSoThatItComesAgain(t *testing.T) {
	h := newHelped("10.0.0.1")
	m := runtime.Member{Address: "10.0.0.1", NodeIP: "127.0.0.1"}
	src, step, _ := travelling(t)
	e := &runtime.Engine{Cluster: "test", Images: src, Blobs: clusterfile.Blobs{SSHOnly: true}, Hosts: map[string]host.Host{m.Address: h}}
	if err := e.Run(t.Context(), runtime.Plan{Phases: []runtime.Phase{{Name: "deliver", Tasks: []runtime.Task{{Member: m, Steps: []runtime.Step{step}}}}}}); err != nil {
		t.Fatal(err)
	}
	h.WriteFile(runtime.HelperPath, 0o755, []byte("sealrt"))
	look := func(answer string, code int) []runtime.Drift {
		h.Respond([]string{runtime.HelperPath, "verify-store", "--root", runtime.StoreDir}, answer, code)
		drifts, err := e.Drift(t.Context(), []runtime.Member{m}, []runtime.Image{{Digest: step.Do.(runtime.Load).Digest}})
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(drifts, func(d runtime.Drift) bool { return strings.Contains(d.What, "tree") }) // this host unpacks nothing
	}
	removed := func() bool {
		return slices.ContainsFunc(h.Transcript(), func(s string) bool { return strings.Contains(s, "verify-store") && strings.Contains(s, "--repair") })
	}
	for answer, code := range map[string]int{`{"problems":[]}`: 0, `{"problems":[{"kind":"foreign","what":"x"}]}`: 1, "sealrt: not found": 127} {
		if drifts := look(answer, code); len(drifts) > 0 {
			t.Errorf("%s: %v", answer, drifts)
		}
	}
	drifts := look(`{"problems":[{"kind":"damaged","what":"sha256:0a"},{"kind":"foreign","what":"x"},{"kind":"damaged","what":"sha256:0b"}]}`, 1)
	if len(drifts) != 1 || drifts[0].Step != step.ID || !strings.Contains(drifts[0].What, "2 blobs are not what the name says: sha256:0a, sha256:0b") {
		t.Fatalf("found: %v", drifts)
	}
	if removed() {
		t.Error("looking alone removes blobs")
	}
	if err := e.Distrust(t.Context(), drifts); err != nil || !removed() {
		t.Errorf("nothing is removed: %v", err)
	}
}
