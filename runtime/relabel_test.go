package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
)

func TestLabelsAndTaintsThatChangedReachTheirNodes(t *testing.T) {
	with := func(name string, labels map[string]string, taints ...string) runtime.Member {
		return runtime.Member{Address: name, Hostname: name, Role: runtime.Node, Labels: labels, Taints: taints}
	}
	c := plainCluster(1, 0)
	before := []runtime.Member{
		with("same", map[string]string{"a": "1"}, "k:NoSchedule"),
		with("other", map[string]string{"a": "1", "b": "2", "c": "3"}, "k=v:NoSchedule", "gone=x:NoExecute", "gone:NoSchedule"),
		with("bare", nil),
	}
	c.Members = append(c.Members,
		with("same", map[string]string{"a": "1"}, "k:NoSchedule"),
		with("other", map[string]string{"a": "1", "b": "3", "d": ""}, "k=w:NoSchedule", "new:NoExecute"),
		with("bare", map[string]string{"x/y": "z"}),
		with("fresh", map[string]string{"a": "1"}, "k:NoSchedule"), // it is told when it joins
	)
	var got []string
	for _, p := range life(t, c).Relabel(before).Phases {
		for _, task := range p.Tasks {
			for _, s := range task.Steps {
				exec, _ := s.Do.(runtime.Exec)
				got = append(got, task.Member.Address+" "+s.ID+" about "+s.About+": "+strings.Join(exec.Argv, " "))
				for _, a := range exec.Recover {
					got = append(got, "else first: "+strings.Join(a.(runtime.Exec).Argv, " "))
				}
			}
		}
	}
	want := []string{
		"m1 label other about other: kubectl label node other --overwrite b=3 d= c-",
		"m1 taint other about other: kubectl taint node other --overwrite k=w:NoSchedule new:NoExecute",
		"m1 untaint other about other: kubectl taint node other --overwrite gone:NoExecute- gone:NoSchedule-",
		"else first: kubectl taint node other --overwrite gone=x:NoExecute gone:NoSchedule",
		"m1 label bare about bare: kubectl label node bare --overwrite x/y=z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
