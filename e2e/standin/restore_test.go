package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kept writes a snapshot of a cluster of three, and the configuration of a host.
func keptSnapshot(t *testing.T, config string) {
	t.Helper()
	t.Setenv("STANDIN_ROOT", t.TempDir())
	st := standing()
	st.Members = append(st.Members, member{ID: "2", Name: "m2"}, member{ID: "3", Name: "m3"})
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"/kept/sealrt-m1-7": string(raw), configDir + "/config.yaml": config, "/kept/other": "{}"} {
		if err := writeFile(path, 0o600, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func reset(t *testing.T, file string) error {
	t.Helper()
	return run(t.Context(), []string{"server", "--cluster-reset", resetPath + "/kept/" + file})
}

const (
	theirs   = "node-name: m1\nnode-ip: 10.0.0.1\n"
	rightKey = theirs + "token: s\n"
)

func TestSnapshotIsPutBackWithItsOwnTokenOnlyWhereNoServerRuns(t *testing.T) {
	for name, c := range map[string]struct{ config, file, want string }{
		"the right token":     {rightKey, "sealrt-m1-7", ""},
		"another token":       {theirs + "token: other\n", "sealrt-m1-7", "(R24)"},
		"a server that joins": {rightKey + "server: https://m2:6443\n", "sealrt-m1-7", "server URL is set"},
		"no such file":        {rightKey, "gone", "does not exist"},
		"another file":        {rightKey, "other", "is no snapshot"},
	} {
		keptSnapshot(t, c.config)
		refused(t, name, reset(t, c.file), c.want)
	}

	keptSnapshot(t, rightKey)
	held, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "while a server runs", reset(t, "sealrt-m1-7"), "is stopped before its data is touched")
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, "when it has stopped", reset(t, "sealrt-m1-7"), "")
	refused(t, "twice", reset(t, "sealrt-m1-7"), "previously reset")
}

func TestServerThatWasResetIsAloneAndTakesItsNodeBack(t *testing.T) {
	keptSnapshot(t, rightKey)
	refused(t, "reset", reset(t, "sealrt-m1-7"), "")
	s := &server{config: settings{"node-name": "m1", "node-ip": "10.0.0.1", "token": "s", "cluster-cidr": "10.42.0.0/16"}}
	if err := s.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.state.Members) != 1 || s.state.Members[0].ID != s.id || s.state.Passwords["m1"] != "" {
		t.Errorf("%+v", s.state)
	}
	if _, err := os.Stat(root(resetFlag)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the flag is there still: %v", err)
	}
	refused(t, "another reset", reset(t, "sealrt-m1-7"), "")
}

func TestServerWithDataOfBeforeAResetDoesNotStart(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	now := standing()
	now.Members[0].ID = "9"
	_, web := started(t, "9", now)
	old := standing()
	old.Members[0].URL = web.URL
	old.Members = append(old.Members, member{ID: "2", Name: "m2"})
	late := &server{id: "2", state: old, client: newClient()}
	refused(t, "with its old data", late.superseded(t.Context()), "(R13)")
	now.Members = append(now.Members, member{ID: "2", Name: "m2"})
	refused(t, "as one of those that are there", late.superseded(t.Context()), "")
}

func TestDataOfSQLiteOpensWithItsOwnTokenOnly(t *testing.T) {
	for token, want := range map[string]string{"s": "", "K10abc::server:s": "", "other": "(R24)"} {
		t.Setenv("STANDIN_ROOT", t.TempDir())
		st := standing()
		st.Etcd = false
		if err := st.save(); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(memberFile, 0o600, []byte("1")); err != nil {
			t.Fatal(err)
		}
		s := &server{config: settings{"node-name": "m1", "token": token, "cluster-cidr": "10.42.0.0/16"}}
		refused(t, token, s.begin(t.Context()), want)
	}
}

func TestArgumentsOfAServerAreForAResetAlone(t *testing.T) {
	for _, c := range []struct {
		args string
		path string
		yes  bool
	}{
		{"--cluster-reset", "", true},
		{"--cluster-reset --cluster-reset-restore-path=/a", "/a", true},
		{"--cluster-reset --token=x", "", false},
		{"--cluster-init", "", false},
		{"", "", false},
	} {
		if path, yes := resets(strings.Fields(c.args)); path != c.path || yes != c.yes {
			t.Errorf("%q: %q, %v", c.args, path, yes)
		}
	}
}

func TestSnapshotsAreListedAndDeleted(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	dir := root(dataDir + "/server/db/snapshots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "ls", snapshot(t.Context(), []string{"ls"}), "")
	refused(t, "delete", snapshot(t.Context(), []string{"delete", "a"}), "")
	refused(t, "delete again", snapshot(t.Context(), []string{"delete", "a"}), "no such file")
	refused(t, "elsewhere", snapshot(t.Context(), []string{"delete", "../a"}), "knows")
}

func TestPasswordOfANodeIsForgottenWithItsSecret(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	st := standing()
	st.Admin = "root"
	one, web := started(t, "1", st)
	ask := func(name string) error {
		return one.call(t.Context(), web.URL+"/standin/delete", "root", question{"secret", "kube-system", name}, nil)
	}
	refused(t, "of a node", ask("m1"+passwordSecret), "")
	refused(t, "again", ask("m1"+passwordSecret), "not found")
	if one.current().Passwords["m1"] != "" {
		t.Error("it is known still")
	}
}
