// Package distrotest is the suite that every distribution's driver passes.
package distrotest

import (
	"context"
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
	Next    string   // a version to upgrade to, where the driver can
	Env     []string // ENV of the recipe's Kubefile, K=V
	Images  []string // names of container images inside
	// Binaries are files that a release brings and the recipe lacks, by their
	// path in the tree.
	Binaries []string
	// Trees are directories that the software itself would fill.
	Trees []string
	// Units are systemd units that a command of the software makes, by their
	// names: the beginning of that command.
	Units map[string][]string
	// Listed is the command that lists the container images of a host, and Known
	// what it says; empty: Images.
	Listed, Known []string
	// Copied is the command by which an upgrade keeps what the software itself has
	// made, which is on no host in memory; empty: there is none.
	Copied []string
	// Runtime is the container runtime that clusters ask for. The names of golden
	// files begin with it.
	Runtime string
}

// program stands for the sealrt executable.
const program = "program"

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

const nextDigest = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// Run runs the suite: plans are stable and equal to testdata/*.plan (-update
// writes them), hold no shell, and a reset takes back all that a run made.
func Run(t *testing.T, s Suite) {
	clusters := map[string][]runtime.Member{
		"single": {member("10.0.0.1", runtime.Master)},
		"nodes":  {member("10.0.0.1", runtime.Master), member("10.0.0.2", runtime.Node), member("10.0.0.3", runtime.Node)},
	}
	if _, ok := s.Driver.(runtime.MasterJoiner); ok {
		clusters["masters"] = []runtime.Member{
			member("10.0.0.1", runtime.Master), member("10.0.0.2", runtime.Master), member("10.0.0.3", runtime.Master), member("10.0.0.4", runtime.Node),
		}
		t.Run("changes", func(t *testing.T) { s.changes(t, clusters["masters"]) })
		if _, ok := s.Driver.(runtime.Upgrader); ok {
			t.Run("upgrade stops", func(t *testing.T) { s.upgradeStops(t, clusters["masters"]) })
		}
	}
	t.Run("stations", s.holdStations)
	for name, members := range clusters {
		t.Run(name, func(t *testing.T) {
			life := s.life(t, members)
			create := s.plan(t, life.Create)
			golden(t, s.file(name), printed(t, create))
			golden(t, s.file(name+"-reset"), printed(t, s.plan(t, life.Reset)))
			noShell(t, create)
			s.resetTakesBack(t, life, members)
		})
	}
}

// changes holds the plans that change a cluster against testdata/*.plan.
func (s Suite) changes(t *testing.T, members []runtime.Member) {
	life := s.life(t, members)
	plans := map[string]func() (runtime.Plan, error){
		"add-master":  func() (runtime.Plan, error) { return life.JoinMasters(members[2:3]) },
		"add-node":    func() (runtime.Plan, error) { return life.JoinNodes(members[3:]) },
		"delete-node": func() (runtime.Plan, error) { return life.DeleteNodes(members[3:]) },
	}
	if _, ok := s.Driver.(runtime.Leaver); ok {
		plans["delete-master"] = func() (runtime.Plan, error) { return life.DeleteMasters(members[2:3]) }
	}
	if _, ok := s.Driver.(runtime.Upgrader); ok {
		next := s.image(t, s.Next, nextDigest)
		plans["upgrade"] = func() (runtime.Plan, error) { return life.Upgrade(next) }
	}
	if _, ok := s.Driver.(runtime.Renewer); ok {
		plans["renew"] = func() (runtime.Plan, error) { return life.UpdateCert(runtime.Renewal{ID: "1"}) }
	}
	for name, make := range plans {
		plan := s.plan(t, make)
		golden(t, s.file(name), printed(t, plan))
		noShell(t, plan)
	}
}

// file is the name of a golden file.
func (s Suite) file(name string) string {
	if s.Runtime != "" {
		name = s.Runtime + "-" + name
	}
	return name + ".plan"
}

func member(address string, role runtime.Role) runtime.Member {
	return runtime.Member{Address: address, Role: role, NodeIP: address, Hostname: "host" + address[len(address)-1:]}
}

func (s Suite) life(t *testing.T, members []runtime.Member) *runtime.Runtime {
	t.Helper()
	life, err := runtime.New(s.cluster(t, members), s.Driver)
	if err != nil {
		t.Fatal(err)
	}
	return life
}

func (s Suite) cluster(t *testing.T, members []runtime.Member) *runtime.Cluster {
	t.Helper()
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{s.image(t, s.Version, digest)}, Members: slices.Clone(members)}
	c.Runtime = s.Runtime
	return c
}

func (s Suite) image(t *testing.T, version, digest string) runtime.Image {
	t.Helper()
	ref, err := artifact.ParseReference("registry.example.com/" + s.Driver.Name() + ":" + strings.ReplaceAll(version, "+", "-"))
	if err != nil {
		t.Fatal(err)
	}
	return runtime.Image{
		Ref: ref, Digest: digest, Env: s.Env, Files: s.Recipe, Images: s.Images, Paths: s.Binaries, Programs: s.Binaries,
		Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: s.Driver.Name(), Version: version, Arch: "amd64"},
	}
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
	golden(t, s.file(path.Base(t.Name())+"-again"), printed(t, left))
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
		if value, _, err := h.File(forward); err != nil || string(value) != "0\n" {
			t.Errorf("host %s after reset: %s is %q, %v", address, forward, value, err)
		}
	}
}

// forward is a parameter of the kernel that every distribution needs.
const forward = "/proc/sys/net/ipv4/ip_forward"

// host returns a machine that has the image's tree already.
func (s Suite) host(m runtime.Member) *hosttest.Host {
	h := hosttest.New(m.Address)
	h.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	h.WriteFile("/proc/self/mounts", 0o444, nil)
	h.WriteFile(forward, 0o644, []byte("0\n"))
	root := runtime.Image{Digest: digest}.Rootfs()
	for _, b := range s.Binaries {
		h.WriteFile(path.Join(root, b), 0o755, []byte(b))
	}
	h.Respond([]string{"find", "/sys/fs/cgroup"}, "", 0)
	h.Respond([]string{"sha256sum", runtime.HelperPath}, fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(program)), runtime.HelperPath), 0)
	h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check"}, digest+"\n", 0)
	h.Respond([]string{"mv", "-T"}, "", 0) // of what a Feed wrote, which it does not here
	for name, command := range s.Units {
		h.Serve(command, func(context.Context, host.Command) error {
			h.WriteFile("/etc/systemd/system/"+name+".service", 0o644, nil)
			return nil
		})
	}
	known := s.Known
	if len(known) == 0 {
		known = s.Images
	}
	h.Respond(s.Listed, strings.Join(known, "\n")+"\n", 0)
	return h
}

// outside lists what is on a host beside sealrt's own directory.
func outside(h *hosttest.Host) []string {
	return slices.DeleteFunc(h.Files(), func(p string) bool {
		return p == runtime.Home || strings.HasPrefix(p, runtime.Home+"/")
	})
}
