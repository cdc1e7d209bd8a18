package k3s_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

// scripted is a cluster whose image has the script at a place.
func scripted(place, text string) *runtime.Cluster {
	c := cluster("v1.25.3+k3s1", "")
	c.Images[0].Paths = append(c.Images[0].Paths, place)
	c.Images[0].Files.(fstest.MapFS)[place] = &fstest.MapFile{Data: []byte(text)}
	return c
}

// step returns the step with an ID, which has to be there.
func step(t *testing.T, c *runtime.Cluster, m runtime.Member, id string) runtime.Step {
	t.Helper()
	steps, err := k3s.Driver{}.Prepare(c, m)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(steps, func(s runtime.Step) bool { return s.ID == id })
	if at < 0 {
		t.Fatalf("%s: no step %q", m.Name(), id)
	}
	return steps[at]
}

func TestScriptOfTheImageInstallsWithoutInternetAndSettings(t *testing.T) {
	for _, place := range []string{"k3s-install.sh", "scripts/k3s-install.sh"} {
		c := scripted(place, "#!/bin/sh\n")
		c.Env = map[string]string{"K3S_SECRET": "s3cr3t"}
		c.Proxy.HTTPS = "http://proxy"
		for _, m := range []runtime.Member{c.Members[0], c.Members[3]} {
			name, role := "k3s", "server"
			if m.Role == runtime.Node {
				name, role = "k3s-agent", "agent"
			}
			copied := step(t, c, m, "install script").Do.(runtime.Install)
			if got := copied.From + "/" + copied.Names[0]; got != "./k3s-install.sh" && got != place {
				t.Errorf("%s: copied from %s", place, got)
			}
			exec := step(t, c, m, "install").Do.(runtime.Exec)
			want := []string{
				"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
				"INSTALL_K3S_SKIP_DOWNLOAD=true", "INSTALL_K3S_SKIP_SELINUX_RPM=true", "INSTALL_K3S_SKIP_START=true",
				"INSTALL_K3S_BIN_DIR=/usr/local/bin", "INSTALL_K3S_SYMLINK=skip", "INSTALL_K3S_TYPE=" + map[string]string{"server": "notify", "agent": "exec"}[role], "INSTALL_K3S_EXEC=" + role,
				"sh", "/var/lib/sealrt/scratch/k3s/k3s-install.sh",
			}
			if diff := cmp.Diff(want, exec.Argv); diff != "" {
				t.Error(diff)
			}
			makes := []string{"/etc/systemd/system/" + name + ".service", "/etc/systemd/system/" + name + ".service.env", "/usr/local/bin/k3s-killall.sh", "/usr/local/bin/" + name + "-uninstall.sh"}
			if diff := cmp.Diff(makes, exec.Makes); diff != "" {
				t.Error(diff)
			}
			steps, err := k3s.Driver{}.Prepare(c, m)
			written := files(t, steps, err)
			if _, ours := written["/etc/systemd/system/"+name+".service"]; ours {
				t.Errorf("%s: the unit of the script is written over", place)
			}
			if env := step(t, c, m, "environment"); env.After != "install" || !strings.Contains(written[makes[1]], "K3S_SECRET=") || !strings.Contains(written[makes[1]], "HTTPS_PROXY=") {
				t.Errorf("%s: the variables are not written after the script: %+v", place, env)
			}
		}
	}
}

func TestScriptRunsAgainOnlyWhenItsTextIsAnother(t *testing.T) {
	run := func(digest, text string) string {
		c := scripted("k3s-install.sh", text)
		c.Images[0].Digest = digest
		exec := step(t, c, c.Members[0], "install").Do.(runtime.Exec)
		return exec.String() + strings.Join(exec.Env, " ")
	}
	if run("sha256:aa", "one") != run("sha256:bb", "one") {
		t.Error("the same script of another image would run again")
	}
	if run("sha256:aa", "one") == run("sha256:aa", "two") {
		t.Error("another script would not run")
	}
}

func TestWithoutAScriptTheHostGetsWhatTheDocumentationNames(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "data-dir: /data/k3s\n")
	c.DataDir.Kubelet = "/data/kubelet"
	for _, m := range []runtime.Member{c.Members[0], c.Members[3]} {
		name := "k3s"
		if m.Role == runtime.Node {
			name = "k3s-agent"
		}
		steps, err := k3s.Driver{}.Prepare(c, m)
		written := files(t, steps, err)
		for path, says := range map[string][]string{
			"/usr/local/bin/k3s-killall.sh":                {"K3S_DATA_DIR:-/data/k3s}", "/data/kubelet/pods/*"},
			"/usr/local/bin/" + name + "-uninstall.sh":     {"/usr/local/bin/k3s-killall.sh", "disable " + name + " ", "rm -f /etc/systemd/system/" + name + ".service ", "/data/kubelet"},
			"/etc/systemd/system/" + name + ".service":     {"[Service]"},
			"/etc/systemd/system/" + name + ".service.env": {"#"},
		} {
			for _, want := range says {
				if !strings.Contains(written[path], want) {
					t.Errorf("%s: no %q in %s", path, want, written[path])
				}
			}
			if strings.Contains(written[path], "@") {
				t.Errorf("%s: something is not filled in: %s", path, written[path])
			}
		}
		var linked []string
		for _, s := range steps {
			if l, ok := s.Do.(runtime.Link); ok {
				linked = append(linked, l.Path)
			}
		}
		if diff := cmp.Diff([]string{"/usr/local/bin/kubectl", "/usr/local/bin/crictl", "/usr/local/bin/ctr"}, linked); diff != "" {
			t.Error(diff)
		}
	}
	c.Images[0].Paths = append(c.Images[0].Paths, "bin/kubectl")
	steps, err := k3s.Driver{}.Prepare(c, c.Members[0])
	if err != nil || slices.ContainsFunc(steps, func(s runtime.Step) bool { return s.ID == "link kubectl" }) {
		t.Errorf("the image's own kubectl is in the way of a link, %v", err)
	}
}

// order returns the places of steps among others, by the beginning of their IDs.
func order(steps []runtime.Step, begin ...string) []int {
	var out []int
	for _, b := range begin {
		out = append(out, slices.IndexFunc(steps, func(s runtime.Step) bool { return strings.HasPrefix(s.ID, b) }))
	}
	return out
}

func TestHostIsUninstalledAfterTheLinksOfCilium(t *testing.T) { // R18
	c := cluster("v1.25.3+k3s1", "data-dir: /data/k3s\n")
	for m, script := range map[int]string{0: "k3s-uninstall.sh", 3: "k3s-agent-uninstall.sh"} {
		steps := k3s.Driver{}.Reset(c, c.Members[m])
		at := order(steps, "links of cilium", "stop k3s", "guard", "run "+script, "flush")
		if at[0] < 0 || !slices.IsSorted(at) {
			t.Errorf("%s: steps are in the order %v", script, at)
		}
		exec := steps[at[3]].Do.(runtime.Exec)
		if diff := cmp.Diff([]string{"/var/lib/sealrt/scratch/k3s/run.sh", "/usr/local/bin/" + script, "240", "/data/k3s", "/var/lib/kubelet"}, exec.Argv); diff != "" {
			t.Error(diff)
		}
		for _, s := range steps {
			if s.Undoes == "" {
				t.Errorf("%s is done on a host that is not ours", s.ID)
			}
		}
	}
	if at := order(k3s.Driver{}.Kill(c, c.Members[0]), "links of cilium", "run k3s-killall.sh"); at[0] < 0 || !slices.IsSorted(at) {
		t.Errorf("killed in the order %v", at)
	}
}

func TestForcedDeletionOfAStuckHostGoesOn(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	life, err := runtime.New(c, k3s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*runtime.Runtime{"": life, "forced": life.Forced()} {
		plan, err := l.DeleteNodes(c.Members[3:])
		if err != nil {
			t.Fatal(err)
		}
		killed := false
		for _, phase := range plan.Phases {
			for _, task := range phase.Tasks {
				for _, s := range task.Steps {
					killed = killed || s.ID == "run k3s-killall.sh"
					exec, _ := s.Do.(runtime.Exec)
					if on := task.Member.Address == c.Members[3].Address; on && s.Tolerate != (name != "") && !exec.Tolerate {
						t.Errorf("%s: %s: may fail: %v", name, s.ID, s.Tolerate)
					}
				}
			}
		}
		if killed != (name != "") {
			t.Errorf("%s: k3s-killall.sh runs: %v", name, killed)
		}
	}
}
