package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsOfTheCommandLineHoldNoSecret(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSettings([]string{"A=1", "B=x=y", "DB_PASSWORD=env:DBP", "TOKEN=file:token", "K=file:~/k", "URL=http://proxy"})
	want := map[string]string{"A": "1", "B": "x=y", "DB_PASSWORD": "env:DBP", "TOKEN": "file:" + filepath.Join(here, "token"), "K": "file:~/k", "URL": "http://proxy"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	for _, kv := range []string{"DB_PASSWORD=hunter2", "URL=http://u:hunter2@proxy"} {
		_, err := parseSettings([]string{kv})
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "env:NAME or file:PATH") {
			t.Errorf("%s: %v", kv, err)
		}
	}
}

func TestSettingsOfAppsElsewhereAreLookedUp(t *testing.T) {
	env := &environment{getenv: func(name string) string { return map[string]string{"DBP": "s3cret"}[name] }}
	asked := map[string]string{"A": "1", "P": "env:DBP", "Q": "env:GONE"}
	got, err := env.revealedSettings(asked)
	if err == nil || !strings.Contains(err.Error(), "env Q: the variable GONE is not set") {
		t.Errorf("error is %v", err)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "P": "s3cret", "Q": "env:GONE"}, got); diff != "" || asked["P"] != "env:DBP" {
		t.Error(diff, asked)
	}
}
