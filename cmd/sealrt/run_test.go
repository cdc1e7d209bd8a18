package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

// standing returns the state of a cluster that was made once; wholly, if
// stands.
func standing(t *testing.T, stands bool) *state.Folder {
	t.Helper()
	s, err := state.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	err = s.Save(&clusterfile.Document{File: clusterfile.File{APIVersion: clusterfile.APIVersion, Kind: clusterfile.Kind, Spec: clusterfile.Spec{
		SSH:     clusterfile.SSH{User: "ops", Identity: "/key"},
		Hosts:   []clusterfile.Host{{Address: clusterfile.Strings{"ops@10.0.0.1"}, Role: "master"}, {Address: clusterfile.Strings{"10.0.0.2"}, Role: "node"}},
		Network: clusterfile.Network{PodCIDR: clusterfile.Strings{"10.244.0.0/16"}},
		Env:     map[string]string{"CGROUP_DRIVER": "cgroupfs"},
	}}})
	if err == nil && stands {
		err = s.Write("kubeconfig", []byte("{}"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(hosts string) *clusterfile.Spec {
	spec := &clusterfile.Spec{Env: map[string]string{}}
	for i, h := range strings.Split(hosts, ",") {
		role := "node"
		if i == 0 {
			role = "master"
		}
		spec.Hosts = append(spec.Hosts, clusterfile.Host{Address: clusterfile.Strings{h}, Role: role})
	}
	return spec
}

func TestSecondRunKnowsWhatTheFirstWasTold(t *testing.T) {
	asked := ask("10.0.0.1,10.0.0.2,10.0.0.3")
	if err := continued(standing(t, true), "test", asked); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"CGROUP_DRIVER": "cgroupfs"}, asked.Env); diff != "" {
		t.Error(diff)
	}
	if asked.Network.PodCIDR.String() != "10.244.0.0/16" || asked.SSH.User != "ops" || asked.SSH.Identity != "/key" {
		t.Errorf("asked is %+v", asked)
	}
}

func TestSecondRunForgetsNoHostAndChangesNoSetting(t *testing.T) {
	for name, c := range map[string]struct {
		hosts  string
		change func(*clusterfile.Spec)
		want   string
	}{
		"a host is left out":  {"10.0.0.1", nil, "host 10.0.0.2 is a node of the cluster test, and this command does not name it"},
		"a host changes role": {"10.0.0.2,10.0.0.1", nil, "host 10.0.0.1 is a master of the cluster test, not a node: name it with --masters"},
		"another setting":     {"10.0.0.1,10.0.0.2", func(s *clusterfile.Spec) { s.Env["CGROUP_DRIVER"] = "systemd" }, "made with cgroupfs for -e CGROUP_DRIVER"},
		"a new setting":       {"10.0.0.1,10.0.0.2", func(s *clusterfile.Spec) { s.Env["NEW"] = "x" }, "made with the default for -e NEW"},
		"another network":     {"10.0.0.1,10.0.0.2", func(s *clusterfile.Spec) { s.Network.PodCIDR = clusterfile.Strings{"10.9.0.0/16"} }, "made with 10.244.0.0/16 for --pod-cidr"},
	} {
		asked := ask(c.hosts)
		if c.change != nil {
			c.change(asked)
		}
		if err := continued(standing(t, true), "test", asked); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", name, err, c.want)
		}
	}
}

func TestSettingsOfAClusterThatIsNotDoneMayChange(t *testing.T) {
	asked := ask("10.0.0.1,10.0.0.2")
	asked.Env["CGROUP_DRIVER"], asked.Network.PodCIDR = "systemd", clusterfile.Strings{"10.9.0.0/16"}
	if err := continued(standing(t, false), "test", asked); err != nil || asked.Env["CGROUP_DRIVER"] != "systemd" || asked.Network.PodCIDR.String() != "10.9.0.0/16" {
		t.Errorf("%v, %+v", err, asked)
	}
}

func TestMistypedSettingIsRefused(t *testing.T) {
	images := []runtime.Image{{
		Env:   []string{"CGROUP_DRIVER=systemd"},
		Files: fstest.MapFS{"etc/x.tmpl": {Data: []byte("{{ .Env.ONLY_IN_A_TEMPLATE }}")}, "etc/y": {Data: []byte("NOT_A_TEMPLATE")}},
	}}
	for name, known := range map[string]bool{"CGROUP_DRIVER": true, "ONLY_IN_A_TEMPLATE": true, "CGROUP_DRIVERR": false, "NOT_A_TEMPLATE": false} {
		err := knownSettings(images, map[string]string{name: "x"})
		if (err == nil) != known || err != nil && !strings.Contains(err.Error(), "CGROUP_DRIVER") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNetworksAreCheckedBeforeAnyHostIsAsked(t *testing.T) {
	for cidr, good := range map[string]bool{"": true, "10.9.0.0/16": true, "10.9.0.0/16,fd00::/48": true, "10.9.0.1/16": false, "10.9.0.0": false, "x": false} {
		err := checkNetwork(clusterfile.Network{PodCIDR: strings.FieldsFunc(cidr, func(r rune) bool { return r == ',' })})
		var usage usageError
		if (err == nil) != good || err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: %v", cidr, err)
		}
	}
}

func TestAddressesOfHosts(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := "Host alias\n  HostName 192.0.2.7\n"
	if err := os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	env := &environment{home: home}
	for given, want := range map[string]string{"alias": "192.0.2.7", "ops@alias:2222": "192.0.2.7", "192.0.2.9": "192.0.2.9"} {
		m, err := parseMembers(t.Context(), env, given, runtime.Master)
		if err != nil || len(m) != 1 || m[0].NodeIP != want || m[0].Address != given {
			t.Errorf("%s: %+v, %v; want %s", given, m, err, want)
		}
	}
	if _, err := parseMembers(t.Context(), env, "127.0.0.1", runtime.Master); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("127.0.0.1: %v", err)
	}
}

func TestPasswordFromADescriptorThatIsNotOpen(t *testing.T) {
	if _, err := readSecretFD(987); err == nil || !strings.Contains(err.Error(), "--password-fd 987: nothing is open there") {
		t.Errorf("error is %v", err)
	}
}
