package main

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

// moved notes an upgrade of the shop and keeps it.
func moved(t *testing.T, k *known, from, to string) {
	t.Helper()
	was, next := *k.cluster, k.cluster.Image()
	was.Images = []runtime.Image{k.cluster.Image()}
	was.Images[0].Digest, next.Digest = from, to
	k.upgrading(&was, next)
	if err := k.keepUpgrade(); err != nil {
		t.Fatal(err)
	}
}

func TestUpgradeLeavesWhatARollbackNeeds(t *testing.T) {
	env, _ := somebody(t)
	k := shop(t, env, "v1.25.3+k3s1")
	if _, _, err := k.upgraded(); err == nil || !strings.Contains(err.Error(), "no upgrade is known") {
		t.Errorf("never upgraded: %v", err)
	}
	moved(t, k, "sha256:aa", "sha256:bb")
	first, on, err := k.upgraded()
	if err != nil || on.Address != "10.0.0.1" || first.From.Digest != "sha256:aa" || !strings.HasSuffix(first.Kept.Dir, "before-bb") || first.Kept.Form != "files" {
		t.Fatalf("%+v on %+v, %v", first, on, err)
	}

	first.Time = first.Time.AddDate(0, 0, -1)
	if err := k.record(upgradeFile, first); err != nil {
		t.Fatal(err)
	}
	moved(t, k, "sha256:aa", "sha256:bb") // it goes on
	if u, _, err := k.upgraded(); err != nil || !u.Time.Equal(first.Time) {
		t.Errorf("an upgrade that goes on is taken for another: %+v, %v", u, err)
	}
	moved(t, k, "sha256:bb", "sha256:bb") // there is nothing to do
	if u, _, err := k.upgraded(); err != nil || u.From.Digest != "sha256:aa" {
		t.Errorf("the way back was lost: %+v, %v", u, err)
	}
	moved(t, k, "sha256:bb", "sha256:cc")
	if u, _, err := k.upgraded(); err != nil || u.From.Digest != "sha256:bb" {
		t.Errorf("the next upgrade: %+v, %v", u, err)
	}

	k.cluster.Members[0].Address = "10.0.0.9"
	if _, _, err := k.upgraded(); err == nil || !strings.Contains(err.Error(), "lay on 10.0.0.1, which is no master") {
		t.Errorf("its host has left: %v", err)
	}
	if err := k.record(upgradeFile, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.upgraded(); err == nil || !strings.Contains(err.Error(), "no upgrade is known") {
		t.Errorf("after a rollback: %v", err)
	}
}
