package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRulesOfOthersSurviveTheFlush(t *testing.T) {
	rules := "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n:MYKUBE-X - [0:0]\n" +
		"-A INPUT -j KUBE-FIREWALL\n-A INPUT -p tcp --dport 22 -m comment --comment \"not for KUBE-FIREWALL\" -j ACCEPT\n" +
		"-A KUBE-FIREWALL -j DROP\n-A INPUT -j MYKUBE-X\nCOMMIT\n"
	want := "*filter\n:INPUT ACCEPT [0:0]\n:MYKUBE-X - [0:0]\n" +
		"-A INPUT -p tcp --dport 22 -m comment --comment \"not for KUBE-FIREWALL\" -j ACCEPT\n" +
		"-A INPUT -j MYKUBE-X\nCOMMIT\n"
	if diff := cmp.Diff(want, withoutChains(rules, []string{"KUBE-", "CNI-"})); diff != "" {
		t.Error(diff)
	}
}

func TestRulesAboutADeviceThatGoesAreTaken(t *testing.T) {
	rules := "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n" +
		"-A FORWARD -i docker01 -j ACCEPT\n-A FORWARD -m comment --comment docker0 -j ACCEPT\nCOMMIT\n"
	want := "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i docker01 -j ACCEPT\n-A FORWARD -m comment --comment docker0 -j ACCEPT\nCOMMIT\n"
	if diff := cmp.Diff(want, withoutDevices(withoutChains(rules, []string{"DOCKER"}), []string{"docker0"})); diff != "" {
		t.Error(diff)
	}
}

func TestRulesWithoutAChainGoByTheirComment(t *testing.T) {
	rules := "*filter\n:INPUT ACCEPT [0:0]\n" +
		"-A INPUT -m comment --comment \"KUBE-ROUTER rule to accept\" -m mark --mark 0x20000/0x20000 -j ACCEPT\n" +
		"-A INPUT -p tcp -m comment --comment \"no KUBE-ROUTER rule\" -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n"
	want := "*filter\n:INPUT ACCEPT [0:0]\n" +
		"-A INPUT -p tcp -m comment --comment \"no KUBE-ROUTER rule\" -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n"
	if diff := cmp.Diff(want, withoutComments(rules, []string{"KUBE-ROUTER rule"})); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyRoutesInsideTheNetworksAreTaken(t *testing.T) {
	for dst, want := range map[string]bool{
		"10.244.1.0/24": true, "10.244.0.7": true, "10.244.0.0/16": true,
		"10.0.0.0/8": false, "10.245.0.0/24": false, "default": false, "fd00::/64": false,
	} {
		if got := inside(dst, []string{"10.244.0.0/16"}); got != want {
			t.Errorf("%s: %v, want %v", dst, got, want)
		}
	}
}
