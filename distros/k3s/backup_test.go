package k3s_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

// printed compares a plan with testdata.
func printed(t *testing.T, name string, p runtime.Plan) string {
	t.Helper()
	var b strings.Builder
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".plan")
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got; -update writes it): %s", file, diff)
	}
	return b.String()
}

// alone is a cluster of one master and a node.
func alone() *runtime.Cluster {
	c := cluster("v1.25.3+k3s1", "")
	c.Members = []runtime.Member{c.Members[0], c.Members[3]}
	return c
}

func life(t *testing.T, c *runtime.Cluster) *runtime.Runtime {
	t.Helper()
	c.Images[0].Images = []string{"docker.io/rancher/mirrored-pause:3.6"}
	l, err := runtime.New(c, k3s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPlansOfBackups(t *testing.T) {
	for name, c := range map[string]*runtime.Cluster{"backup-single": alone(), "backup-masters": cluster("v1.25.3+k3s1", "")} {
		plan, kept, err := life(t, c).Backup("/kept", "once")
		if err != nil {
			t.Fatal(err)
		}
		printed(t, name, plan)
		restore, err := life(t, c).Restore(runtime.Restoration{Kept: kept, On: c.Members[0], Operation: "once", Gone: []string{"old"}, Discard: true})
		if err != nil {
			t.Fatal(err)
		}
		printed(t, strings.Replace(name, "backup", "restore", 1), restore)
	}
}

func TestPlanOfARollback(t *testing.T) {
	c, upgraded := cluster("v1.25.3+k3s1", ""), cluster("v1.26.1+k3s1", "").Image()
	upgraded.Digest = "sha256:bb"
	kept, err := k3s.Driver{}.Snapshotted(c, upgraded)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life(t, c).Rollback(runtime.Restoration{Kept: kept, On: c.Members[1], Operation: "once"}, upgraded)
	if err != nil {
		t.Fatal(err)
	}
	printed(t, "rollback", plan)
}

func TestBackupHoldsTheTokenWithTheDataAndOnlyRootReadsIt(t *testing.T) {
	for _, c := range []*runtime.Cluster{alone(), cluster("v1.25.3+k3s1", "")} {
		_, steps, err := k3s.Driver{}.Backup(c, "/kept")
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for _, s := range steps {
			text += s.Do.String() + "\n"
		}
		for _, want := range []string{"install -d -m 0700 /kept", "/server/token", "/server/cred", "/server/tls"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in:\n%s", want, text)
			}
		}
	}
}

func TestExternalDatastoreIsLeftToItsOwnTools(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "datastore-endpoint: postgres://db\n")
	if _, _, err := (k3s.Driver{}).Backup(c, "/kept"); err == nil || !strings.Contains(err.Error(), "tools of the database") {
		t.Errorf("backup: %v", err)
	}
	if _, err := (k3s.Driver{}).Snapshotted(c, c.Image()); err == nil {
		t.Error("a rollback is promised")
	}
	if steps := (k3s.Driver{}).Snapshot(c, c.Image()); len(steps) != 1 || !strings.Contains(steps[0].Do.String(), "/server/token") {
		t.Errorf("what is kept beside the database: %v", steps)
	}
}

func TestMasterThatIsLeftAloneStaysOnEtcd(t *testing.T) {
	c := alone()
	c.Voted = true
	form, steps, err := k3s.Driver{}.Backup(c, "/kept")
	if err != nil || form != "etcd-snapshot" {
		t.Fatalf("kept as %q: %v", form, err)
	}
	for _, s := range steps {
		if e, ok := s.Do.(runtime.Exec); ok && e.Argv[0] == "systemctl" {
			t.Errorf("etcd need not stop: %v", e.Argv)
		}
	}
}

func TestRestoreOfAnUnknownFormIsRefused(t *testing.T) {
	if _, err := (k3s.Driver{}).Restore(alone(), alone().Members[0], runtime.Kept{Dir: "/kept", Form: "tape"}); err == nil || !strings.Contains(err.Error(), `"tape"`) {
		t.Errorf("error is %v", err)
	}
}

// A restore that goes on must not stop what it has started: what a host loses it
// loses in steps that are done once for the restore.
func TestWhatARestoreTakesAwayItTakesOnce(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	plan, err := life(t, c).Restore(runtime.Restoration{Kept: runtime.Kept{Dir: "/kept", Form: "etcd-snapshot"}, On: c.Members[0], Operation: "once"})
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range plan.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				gentle := !slices.Contains([]string{"halt", "restore", "rejoin"}, strings.Fields(s.ID)[0])
				if !gentle && s.With == "" && s.Operation != "once" {
					t.Errorf("%s: %s: would be done again", task.Member.Name(), s.ID)
				}
			}
		}
	}
}
