package main

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/e2e/standin/document"
)

func TestSettingsBesideADatastore(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	for file, mode := range map[string]os.FileMode{"/ca.pem": 0o600, "/open.pem": 0o644} {
		if err := writeFile(file, mode, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		config settings
		want   string
	}{
		"alone":              {settings{endpoint: "https://x", "token": "s"}, ""},
		"a store of its own": {settings{endpoint: "https://x", "cluster-init": true}, "cluster-init beside datastore-endpoint"},
		"another server":     {settings{endpoint: "https://x", "server": "https://y"}, "server beside datastore-endpoint"},
		"files":              {settings{endpoint: "https://x", "datastore-cafile": "/ca.pem"}, ""},
		"files for all":      {settings{endpoint: "https://x", "datastore-cafile": "/open.pem"}, "for everybody to read"},
		"files that are not": {settings{endpoint: "https://x", "datastore-keyfile": "/none.pem"}, "no such file"},
		"files of nothing":   {settings{"datastore-cafile": "/ca.pem"}, "datastore-cafile without datastore-endpoint"},
	} {
		refused(t, name, checkDatastore(c.config), c.want)
	}
}

// sharing is a server of a host of its own that shares a datastore.
func sharing(t *testing.T, name, at string, more settings) (*server, error) {
	t.Helper()
	t.Setenv("STANDIN_ROOT", t.TempDir())
	s, _ := started(t, name, &state{})
	s.config = settings{endpoint: at, "node-name": name, "node-ip": "127.0.0.1", "token": "s", "agent-token": "a"}
	for key, value := range more {
		s.config[key] = value
	}
	return s, s.begin(t.Context())
}

func TestServersShareADatastore(t *testing.T) {
	kept := &document.Document{Password: "secret"}
	web := httptest.NewServer(kept)
	defer web.Close()
	u, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("k3s", "secret")
	at := u.String()
	if _, err := sharing(t, "m0", web.URL, nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without the password: %v", err)
	}
	one, err := sharing(t, "m1", at, nil)
	refused(t, "the first", err, "")
	if one.state.Etcd || len(one.state.CAs) == 0 {
		t.Errorf("the first has %+v", one.state)
	}
	_, err = sharing(t, "m2", at, settings{"token": "other"})
	refused(t, "another token", err, "(R24)")
	_, err = sharing(t, "m2", at, settings{"flannel-backend": "none"})
	refused(t, "another critical setting", err, "flannel-backend (R2)")
	two, err := sharing(t, "m2", at, nil)
	refused(t, "the second", err, "")
	if two.state.Admin != one.state.Admin || len(two.state.Members) != 2 {
		t.Errorf("the second has %+v", two.state)
	}

	// both write, and neither loses what the other wrote
	for name, s := range map[string]*server{"m1": one, "m2": two} {
		if err := s.change(t.Context(), nil, func(st *state) error {
			return st.admit(node{Name: name, Role: "server", IP: "127.0.0.1", Version: Version}, name, true)
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused(t, "catch up", one.catchUp(t.Context(), nil), "")
	var st state
	if err := json.Unmarshal(kept.Text(), &st); err != nil || len(st.Nodes) != 2 || len(one.state.Nodes) != 2 {
		t.Errorf("%v, the datastore has the nodes %v, the first server %v", err, st.Nodes, one.state.Nodes)
	}

	// a majority is not needed
	if _, _, err := two.leader(t.Context()); err != nil {
		t.Errorf("one of two: %v", err)
	}
	if _, err := os.Stat(root(stateFile)); err == nil {
		t.Error("a server has data of its own")
	}
}

func TestNodesReachBothFamilies(t *testing.T) {
	for name, c := range map[string]struct {
		config settings
		want   string
	}{
		"one":                      {settings{"node-ip": "10.0.0.1"}, ""},
		"both":                     {settings{"cluster-cidr": "10.42.0.0/16,fd00::/56", "service-cidr": "10.43.0.0/16,fd01::/112", "node-ip": "10.0.0.1,fd02::1"}, ""},
		"IPv6 first":               {settings{"cluster-cidr": "fd00::/56,10.42.0.0/16", "service-cidr": "fd01::/112,10.43.0.0/16", "node-ip": "fd02::1,10.0.0.1"}, ""},
		"IPv6 first, not the host": {settings{"cluster-cidr": "fd00::/56,10.42.0.0/16", "service-cidr": "fd01::/112,10.43.0.0/16", "node-ip": "10.0.0.1,fd02::1"}, "is of IPv46"},
		"one address":              {settings{"cluster-cidr": "10.42.0.0/16,fd00::/56", "service-cidr": "10.43.0.0/16,fd01::/112", "node-ip": "10.0.0.1"}, "pods of the other family"},
		"services of one":          {settings{"cluster-cidr": "10.42.0.0/16,fd00::/56", "node-ip": "10.0.0.1,fd02::1"}, "the same families"},
	} {
		refused(t, name, checkFamilies(c.config), c.want)
	}
	st := standing()
	st.Families = "46"
	refused(t, "an agent with one address", st.admit(node{Name: "n1", Role: "agent", IP: "10.0.0.4", Version: Version}, "p", true), "n1: networks are of IPv46")
	refused(t, "an agent with both", st.admit(node{Name: "n1", Role: "agent", IP: "10.0.0.4,fd02::4", Version: Version}, "p", true), "")
	if got := (settings{"node-ip": "fd02::1,10.0.0.1"}).address(); got != "10.0.0.1" {
		t.Errorf("others reach it by %s", got)
	}
}

func TestEverythingLiesBelowDataDir(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	t.Cleanup(func() { dataPlace = "" })
	if err := writeFile(configDir+"/config.yaml", 0o600, []byte("data-dir: /srv/k3s\n")); err != nil {
		t.Fatal(err)
	}
	if err := placeData(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{stateFile: "/srv/k3s/server/db/state.json", imagesDir: "/srv/k3s/agent/images", configDir: configDir} {
		if got := strings.TrimPrefix(root(path), os.Getenv("STANDIN_ROOT")); got != want {
			t.Errorf("%s is at %s", path, got)
		}
	}
}
