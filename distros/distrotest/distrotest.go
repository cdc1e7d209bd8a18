// Package distrotest is the suite that every distribution's driver passes.
package distrotest

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// Suite is a driver with what its tests need.
type Suite struct {
	Driver  runtime.Driver
	Recipe  fs.FS    // the image/ folder of the distribution
	Version string   // of the distribution
	Env     []string // ENV of the recipe's Kubefile, K=V
	Images  []string // names of container images inside
	// Binaries are files that a release brings and the recipe lacks, by their
	// path in the tree.
	Binaries []string
	// Trees are directories that the software itself would fill.
	Trees []string
	// Listed is the command that lists the container images of a host.
	Listed []string
}

// program stands for the sealrt executable.
const program = "program"

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// Run runs the suite: plans are stable and equal to testdata/*.plan (-update
// writes them), hold no shell, and a reset takes back all that a run made.
func Run(t *testing.T, s Suite) {
	for name, members := range map[string][]runtime.Member{
		"single": {member("10.0.0.1", runtime.Master)},
		"nodes":  {member("10.0.0.1", runtime.Master), member("10.0.0.2", runtime.Node), member("10.0.0.3", runtime.Node)},
	} {
		t.Run(name, func(t *testing.T) {
			life := s.life(t, members)
			create := s.plan(t, life.Create)
			golden(t, name+".plan", printed(t, create))
			golden(t, name+"-reset.plan", printed(t, s.plan(t, life.Reset)))
			noShell(t, create)
			s.resetTakesBack(t, life, members)
		})
	}
}

func member(address string, role runtime.Role) runtime.Member {
	return runtime.Member{Address: address, Role: role, NodeIP: address, Hostname: "host" + address[len(address)-1:]}
}

func (s Suite) life(t *testing.T, members []runtime.Member) *runtime.Runtime {
	t.Helper()
	ref, err := artifact.ParseReference("registry.example.com/" + s.Driver.Name() + ":" + strings.ReplaceAll(s.Version, "+", "-"))
	if err != nil {
		t.Fatal(err)
	}
	image := runtime.Image{
		Ref: ref, Digest: digest, Env: s.Env, Files: s.Recipe, Images: s.Images, Paths: s.Binaries,
		Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: s.Driver.Name(), Version: s.Version, Arch: "amd64"},
	}
	life, err := runtime.New(&runtime.Cluster{Name: "test", Images: []runtime.Image{image}, Members: members}, s.Driver)
	if err != nil {
		t.Fatal(err)
	}
	return life
}

// plan makes a plan twice: a driver has no memory and no clock.
func (s Suite) plan(t *testing.T, make func() (runtime.Plan, error)) runtime.Plan {
	t.Helper()
	first, err := make()
	if err != nil {
		t.Fatal(err)
	}
	second, err := make()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same question has two answers: %s", diff)
	}
	return first
}

func printed(t *testing.T, p runtime.Plan) string {
	t.Helper()
	var b strings.Builder
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it): %s", name, diff)
	}
}

// noShell holds every command against the rule that ours are argument
// vectors.
func noShell(t *testing.T, p runtime.Plan) {
	t.Helper()
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, step := range task.Steps {
				var argv []string
				switch a := step.Do.(type) {
				case runtime.Exec:
					argv = a.Argv
				case runtime.Await:
					argv = a.Argv
				case runtime.Feed:
					argv = a.Argv
				}
				for i, word := range argv {
					shell := slices.Contains([]string{"sh", "bash", "ash", "dash"}, path.Base(word))
					if i == 0 && shell || strings.ContainsAny(word, "|;&<>`\n") {
						t.Errorf("step %q: %q is for a shell", step.ID, argv)
					}
				}
			}
		}
	}
}

// resetTakesBack runs the cluster's plan and its reset on hosts in memory and
// compares what is there before and after.
func (s Suite) resetTakesBack(t *testing.T, life *runtime.Runtime, members []runtime.Member) {
	t.Helper()
	hosts, before := map[string]host.Host{}, map[string][]string{}
	fakes := map[string]*hosttest.Host{}
	for _, m := range members {
		h := s.host(m)
		hosts[m.Address], fakes[m.Address], before[m.Address] = h, h, outside(h)
	}
	engine := func() *runtime.Engine {
		return &runtime.Engine{Cluster: "test", Hosts: hosts, Helper: func(string, string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(program)), nil
		}}
	}
	create, err := life.Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine().Run(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	left, err := engine().Pending(t.Context(), create)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, path.Base(t.Name())+"-again.plan", printed(t, left))
	for _, h := range fakes {
		if len(outside(h)) == len(before[h.Name()]) {
			t.Errorf("host %s: the run made nothing", h.Name())
		}
		for _, dir := range s.Trees {
			h.WriteFile(path.Join(dir, "made", "by-the-software"), 0o600, nil)
		}
	}
	reset, err := life.Reset()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine().Run(t.Context(), reset); err != nil {
		t.Fatal(err)
	}
	for address, h := range fakes {
		if diff := cmp.Diff(before[address], slices.DeleteFunc(h.Files(), func(p string) bool { return p == runtime.Home })); diff != "" {
			t.Errorf("host %s after reset: %s", address, diff)
		}
	}
}

// host returns a machine that has the image's tree already.
func (s Suite) host(m runtime.Member) *hosttest.Host {
	h := hosttest.New(m.Address)
	h.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	h.WriteFile("/proc/self/mounts", 0o444, nil)
	for _, unit := range []string{"systemd-sysctl", "systemd-modules-load"} {
		h.SetUnit(unit, true, true)
	}
	root := runtime.Image{Digest: digest}.Rootfs()
	for _, b := range s.Binaries {
		h.WriteFile(path.Join(root, b), 0o755, []byte(b))
	}
	h.Respond([]string{"find", "/sys/fs/cgroup"}, "", 0)
	h.Respond([]string{"sha256sum", runtime.HelperPath}, fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(program)), runtime.HelperPath), 0)
	h.Respond([]string{runtime.HelperPath, "inventory"}, digest+"\n", 0)
	h.Respond(s.Listed, strings.Join(s.Images, "\n")+"\n", 0)
	return h
}

// outside lists what is on a host beside sealrt's own directory.
func outside(h *hosttest.Host) []string {
	return slices.DeleteFunc(h.Files(), func(p string) bool {
		return p == runtime.Home || strings.HasPrefix(p, runtime.Home+"/")
	})
}
