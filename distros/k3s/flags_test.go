package k3s_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

func TestSettingsAreHeldAgainstTheVersion(t *testing.T) {
	for _, tt := range []struct{ version, config, want string }{
		{"v1.25.3+k3s1", "disable-kube-proxy: true", ""},
		{"v1.25.3+k3s1", "embedded-registry: true", "says embedded-registry, which k3s v1.25.3+k3s1 does not know and would leave out: it came with v1.26.13, v1.27.10, v1.28.6, v1.29.1"},
		{"v1.29.1+k3s1", "embedded-registry: true", ""},
		{"v1.30.0+k3s1", "vpn-auth-file: /etc/vpn", ""},
		{"v1.25.3+k3s1", "kublet-arg: [a=b]", "did you mean kubelet-arg?"},
		{"v1.25.3+k3s1", "kublet-arg+: [a=b]", "did you mean kubelet-arg?"},
		{"v1.36.0+k3s1", "disabel: [traefik]", "did you mean disable?"},
		{"v1.25.3+k3s1", "something-new: 1", "v1.25.3+k3s1 does not know"},
		{"v1.36.9+k3s1", "something-new: 1", ""}, // k3s may have added it
		{"v1.25.3+k3s1", "no-deploy: traefik", "any more: write disable"},
		{"v1.36.2+k3s1", "helm-controller-arg: [a=b]", "it came with v1.33.13"},
	} {
		for where, c := range map[string]*runtime.Cluster{"the image's configuration": cluster(tt.version, tt.config), "line 9 of the Clusterfile": cluster(tt.version, "")} {
			if where != "the image's configuration" {
				c.Others = document(tt.config)
			}
			err := k3s.Driver{}.Check(c)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), where)) {
				t.Errorf("%s: %s: %v, want %q of %s", tt.version, tt.config, err, tt.want, where)
			}
		}
	}
}

func TestAgentsAreNotToldWhatOnlyNewOnesKnow(t *testing.T) {
	for version, want := range map[string]any{"v1.25.3+k3s1": nil, "v1.34.1+k3s1": "10.0.0.0"} {
		c := cluster(version, "bind-address: 10.0.0.0")
		if got := prepared(t, c, c.Members[3])["bind-address"]; got != want {
			t.Errorf("an agent of %s is told %v", version, got)
		}
		if got := prepared(t, c, c.Members[0])["bind-address"]; got != "10.0.0.0" {
			t.Errorf("a server of %s is told %v", version, got)
		}
	}
}

func TestServersAreToldTheSame(t *testing.T) {
	for template, want := range map[string]string{
		`cluster-domain: {{ if eq .Host.Name "10.0.0.2" }}b{{ else }}a{{ end }}.local`:        "cluster-domain is [a.local] and [b.local] on 10.0.0.1 and 10.0.0.2",
		`disable: [{{ if eq .Host.Name "10.0.0.3" }}traefik{{ else }}servicelb{{ end }}]`:     "disable servicelb is true and false on 10.0.0.1 and 10.0.0.3",
		`secrets-encryption: {{ eq .Host.Name "10.0.0.1" }}`:                                  "secrets-encryption is [true] and [false]",
		`datastore-endpoint: "{{ .Host.Name }}"`:                                              "datastore-endpoint differs on 10.0.0.1 and 10.0.0.2",
		`data-dir: /srv/{{ .Host.Name }}`:                                                     "data-dir is /srv/10.0.0.1 on 10.0.0.1 and /srv/10.0.0.2 on 10.0.0.2",
		`disable: [{{ if eq .Host.Name "10.0.0.3" }}traefik{{ else }}local-storage{{ end }}]`: "",
		`flannel-backend: {{ if eq .Host.Name "10.0.0.2" }}vxlan{{ end }}`:                    "", // what k3s does anyway
		`cluster-domain: {{ if eq .Host.Name "10.0.0.4" }}b{{ else }}a{{ end }}.local`:        "", // which an agent is not told
	} {
		c := cluster("v1.25.3+k3s1", "")
		c.Images[0].Files = fstest.MapFS{"etc/k3s.yaml.tmpl": {Data: []byte(template)}}
		err := k3s.Driver{}.Check(c)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", template, err, want)
		}
	}
}

func TestUpgradesKeepWhatServersAgreeIn(t *testing.T) {
	for _, tt := range []struct{ is, will, want string }{
		{"", "", ""},
		{"disable: [traefik]", "disable: []", ""},
		{"", "flannel-backend: host-gw", "flannel-backend is [vxlan] and [host-gw], before and after"},
		{"cluster-cidr: 10.9.0.0/16", "", "cluster-cidr is [10.9.0.0/16] and [10.42.0.0/16]"},
		{"", "data-dir: /srv/k3s", "the cluster has /var/lib/rancher/k3s for its data-dir, and would have /srv/k3s"},
	} {
		err := k3s.Driver{}.CheckUpgrade(cluster("v1.25.3+k3s1", tt.is), cluster("v1.26.1+k3s1", tt.will).Image())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s → %s: %v, want %q", tt.is, tt.will, err, tt.want)
		}
	}
}

func TestDatastoreOfTheUsers(t *testing.T) {
	const role = "/etc/rancher/k3s/config.yaml.d/10-sealrt.yaml"
	c := cluster("v1.25.3+k3s1", "")
	c.Others = document("datastore-endpoint: postgres://db\ndatastore-cafile: |\n  -----BEGIN CERTIFICATE-----\n  x\ndatastore-certfile: /etc/pki/db.pem\n")
	if err := (k3s.Driver{}).Check(c); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Members {
		want := map[string]any{"datastore-endpoint": "postgres://db", "datastore-cafile": "/etc/rancher/k3s/datastore/ca.pem", "datastore-certfile": "/etc/pki/db.pem"}
		if m.Role == runtime.Node {
			want = map[string]any{"datastore-endpoint": nil, "datastore-cafile": nil, "datastore-certfile": nil}
		}
		got := prepared(t, c, m)
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s is told %s: %v", m.Name(), key, got[key])
			}
		}
		steps, err := k3s.Driver{}.Prepare(c, m)
		text, there := files(t, steps, err)["/etc/rancher/k3s/datastore/ca.pem"]
		if there != (m.Role == runtime.Master) || there && text != "-----BEGIN CERTIFICATE-----\nx\n" {
			t.Errorf("%s has %q, %v", m.Name(), text, there)
		}
	}
	if (k3s.Driver{}).Votes(c) {
		t.Error("servers without an etcd of their own vote")
	}
	for i, make := range []func(*runtime.Cluster, runtime.Member) ([]runtime.Step, error){k3s.Driver{}.Init, k3s.Driver{}.JoinMaster} {
		steps, err := make(c, c.Members[i])
		if text, there := files(t, steps, err)[role]; there {
			t.Errorf("a server that finds the others in the datastore is told %q", text)
		}
	}
}

func TestADatastoreOfTheUsersIsNotCopied(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Others = document("datastore-endpoint: postgres://db")
	steps := k3s.Driver{}.Snapshot(c, c.Image())
	if len(steps) != 1 || steps[0].With != "" || !strings.Contains(steps[0].Do.String(), "/server/token") {
		t.Errorf("%+v", steps)
	}
}

func TestServersStartAgainWithNewFilesOfTheDatastore(t *testing.T) {
	revision := func(text string) string {
		c := cluster("v1.25.3+k3s1", "")
		c.Others = document("datastore-endpoint: postgres://db\ndatastore-cafile: |\n  -----BEGIN CERTIFICATE-----\n  " + text + "\n")
		steps, err := k3s.Driver{}.Init(c, c.Members[0])
		if err != nil {
			t.Fatal(err)
		}
		s, _ := steps[len(steps)-1].Do.(runtime.Service)
		return s.Revision
	}
	if revision("x") == revision("y") {
		t.Error("nothing is started again")
	}
}

func TestSettingsThatADatastoreLeavesWithoutEffectAreRefused(t *testing.T) {
	for config, want := range map[string]string{
		"datastore-cafile: /x": "datastore-cafile without datastore-endpoint has no effect",
		"{datastore-endpoint: x, etcd-snapshot-schedule-cron: x}": "settings of etcd have no effect",
	} {
		if err := (k3s.Driver{}).Check(cluster("v1.25.3+k3s1", config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestBothAddressesOfAHost(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Network.DualStack = true
	for i := range c.Members {
		c.Members[i].OtherIP = "fd00::" + string(rune('1'+i))
	}
	if err := (k3s.Driver{}).Check(c); err != nil {
		t.Fatal(err)
	}
	told := func() []any {
		return []any{prepared(t, c, c.Members[0])["node-ip"], prepared(t, c, c.Members[3])["node-ip"]}
	}
	if diff := cmp.Diff([]any{"10.0.0.1,fd00::1", "10.0.0.4,fd00::4"}, told()); diff != "" {
		t.Error(diff)
	}
	c.Network.PodCIDR, c.Network.ServiceCIDR = []string{"fd01::/56", "10.1.0.0/16"}, []string{"fd02::/112", "10.2.0.0/16"}
	if diff := cmp.Diff([]any{"fd00::1,10.0.0.1", "fd00::4,10.0.0.4"}, told()); diff != "" {
		t.Errorf("the family of pods is not the first: %s", diff)
	}
	c.Members[2].OtherIP = ""
	if err := (k3s.Driver{}).Check(c); err == nil || !strings.Contains(err.Error(), "10.0.0.3 has none") {
		t.Errorf("one host has one address: %v", err)
	}
	c.Members[2].OtherIP, c.Network.PodCIDR = "fd00::3", nil
	c.Network.DualStack, c.Network.ServiceCIDR = false, nil
	if err := (k3s.Driver{}).Check(c); err == nil || !strings.Contains(err.Error(), "one network of pods") {
		t.Errorf("one network: %v", err)
	}
}
