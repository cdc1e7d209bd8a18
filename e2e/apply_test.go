//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestApply has one Clusterfile say another thing, and another, and expects the
// cluster to become that; plans that were kept are refused when anything moved.
func TestApply(t *testing.T) {
	onThreeHosts(t, []station{
		{"KeptPlanIsRefusedWhenTheWorldMoved", keptPlanIsRefused},
		{"LabelsReachNodesThatHaveJoined", labelsReachNodes},
		{"ImageAndHostsChangeInOnePlan", imageAndHostsChange},
	})
}

// clusterfile writes a Clusterfile of one master and a node.
func (p *playground) clusterfile(t *testing.T, ref string, node int, more string) string {
	t.Helper()
	name := filepath.Join(p.dir, "asked")
	text := fmt.Sprintf(`apiVersion: sealrt.io/v1
kind: Cluster
metadata: {name: default}
spec:
  image: ["%s"]
  timeouts: {connect: 3s}
  hosts:
    - {address: [%s], role: master}
    - {address: [%s], role: node%s}
`, ref, p.ip(1), p.ip(node), more)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func keptPlanIsRefused(t *testing.T, p *playground) {
	file, kept := p.clusterfile(t, image(oldVersion), 2, ""), filepath.Join(p.dir, "kept")
	plan := p.verb("plan", "-f", file, "--out", kept)
	apply := p.verb("apply", kept, "--yes")
	p.must(t, plan...)
	refused := func(why string) {
		t.Helper()
		if said := p.fails(t, why, apply...); !strings.Contains(said, "nothing was changed") {
			t.Errorf("it says %s", said)
		}
	}
	p.must(t, p.sealrt("tag", image(oldVersion), "saved:v1")...)
	p.must(t, p.sealrt("tag", "hung:v1", image(oldVersion))...)
	refused("the image docker.io/library/" + image(oldVersion) + " was sha256:")
	p.must(t, p.sealrt("tag", "saved:v1", image(oldVersion))...)

	raw, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	for edit, why := range map[[2]string]string{
		{p.ip(2), p.ip(3)}:              "host " + p.ip(3) + ": another machine answers at the address",
		{`"sealrt": "`, `"sealrt": "0`}: "it was made by sealrt 0",
	} {
		if err := os.WriteFile(kept, []byte(strings.ReplaceAll(string(raw), edit[0], edit[1])), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(why)
	}
	if err := os.WriteFile(kept, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	p.on(t, 2, "mkdir -p /usr/local/bin && touch /usr/local/bin/k3s") // somebody else's
	p.fails(t, "/usr/local/bin/k3s", apply...)
	p.on(t, 2, "rm /usr/local/bin/k3s")
	p.asPrinted(t, p.verb("apply", "-f", file, "--yes"), apply)
	p.stands(t, oldVersion, "master node1, node node2")
	refused("the cluster's Clusterfile was changed (revision 0 then, ")
	if left := p.must(t, p.verb("apply", "-f", file, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

// asPrinted runs a command, and compares what each host did with what another
// one's dry run has printed.
func (p *playground) asPrinted(t *testing.T, printed, argv []string) {
	t.Helper()
	want, got := map[string][]string{}, map[string][]string{}
	for _, s := range p.stepsOf(t, printed) {
		host, step, _ := strings.Cut(s, " ")
		want[host] = append(want[host], step)
	}
	_, err := p.suffer(t, argv, func(line told, _ *os.Process) { got[line.Host] = append(got[line.Host], line.Step) })
	if err != nil {
		t.Fatal(err)
	}
	for _, steps := range []map[string][]string{want, got} {
		for _, list := range steps {
			for i := 1; i < len(list); i++ { // nodes are waited for at once
				for j := i; j > 0 && strings.HasPrefix(list[j], "ready ") && strings.HasPrefix(list[j-1], "ready ") && list[j] < list[j-1]; j-- {
					list[j], list[j-1] = list[j-1], list[j]
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("printed (-) and done (+):\n%s", diff)
	}
}

// labels returns the labels and taints of a node.
func (p *playground) labels(t *testing.T, node string) string {
	t.Helper()
	return p.on(t, 1, "k3s kubectl get node "+node+" -o 'jsonpath={.metadata.labels}'") + p.on(t, 1, "k3s kubectl get node "+node+" -o 'jsonpath={.spec.taints}'")
}

func labelsReachNodes(t *testing.T, p *playground) {
	started := "systemctl show k3s-agent -p ActiveEnterTimestampMonotonic"
	before := p.on(t, 2, started)
	for _, c := range []struct{ more, want string }{
		{`, labels: {zone: a, rack: "7"}, taints: ["only=gpu:NoSchedule"]`, "map[kubernetes.io/hostname:node2 rack:7 zone:a][only=gpu:NoSchedule]"},
		{", labels: {zone: b}", "map[kubernetes.io/hostname:node2 zone:b]"},
	} {
		argv := p.verb("apply", "-f", p.clusterfile(t, image(oldVersion), 2, c.more), "--yes")
		p.endure(t, argv, ends(p.stepsOf(t, argv)), p.kill)
		if got := p.labels(t, "node2"); got != c.want {
			t.Errorf("the node has %s, want %s", got, c.want)
		}
		if left := p.must(t, append(argv, "--dry-run")...); left != "" {
			t.Errorf("left to do: %s", left)
		}
	}
	if after := p.on(t, 2, started); after != before {
		t.Error("k3s was started again for a label")
	}
}

func imageAndHostsChange(t *testing.T, p *playground) {
	argv := p.verb("apply", "-f", p.clusterfile(t, image(newVersion), 3, ", labels: {zone: c}"), "--yes")
	p.endure(t, argv, firsts(ends(p.stepsOf(t, argv))), p.kill)
	p.stands(t, newVersion, "master node1, node node3")
	p.asFresh(t, 2)
	if got := p.labels(t, "node3"); !strings.Contains(got, "zone:c") {
		t.Errorf("the node has %s", got)
	}
	if left := p.must(t, append(argv, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 1, 2, 3)
}
