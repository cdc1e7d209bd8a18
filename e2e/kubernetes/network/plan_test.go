package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name, cidrs, ips string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Spec.PodCIDRs = strings.Fields(cidrs)
	for _, ip := range strings.Fields(ips) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return n
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func TestPlan(t *testing.T) {
	clusters := prefixes("10.244.0.0/16", "fd00:1::/48")
	tests := map[string]struct {
		nodes     []*corev1.Node
		want, err string
	}{
		"routes to the others, not to itself": {
			nodes: []*corev1.Node{node("a", "10.244.0.0/24", "10.0.0.1"), node("b", "10.244.1.0/24", "10.0.0.2"), node("c", "10.244.2.0/24", "10.0.0.3")},
			want:  "pods [10.244.0.0/24], 10.244.1.0/24 via 10.0.0.2, 10.244.2.0/24 via 10.0.0.3",
		},
		"each family by its own address": {
			nodes: []*corev1.Node{node("a", "10.244.0.0/24 fd00:1:0:1::/64", "10.0.0.1 fd00::1"), node("b", "10.244.1.0/24 fd00:1:0:2::/64", "fd00::2 10.0.0.2")},
			want:  "pods [10.244.0.0/24 fd00:1:0:1::/64], 10.244.1.0/24 via 10.0.0.2, fd00:1:0:2::/64 via fd00::2",
		},
		"a peer that is not ready is left out": {
			nodes: []*corev1.Node{node("a", "10.244.0.0/24", "10.0.0.1"), node("b", "", "10.0.0.2"), node("c", "10.244.2.0/24", "")},
			want:  "pods [10.244.0.0/24]",
		},
		"no range yet":      {nodes: []*corev1.Node{node("a", "", "10.0.0.1")}, err: "node a has no podCIDR yet"},
		"not in the list":   {nodes: []*corev1.Node{node("b", "10.244.1.0/24", "10.0.0.2")}, err: "node a has no podCIDR yet"},
		"outside the range": {nodes: []*corev1.Node{node("a", "10.9.0.0/24", "10.0.0.1")}, err: "lies outside -cluster-cidr"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := newPlan("a", clusters, tt.nodes)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, p.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRulesetKeepsSourcesInsideTheCluster(t *testing.T) {
	want := `table inet cni-testnet {}
delete table inet cni-testnet
table inet cni-testnet {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return
		ip saddr 10.244.1.0/24 fib daddr type != { local, multicast } masquerade
	}
}
`
	if diff := cmp.Diff(want, ruleset(prefixes("10.244.1.0/24"), prefixes("10.244.0.0/16", "fd00:1::/48"))); diff != "" {
		t.Error(diff)
	}
}

func TestConflistNamesEveryRange(t *testing.T) {
	got, err := conflist(prefixes("10.244.1.0/24", "fd00:1:0:2::/64"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"subnet": "10.244.1.0/24"`, `"subnet": "fd00:1:0:2::/64"`, `"dst": "0.0.0.0/0"`, `"dst": "::/0"`, `"bridge": "cni0"`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestParseRefusesMissingNode(t *testing.T) {
	if _, err := parse(nil, ""); err == nil {
		t.Error("no error without a node name")
	}
	s, err := parse([]string{"-cluster-cidr", "10.1.2.3/16, fd00::1/48"}, "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a [10.1.0.0/16 fd00::/48]", s.node+" "+textOf(s.clusters)); diff != "" {
		t.Error(diff)
	}
}

func textOf(ps []netip.Prefix) string {
	var texts []string
	for _, p := range ps {
		texts = append(texts, p.String())
	}
	return "[" + strings.Join(texts, " ") + "]"
}
