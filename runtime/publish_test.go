package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestPublishedClusterfileIsAppliedAgainWhenItChanges(t *testing.T) {
	c := &runtime.Cluster{
		Name: "one", Members: []runtime.Member{{Address: "m", Role: runtime.Master, Taints: []string{"a:NoSchedule"}, SSH: clusterfile.SSH{User: "ops"}}},
		Spec: clusterfile.Spec{Taints: []string{"a:NoSchedule"}, SSH: clusterfile.SSH{User: "ops"}, Env: map[string]string{"TOKEN": "env:TOKEN"}},
	}
	kubectl := func(args ...string) []string { return append([]string{"kubectl"}, args...) }
	steps := func() []runtime.Step {
		s, err := runtime.Publish(c, kubectl)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := steps()
	if diff := cmp.Diff(first, steps()); diff != "" {
		t.Errorf("the same cluster: %s", diff)
	}
	text := first[0].Do.(runtime.Write).Data
	for _, want := range []string{`"sealrt-one"`, `"kube-system"`, `taints: ['a:NoSchedule']`, "TOKEN: env:TOKEN"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if n := strings.Count(text, "NoSchedule"); n != 1 || strings.Count(text, "ops") != 1 {
		t.Errorf("what all hosts have is repeated: %s", text)
	}
	c.Endpoint = "a:1"
	if second := steps(); cmp.Diff(first[0], second[0]) == "" || cmp.Diff(first[1], second[1]) == "" {
		t.Error("a change is not applied")
	}
}
