package k3s_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/distros/distrotest"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

var _ = flag.Bool("update", false, "write golden files anew")

func TestDriver(t *testing.T) {
	distrotest.Run(t, distrotest.Suite{
		Driver:   k3s.Driver{},
		Recipe:   os.DirFS("image"),
		Version:  "v1.25.3+k3s1",
		Next:     "v1.26.1+k3s1",
		Images:   []string{"docker.io/rancher/mirrored-pause:3.6", "docker.io/rancher/mirrored-coredns-coredns:1.9.1"},
		Binaries: []string{"bin/k3s"},
		Trees:    []string{"/etc/rancher/node", "/var/lib/rancher/k3s", "/run/k3s", "/var/lib/cni/networks", "/var/lib/kubelet"},
		Listed:   []string{"/usr/local/bin/k3s", "ctr", "images", "ls"},
		Copied:   []string{"cp", "-a", "/var/lib/rancher/k3s/server/token"},
	})
}

// cluster is one of three masters and a node.
func cluster(version, config string) *runtime.Cluster {
	image := runtime.Image{Digest: "sha256:aa", Paths: []string{"bin/k3s"}, Files: fstest.MapFS{"etc/k3s.yaml": {Data: []byte(config)}}}
	image.Kind.Distro, image.Kind.Version = "k3s", version
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{image}}
	for i, role := range []runtime.Role{runtime.Master, runtime.Master, runtime.Master, runtime.Node} {
		ip := "10.0.0." + string(rune('1'+i))
		c.Members = append(c.Members, runtime.Member{Address: ip, NodeIP: ip, Hostname: "host" + ip[len(ip)-1:], Role: role})
	}
	return c
}

// files returns what the steps write, by path.
func files(t *testing.T, steps []runtime.Step, err error) map[string]string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range steps {
		if w, ok := s.Do.(runtime.Write); ok {
			out[w.Path] = w.Data
		}
	}
	return out
}

func TestUnitsSayServerOrAgentAndNothingElse(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	for _, m := range c.Members {
		steps, err := k3s.Driver{}.Prepare(c, m)
		name, want := "k3s", "server"
		if m.Role == runtime.Node {
			name, want = "k3s-agent", "agent"
		}
		if text := files(t, steps, err)["/etc/systemd/system/"+name+".service"]; !strings.Contains(text, "\nExecStart=/usr/local/bin/k3s "+want+"\n") {
			t.Errorf("%s: unit is %s", m.Name(), text)
		}
	}
}

func TestAgentsGetTheirOwnTokenAndOnlySettingsThatTheyKnow(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "disable: [traefik]\nkubelet-arg: [max-pods=50]\n")
	steps, err := k3s.Driver{}.Prepare(c, c.Members[3])
	text := files(t, steps, err)["/etc/rancher/k3s/config.yaml"]
	for _, want := range []string{"token: ⟨k3s agent token⟩", "server: https://api.test.sealrt.internal:6443", "- max-pods=50", "node-name: host4"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	for _, never := range []string{"server token", "disable", "traefik"} {
		if strings.Contains(text, never) {
			t.Errorf("%q in %s", never, text)
		}
	}
}

func TestServersDifferInTheirNamesAndAddressesOnly(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "disable: [traefik]\n")
	c.Network.PodCIDR = []string{"10.9.0.0/16"}
	var first string
	for _, m := range c.Masters() {
		steps, err := k3s.Driver{}.Prepare(c, m)
		text := files(t, steps, err)["/etc/rancher/k3s/config.yaml"]
		text = strings.NewReplacer(m.Hostname, "NAME", m.NodeIP, "IP").Replace(text)
		if first == "" {
			first = text
		}
		if text != first || !strings.Contains(text, "cluster-cidr: 10.9.0.0/16") || !strings.Contains(text, "- traefik") {
			t.Errorf("%s: %s\nis not %s", m.Name(), text, first)
		}
	}
}

func TestFirstServerFoundsAndOthersJoin(t *testing.T) {
	const role = "/etc/rancher/k3s/config.yaml.d/10-sealrt.yaml"
	c := cluster("v1.25.3+k3s1", "")
	init, err := k3s.Driver{}.Init(c, c.Members[0])
	if got := files(t, init, err)[role]; got != "cluster-init: true\n" {
		t.Errorf("the first is told %q", got)
	}
	join, err := k3s.Driver{}.JoinMaster(c, c.Members[1])
	if got := files(t, join, err)[role]; got != "server: https://api.test.sealrt.internal:6443\n" {
		t.Errorf("the second is told %q", got)
	}
	c.Members = append(c.Members[:1], c.Members[3])
	init, err = k3s.Driver{}.Init(c, c.Members[0])
	if got, there := files(t, init, err)[role]; there {
		t.Errorf("a single one is told %q: it stays on SQLite", got)
	}
}

func TestHostsFindAllMastersButThemselves(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	for i, want := range []string{"10.0.0.2 10.0.0.3", "10.0.0.1 10.0.0.3", "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2 10.0.0.3"} {
		block, _ := k3s.Driver{}.Locate(c, c.Members[i])[0].Do.(runtime.Block)
		var got []string
		for line := range strings.Lines(block.Text) {
			ip, _, _ := strings.Cut(line, " ")
			got = append(got, ip)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %s, want %s", c.Members[i].Name(), got, want)
		}
	}
}

func TestImagesWithSettingsOfOneClusterAreRefused(t *testing.T) {
	for config, want := range map[string]string{
		"token: secret": "says token", "server: https://x": "says server", "cluster-init: true": "says cluster-init",
		"data-dir: /srv": "data-dir /srv is not of k3s alone", "data-dir: /srv/k3s": "", "data-dir: srv": "absolute path", "data-dir: /srv/k3s/../..": "absolute path",
		"{data-dir: /srv/k3s, selinux: true}": "the policy of k3s knows /var/lib/rancher/k3s only", "disable: [traefik]": "",
	} {
		err := k3s.Driver{}.Check(cluster("v1.25.3+k3s1", config))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestUpgradesGoForwardOneMinorAtATime(t *testing.T) {
	for to, want := range map[string]string{
		"v1.25.3+k3s1": "", "v1.25.3+k3s2": "", "v1.25.9+k3s1": "", "v1.26.0+k3s1": "",
		"v1.27.0+k3s1": "go to v1.26 first", "v2.0.0+k3s1": "go to v1.26 first",
		"v1.25.2+k3s9": "cannot go back", "v1.24.9+k3s1": "cannot go back", "latest": "not like",
	} {
		err := k3s.Driver{}.CheckUpgrade(cluster("v1.25.3+k3s1", ""), cluster(to, "").Image())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", to, err, want)
		}
	}
}
