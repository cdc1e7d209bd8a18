package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

// asked is a cluster of one host that is about to be made.
func asked(t *testing.T) (*known, *hosttest.Host, *bytes.Buffer) {
	t.Helper()
	ref, err := artifact.ParseReference("kubernetes:v1.34.4")
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	h := hosttest.New("a")
	text := &fstest.MapFile{Data: []byte("version = 2\n")}
	folder, err := state.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	return &known{
		env:    &environment{stderr: &told, progressMode: "plain", getenv: func(string) string { return "" }},
		state:  folder,
		driver: kubernetes.Driver{}, hosts: connections{"10.0.0.1": h},
		cluster: &runtime.Cluster{
			Name: "test", Members: []runtime.Member{{Address: "10.0.0.1", NodeIP: "10.0.0.1", Role: runtime.Master}},
			Images: []runtime.Image{{Ref: ref, Kind: artifact.Kind{Version: "v1.34.4", Arch: "amd64"}, Files: fstest.MapFS{
				"etc/containerd/config.toml.tmpl": text, "etc/kubeadm-init.yaml.tmpl": text,
			}}},
		},
	}, h, &told
}

const swapOn = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"

func TestObstaclesOfHostsAndOfThePlanAreToldTogether(t *testing.T) {
	k, h, _ := asked(t)
	h.WriteFile("/proc/swaps", 0o444, []byte(swapOn))
	h.WriteFile("/etc/kubernetes/mine", 0o600, nil)
	_, err := k.planToCreate(t.Context(), preflightFlags{})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		"preflight, nothing was changed:",
		"host 10.0.0.1: /etc/kubernetes: already there and not made by sealrt: remove it, or use another host",
		"10.0.0.1: [swap] swap is on (/dev/sda2), and kubernetes does not start so: swapoff -a; or pass --fix",
		"--fix mends what says so; a check is passed over with --skip-check NAME, the word in brackets",
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestFixesGoBeforeThePlanAndSkippedChecksAreTold(t *testing.T) {
	k, h, told := asked(t)
	h.WriteFile("/proc/swaps", 0o444, []byte(swapOn))
	plan, err := k.planToCreate(t.Context(), preflightFlags{fix: true})
	if err != nil || plan.Phases[0].Name != "fix" || plan.Phases[1].Name != "deliver" {
		t.Fatalf("%v, %+v", err, plan.Phases[:2])
	}
	plan, err = k.planToCreate(t.Context(), preflightFlags{fix: true, skip: []string{"swap"}})
	if err != nil || plan.Phases[0].Name != "deliver" {
		t.Fatalf("%v, %+v", err, plan.Phases[0])
	}
	if !strings.Contains(told.String(), "10.0.0.1: [swap] skipped as asked: swap is on (/dev/sda2), and kubernetes does not start so\n") {
		t.Errorf("told %q", told)
	}
}
