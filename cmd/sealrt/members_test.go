package main

import (
	"os"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

// knownCluster is one of a master and a node, with a state.
func knownCluster(t *testing.T, driver runtime.Driver) *known {
	t.Helper()
	s, err := state.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &known{env: &environment{home: t.TempDir()}, state: s, driver: driver, cluster: &runtime.Cluster{
		Name: "test", Spec: clusterfile.Spec{SSH: clusterfile.SSH{User: "ops"}},
		Members: []runtime.Member{{Address: "10.0.0.1", Role: runtime.Master, Hostname: "one"}, {Address: "ops@10.0.0.2", Role: runtime.Node, Hostname: "two"}},
	}}
}

func TestNewcomersAreListedOnceAndKeepTheirRole(t *testing.T) {
	for _, c := range []struct{ masters, nodes, want string }{
		{"", "10.0.0.3", ""},
		{"10.0.0.3", "10.0.0.4,10.0.0.5", ""},
		{"", "10.0.0.2", ""}, // it failed to join, and is tried again
		{"", "", "no host is named"},
		{"", "10.0.0.3,10.0.0.3", "give each host once"},
		{"10.0.0.3", "10.0.0.3", "given twice"},
		{"10.0.0.2", "", "is a node of the cluster test already: delete it first"},
	} {
		k := knownCluster(t, nil)
		fresh, err := k.newcomers(t.Context(), memberFlags{masters: c.masters, nodes: c.nodes})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		seen := map[string]bool{}
		for _, m := range k.cluster.Members {
			if seen[m.Name()] {
				t.Errorf("%+v: %s is listed twice", c, m.Name())
			}
			seen[m.Name()] = true
		}
		for _, m := range fresh {
			if err == nil && !seen[m.Name()] {
				t.Errorf("%+v: %s is not listed", c, m.Name())
			}
		}
	}
}

func TestHostsToDeleteAreNamedByAddressOrName(t *testing.T) {
	for _, c := range []struct{ masters, nodes, want string }{
		{"10.0.0.1", "", ""}, {"one", "two", ""}, {"", "10.0.0.2,two", ""},
		{"", "10.0.0.9", "the cluster test has no host 10.0.0.9"},
		{"10.0.0.2", "", "host 10.0.0.2 is a node: name it with --nodes"},
		{"", "", "no host is named"},
	} {
		gone, err := knownCluster(t, nil).chosen(memberFlags{masters: c.masters, nodes: c.nodes})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
		if c.nodes == "10.0.0.2,two" && len(gone) != 1 {
			t.Errorf("one host is %d", len(gone))
		}
	}
}

// keeper is a driver that wants one secret.
type keeper struct{ runtime.Driver }

func (keeper) Secrets() []runtime.Captured { return []runtime.Captured{"token"} }

func TestSecretsAreMadeOnceKeptFromOthersAndNeverMadeAnew(t *testing.T) {
	k := knownCluster(t, keeper{})
	first, err := k.secrets()
	if err != nil || len(first["token"]) != 64 {
		t.Fatalf("%v, %v", first, err)
	}
	again, err := k.secrets()
	if err != nil || again["token"] != first["token"] {
		t.Errorf("%v, %v", again, err)
	}
	if err := os.WriteFile(k.state.KubeconfigPath(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.made = nil
	if _, err := k.secrets(); err == nil || !strings.Contains(err.Error(), "sealrt recover") {
		t.Errorf("secrets of a cluster that stands were made anew: %v", err)
	}
}
