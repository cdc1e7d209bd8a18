package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestForecastIsPrintedWithReasonsPerHostAndInSum(t *testing.T) {
	f := &runtime.Forecast{
		Phases: []runtime.ForecastPhase{
			{Name: "prepare", Steps: []runtime.ForecastStep{{Host: "10.0.0.1", Does: "write /etc/x (0644, 3 bytes)", Why: "differs from what was done"}, {Host: "10.0.0.2", Does: "enable and start kubelet", Why: "restarts because /etc/x changes"}}},
			{Name: "reset masters", Serial: true, Steps: []runtime.ForecastStep{{Host: "10.0.0.1", Does: "undo", Why: "every time"}}},
		},
		Hosts: []runtime.HostForecast{
			{Host: "10.0.0.1", Steps: 2, Bytes: 2048, Disturbs: runtime.Disturbance{Services: []string{"containerd", "kubelet"}, Pods: true, API: true}},
			{Host: "10.0.0.2", Steps: 1, Bytes: 3072, Restarts: []string{"kubelet"}},
			{Host: "10.0.0.3"},
		},
		Steps: 3, FromClient: 3072, FromPeers: 2048, Restarts: 1,
	}
	want := `prepare (hosts at once)
  10.0.0.1  write /etc/x (0644, 3 bytes) (differs from what was done)
  10.0.0.2  enable and start kubelet (restarts because /etc/x changes)
reset masters (one host after another)
  10.0.0.1  undo (every time)

HOST      STEPS  TO SEND  RESTARTS  DISTURBS
10.0.0.1  2      2.0 KiB  -         stops containerd, kubelet; its pods; its API
10.0.0.2  1      3.0 KiB  kubelet   -
2 hosts, 3 steps, 3.0 KiB to send from here, 2.0 KiB from host to host, 1 restart
`
	var got bytes.Buffer
	if err := printForecast(&got, f); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestSavedPlanIsForItsOwnerOnly(t *testing.T) {
	name := filepath.Join(t.TempDir(), "plan")
	if err := savePlan(name, runtime.SavedPlan{Asked: &clusterfile.Document{}}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := loadPlan(name); err != nil {
		t.Error(err)
	}
}

func TestLastOperationIsToldInALine(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begun := runtime.LastOperation{Operation: runtime.Operation{Command: "run", Client: "ops@here"}, Began: began, State: runtime.OutcomeBegun}
	done, failed, open := begun, begun, begun
	done.State, done.Ended, done.Done = runtime.OutcomeDone, began.Add(90*time.Second), 7
	failed.State, failed.Failed = runtime.OutcomeFailed, []runtime.JournalEntry{{Step: "join", Host: "10.0.0.2"}}
	open.Open = []runtime.JournalEntry{{Step: "init", Host: "10.0.0.1"}}
	for want, l := range map[string]runtime.LastOperation{
		"done after 1m30s (7 steps)":               done,
		`failed at "join" on host 10.0.0.2`:        failed,
		`not ended: it was at "init" on host 10.0`: open,
		"2026-01-02T03:04:05Z, not ended":          begun,
	} {
		if got := lastOperationText(&l); !strings.HasPrefix(got, "last operation: run by ops@here, ") || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestJournalOfTheClientIsReadAgain(t *testing.T) {
	s := standing(t, true)
	k := &known{env: &environment{}, state: s}
	if last, err := k.lastOperation(); last != nil || err != nil {
		t.Errorf("%v, %v", last, err)
	}
	for _, line := range []string{`{"operation":"a","command":"run","state":"begun"}`, `{"operation":"a","command":"run","state":"done"}`} {
		if err := k.Record(t.Context(), []byte(line+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := k.lastOperation(); err != nil || last == nil || last.State != runtime.OutcomeDone {
		t.Errorf("%v, %v", last, err)
	}
}
