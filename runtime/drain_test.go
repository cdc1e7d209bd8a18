package runtime_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

// emptying is a drain of node b that never ends.
func emptying(t *testing.T, x *bed, pods, budgets string) error {
	t.Helper()
	x.a.Respond([]string{"kubectl", "drain"}, "Cannot evict pod as it would violate the pod's disruption budget.", 1)
	x.a.Respond([]string{"kubectl", "get", "pods"}, pods, 0)
	x.a.Respond([]string{"kubectl", "get", "poddisruptionbudgets"}, budgets, 0)
	return x.engine().Run(t.Context(), onA(runtime.Step{ID: "drain", Do: runtime.Exec{
		Argv: []string{"kubectl", "drain", "b"}, Empties: &runtime.Emptying{Node: "b", Kubectl: []string{"kubectl"}},
	}}))
}

func TestDrainSaysWhichBudgetKeepsWhichPods(t *testing.T) {
	const pods = `{"items": [
		{"metadata": {"name": "db-0", "namespace": "shop", "labels": {"app": "db", "tier": "data"}}, "spec": {"nodeName": "b"}, "status": {"phase": "Running"}},
		{"metadata": {"name": "db-1", "namespace": "shop", "labels": {"app": "db"}}, "spec": {"nodeName": "a"}},
		{"metadata": {"name": "db-2", "namespace": "other", "labels": {"app": "db"}}, "spec": {"nodeName": "b"}},
		{"metadata": {"name": "done", "namespace": "shop", "labels": {"app": "db"}}, "spec": {"nodeName": "b"}, "status": {"phase": "Succeeded"}},
		{"metadata": {"name": "log", "namespace": "shop", "labels": {"app": "db"}, "ownerReferences": [{"kind": "DaemonSet"}]}, "spec": {"nodeName": "b"}}]}`
	for name, c := range map[string]struct {
		selector string
		kept     bool
	}{
		"by a label":       {`{"matchLabels": {"app": "db"}}`, true},
		"of all":           {`{}`, true},
		"of none":          {`null`, false},
		"by another label": {`{"matchLabels": {"app": "web"}}`, false},
		"in":               {`{"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}`, true},
		"not in":           {`{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}`, false},
		"exists":           {`{"matchExpressions": [{"key": "tier", "operator": "Exists"}]}`, true},
		"does not exist":   {`{"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			budgets := `{"items": [{"metadata": {"name": "precious", "namespace": "shop"}, "spec": {"selector": ` + c.selector + `}, "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1}}]}`
			err := emptying(t, newBed(t), pods, budgets)
			if err == nil {
				t.Fatal("the drain ended well")
			}
			const keeps = "PodDisruptionBudgets on b:\n    shop/precious keeps db-0 (1 healthy, 1 wanted, 0 may be disturbed now)\n"
			if got := strings.Contains(err.Error(), keeps); got != c.kept {
				t.Errorf("kept %v, and it says: %v", c.kept, err)
			}
			if left := "in no budget: shop/db-0, other/db-2"; strings.Contains(err.Error(), left) == c.kept {
				t.Errorf("kept %v, and it says: %v", c.kept, err)
			}
		})
	}
}

func TestDrainFailsAsItIsWhereTheClusterSaysNoMore(t *testing.T) {
	err := emptying(t, newBed(t), "no", "no")
	if err == nil || !strings.Contains(err.Error(), "violate the pod's disruption budget") {
		t.Errorf("it says %v", err)
	}
}
