package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refused checks an error against a part of what it says; "" is none.
func refused(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

func TestCommandLineHoldsNoSettings(t *testing.T) {
	refused(t, "server --cluster-init", run(t.Context(), []string{"server", "--cluster-init"}), "(R3)")
	refused(t, "agent --token x", run(t.Context(), []string{"agent", "--token", "x"}), "(R3)")
}

func TestConfigurationIsOfKnownSettings(t *testing.T) {
	for text, want := range map[string]string{
		"token: x\nnode-name: a\n":  "",
		"cluster-init: true\n":      "",
		"clusterinit: true\n":       "flag provided but not defined: -clusterinit",
		"token: ⟨a server token⟩\n": "placeholder",
		"tls-san: [a\n":             "config.yaml",
	} {
		t.Setenv("STANDIN_ROOT", t.TempDir())
		if err := writeFile(configDir+"/config.yaml", 0o600, []byte(text)); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(true)
		refused(t, text, err, want)
	}
	t.Setenv("STANDIN_ROOT", t.TempDir())
	if err := writeFile(configDir+"/config.yaml.d/10.yaml", 0o600, []byte("disable: [traefik]\n")); err != nil {
		t.Fatal(err)
	}
	_, err := readConfig(false)
	refused(t, "a setting of servers on an agent", err, "not defined: -disable")
}

func TestFirstServerGetsAShortToken(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	s := &server{config: settings{"token": "K10abc::server:x"}}
	refused(t, "K10", s.begin(t.Context()), "(R1)")
}

func standing() *state {
	return &state{
		Etcd: true, ServerToken: "s", AgentToken: "a", Critical: map[string]string{"cluster-cidr": digest("10.42.0.0/16")}, Passwords: map[string]string{"m1": digest("p1")},
		Members: []member{{ID: "1", Name: "m1"}}, Objects: map[string]json.RawMessage{},
		Nodes: map[string]node{"m1": {Name: "m1", Role: "server", Version: "v1.25.3+k3s1"}},
	}
}

func TestServersAgreeInTheirCriticalSettings(t *testing.T) {
	refused(t, "same", standing().sameSettings(settings{"cluster-cidr": "10.42.0.0/16", "tls-san": "x"}.critical()), "")
	refused(t, "other", standing().sameSettings(settings{"cluster-cidr": "10.9.0.0/16"}.critical()), "cluster-cidr (R2)")
	refused(t, "more", standing().sameSettings(settings{"cluster-cidr": "10.42.0.0/16", "disable": []any{"servicelb"}}.critical()), "servicelb (R2)")
}

func TestNodesAreAdmittedByNamePasswordAndVersion(t *testing.T) {
	for name, c := range map[string]struct {
		node     node
		password string
		first    bool
		want     string
	}{
		"a new one":                     {node{Name: "n1", Role: "agent", Version: "v1.25.3+k3s1"}, "p", true, ""},
		"an older one":                  {node{Name: "n1", Role: "agent", Version: "v1.24.0+k3s1"}, "p", true, ""},
		"one that is newer":             {node{Name: "n1", Role: "agent", Version: "v1.25.3+k3s2"}, "p", true, "newer than the server m1"},
		"one that was deleted":          {node{Name: "n1", Role: "agent", Version: "v1.25.3+k3s1"}, "p", false, "not found"},
		"another machine":               {node{Name: "m1", Role: "server", Version: "v1.25.3+k3s1"}, "p2", true, "(R13)"},
		"the same, moved on":            {node{Name: "m1", Role: "server", Version: "v1.26.0+k3s1"}, "p1", true, ""},
		"the same, a minor left out":    {node{Name: "m1", Role: "server", Version: "v1.27.0+k3s1"}, "p1", true, "no minor version may be left out"},
		"the same, of an older version": {node{Name: "m1", Role: "server", Version: "v1.25.2+k3s1"}, "p1", true, "does not go back"},
	} {
		refused(t, name, standing().admit(c.node, c.password, c.first), c.want)
	}
	old := standing()
	old.Nodes["n1"] = node{Name: "n1", Role: "agent", Version: "v1.25.3+k3s1"}
	refused(t, "a server older than an agent", old.admit(node{Name: "m2", Role: "server", Version: "v1.25.2+k3s1"}, "p", true), "newer than this server")
}

func TestServersMoveOnAfterASnapshotOnly(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	for _, c := range []struct {
		snapshots, removed []string
		was, want          string
	}{
		{nil, nil, Version, ""},
		{nil, nil, "v1.25.2+k3s1", "no snapshot"},
		{[]string{"v1.25.2+k3s1"}, nil, "v1.25.2+k3s1", ""},
		{[]string{"v1.26.0+k3s1"}, nil, "v1.26.0+k3s1", "does not go back"},
		{nil, []string{"1"}, Version, "has been removed from the cluster"},
	} {
		s := &server{id: "1", state: standing(), config: settings{"node-name": "m1", "cluster-cidr": "10.42.0.0/16"}}
		s.state.Snapshots, s.state.Removed = c.snapshots, c.removed
		s.state.Nodes["m1"] = node{Name: "m1", Role: "server", Version: c.was}
		refused(t, c.was, s.again(), c.want)
	}
}

func TestServerThatIsDeletedLosesItsMembershipAndTheLastOneDoesNot(t *testing.T) {
	s := standing()
	refused(t, "the last", s.forget("m1"), "last server")
	s.Members = append(s.Members, member{ID: "2", Name: "m2"})
	s.Nodes["m2"] = node{Name: "m2"}
	if err := s.forget("m2"); err != nil || len(s.Members) != 1 || s.Removed[0] != "2" {
		t.Errorf("%v, %+v", err, s)
	}
}

func TestArchivesOfImagesAreWholeAndOfAKnownKind(t *testing.T) {
	var whole bytes.Buffer
	w := tar.NewWriter(&whole)
	for _, f := range [][2]string{{"blob", strings.Repeat("x", 4096)}, {"manifest.json", `[{"RepoTags":["docker.io/library/a:v1"]}]`}} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a.tar":      {whole.Bytes(), ""},
		"a.tar.part": {whole.Bytes(), "not an archive of a kind"},
		"cut.tar":    {whole.Bytes()[:1000], "not whole"},
		"empty.tar":  {nil, "no image in it has a name"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := archiveNames(file)
		refused(t, name, err, c.want)
	}
}

func TestArchivesAreRememberedWhereTheyKeepTheirPin(t *testing.T) {
	for version, want := range map[string]string{
		"v1.25.3+k3s1": "(R25)", "v1.33.13+k3s1": "(R25)", "v1.33.13+k3s2": "", "v1.34.9+k3s1": "(R25)", "v1.34.10+k3s1": "", "v1.36.2+k3s1": "(R25)", "v1.37.0+k3s1": "",
	} {
		refused(t, version, remembers(version), want)
	}
	t.Setenv("STANDIN_ROOT", t.TempDir())
	if err := writeFile(imagesDir+"/"+cacheFile, 0o600, nil); err != nil {
		t.Fatal(err)
	}
	_, err := importImages()
	refused(t, "on this version", err, "(R25)")
}
