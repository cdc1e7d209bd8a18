package runtime_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/certificates"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// plain is a driver that says what it is asked in one command each.
type plain struct{}

func says(words ...string) []runtime.Step {
	return []runtime.Step{{ID: strings.Join(words, " "), Do: runtime.Exec{Argv: words}}}
}

func (plain) Name() string                                              { return "plain" }
func (plain) Check(*runtime.Cluster) error                              { return nil }
func (plain) Needs(*runtime.Cluster, runtime.Member) runtime.Needs      { return runtime.Needs{} }
func (plain) Import(*runtime.Cluster, runtime.Image) []runtime.Step     { return says("import") }
func (plain) Grant(*runtime.Cluster) []runtime.Step                     { return says("grant") }
func (plain) Forget(*runtime.Cluster, runtime.Member) []runtime.Step    { return nil }
func (plain) Kubectl(args ...string) []string                           { return append([]string{"kubectl"}, args...) }
func (plain) Settled(*runtime.Cluster) []runtime.Step                   { return nil }
func (plain) Reset(_ *runtime.Cluster, m runtime.Member) []runtime.Step { return nil }
func (plain) Kubeconfig() string                                        { return "/etc/admin.conf" }
func (plain) Welcome(*runtime.Cluster) []runtime.Step                   { return says("welcome") }
func (plain) Votes(*runtime.Cluster) bool                               { return true }
func (plain) CheckUpgrade(*runtime.Cluster, runtime.Image) error        { return nil }
func (plain) Snapshot(*runtime.Cluster, runtime.Image) []runtime.Step   { return says("snapshot") }
func (plain) Moved(_ *runtime.Cluster, m runtime.Member) []runtime.Step {
	return says("moved", m.Hostname)
}
func (plain) MovedBy(m runtime.Member) string { return "move " + m.Hostname }
func (plain) Locate(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	return says("locate", fmt.Sprint(len(c.Masters())))
}
func (plain) Prepare(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) { return nil, nil }
func (plain) Init(_ *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return says("init", m.Hostname), nil
}
func (plain) JoinNode(_ *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return says("join", m.Hostname), nil
}
func (plain) JoinMaster(_ *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return says("join", m.Hostname), nil
}
func (plain) Voting(_ *runtime.Cluster, m runtime.Member) []runtime.Step {
	return says("voting", m.Hostname)
}
func (plain) Leave(_ *runtime.Cluster, m runtime.Member, dead bool) ([]runtime.Step, error) {
	return says("leave", m.Hostname, fmt.Sprint(dead)), nil
}
func (plain) Upgrade(_, _ *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return says("move", m.Hostname), nil
}
func (plain) Renew(_ *runtime.Cluster, m runtime.Member, how runtime.Renewal) ([]runtime.Step, error) {
	return []runtime.Step{{ID: "renew " + m.Hostname, Do: runtime.Exec{Argv: []string{"renew", m.Hostname}, Env: how.Env()}}}, nil
}
func (plain) RotateCA(*runtime.Cluster, runtime.Renewal) ([]runtime.Step, error) {
	return says("rotate", "CA"), nil
}
func (plain) AddNames(_ *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return says("name", m.Hostname), nil
}
func (plain) Certificates(_ *runtime.Cluster, m runtime.Member) runtime.Certificates {
	return runtime.Certificates{Files: []string{"/etc/plain/*.crt"}, Fresh: []string{"/etc/plain/a.crt"}, Endpoints: []certificates.Endpoint{
		{Name: runtime.APIEndpoint, Address: m.Address + ":6443", File: "/etc/plain/a.crt"}, {Name: "kubelet", Address: m.Address + ":10250"},
	}}
}

// plainImage is an image of the driver; its digest begins with the letter.
func plainImage(letter string) runtime.Image {
	ref, err := artifact.ParseReference("plain:" + letter)
	if err != nil {
		panic(err)
	}
	return runtime.Image{Ref: ref, Digest: "sha256:" + strings.Repeat(letter, 64), Files: fstest.MapFS{}, Kind: artifact.Kind{Type: artifact.TypeRootfs}}
}

// plainCluster has masters m1..., nodes n1..., of which some do not answer.
func plainCluster(masters, nodes int, down ...string) *runtime.Cluster {
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{plainImage("a")}, Down: map[string]bool{}}
	for i := range masters {
		name := fmt.Sprint("m", i+1)
		c.Members = append(c.Members, runtime.Member{Address: name, Hostname: name, Role: runtime.Master})
	}
	for i := range nodes {
		name := fmt.Sprint("n", i+1)
		c.Members = append(c.Members, runtime.Member{Address: name, Hostname: name, Role: runtime.Node})
	}
	for _, d := range down {
		c.Down[d] = true
	}
	return c
}

func pick(c *runtime.Cluster, names string) []runtime.Member {
	var out []runtime.Member
	for _, n := range strings.Fields(names) {
		for _, m := range c.Members {
			if m.Address == n {
				out = append(out, m)
			}
		}
	}
	return out
}

func life(t *testing.T, c *runtime.Cluster) *runtime.Runtime {
	t.Helper()
	r, err := runtime.New(c, plain{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// told is a plan in short: a line for each phase, without what is delivered and
// what is shown to people and tidied up.
func told(t *testing.T, p runtime.Plan, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, phase := range p.Phases {
		if phase.Name == "publish" || phase.Name == "tidy" {
			continue
		}
		var words []string
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if s.ID == "sealrt" || strings.HasPrefix(s.ID, "load ") {
					continue
				}
				words = append(words, task.Member.Address+":"+strings.ReplaceAll(s.ID, " ", "_"))
			}
		}
		if len(words) > 0 {
			fmt.Fprintf(&out, "%s: %s\n", phase.Name, strings.Join(words, " "))
		}
	}
	return out.String()
}

func TestMastersJoinOneAfterAnotherEachVotingBeforeTheNext(t *testing.T) {
	c := plainCluster(3, 1, "n1")
	c.Acting = "m1"
	p, err := life(t, c).JoinMasters(pick(c, "m2 m3"))
	want := `prepare: m2:import m3:import
welcome: m1:welcome
grant: m1:grant
join master: m2:join_m2
ready: m1:ready_m2
vote: m1:voting_m2
join master: m3:join_m3
ready: m1:ready_m3
vote: m1:voting_m3
locate: m1:locate_3
`
	if diff := cmp.Diff(want, told(t, p, err)); diff != "" {
		t.Error(diff)
	}
}

func TestNodesJoinFiftyAtATime(t *testing.T) {
	c := plainCluster(1, 120)
	p, err := life(t, c).JoinNodes(c.Nodes())
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, phase := range p.Phases {
		if phase.Name == "join nodes" {
			sizes = append(sizes, len(phase.Tasks))
		}
	}
	if fmt.Sprint(sizes) != "[50 50 20]" {
		t.Errorf("batches of %v", sizes)
	}
}

func TestNodesAreEmptiedForgottenAndCleaned(t *testing.T) {
	c := plainCluster(3, 2, "m1")
	c.Acting = "m2"
	p, err := life(t, c).DeleteNodes(pick(c, "n1"))
	if got, want := told(t, p, err), "drain: m2:drain_n1\nleave: m2:delete_node_n1\nclean: n1:undo\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestDeadHostsAreForgottenOnlyByForceAndNeverCleaned(t *testing.T) {
	c := plainCluster(3, 2, "n1", "m3")
	for _, del := range []func(*runtime.Runtime) (runtime.Plan, error){
		func(r *runtime.Runtime) (runtime.Plan, error) { return r.DeleteNodes(pick(c, "n1")) },
		func(r *runtime.Runtime) (runtime.Plan, error) { return r.DeleteMasters(pick(c, "m3")) },
	} {
		if _, err := del(life(t, c)); err == nil || !strings.Contains(err.Error(), "does not answer") || !strings.Contains(err.Error(), "--force") {
			t.Errorf("error is %v", err)
		}
	}
	p, err := life(t, c).Forced().DeleteNodes(pick(c, "n1"))
	if got, want := told(t, p, err), "leave: m1:delete_node_n1\n"; got != want {
		t.Errorf("got %s", got)
	}
	p, err = life(t, c).Forced().DeleteMasters(pick(c, "m3"))
	want := `locate: m1:locate_2 m2:locate_2 n2:locate_2
quorum: m1:ready_m1 m1:ready_m2
leave: m1:leave_m3_true
quorum: m1:ready_m1 m1:ready_m2
`
	if diff := cmp.Diff(want, told(t, p, err)); diff != "" {
		t.Error(diff)
	}
}

func TestHostThatWasNeverReachedIsDropped(t *testing.T) {
	c := plainCluster(1, 1, "n1")
	c.Members[1].Hostname = ""
	p, err := life(t, c).Forced().DeleteNodes(c.Nodes())
	if got := told(t, p, err); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestGuardOfTheMajority(t *testing.T) {
	for _, c := range []struct {
		masters    int
		down, gone string
		want       string // of the error, "" for none
	}{
		{3, "", "m1", ""},
		{3, "", "m1 m2", ""},
		{3, "", "m1 m2 m3", "3 masters of 3 masters would be deleted"},
		{1, "", "m1", "keeps at least one"},
		{2, "", "m2", ""},
		{3, "m3", "m3", ""},
		{3, "m3", "m2", "without m2 1 of 2 masters would answer, and a majority of 2 is needed"},
		{3, "m2 m3", "m3", "1 of 3 masters answers: a majority of 2 is needed to delete m3"},
		{2, "m2", "m2", "1 of 2 masters answers: a majority of 2 is needed"},
		{5, "m4 m5", "m4 m5", ""},
		{5, "m4 m5", "m1", "without m1 2 of 4 masters would answer, and a majority of 3 is needed"},
		{3, "m1", "m2 m3", "no master that answers would be left"},
	} {
		cluster := plainCluster(c.masters, 0, strings.Fields(c.down)...)
		_, err := life(t, cluster).Forced().DeleteMasters(pick(cluster, c.gone))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d masters, down %q, delete %q: %v, want %q", c.masters, c.down, c.gone, err, c.want)
		}
	}
}

func TestTwoMastersAreRefusedUnlessForced(t *testing.T) {
	c := plainCluster(2, 0)
	if _, err := life(t, c).Create(); err == nil || !strings.Contains(err.Error(), "two masters are worse than one") {
		t.Errorf("error is %v", err)
	}
	if _, err := life(t, c).JoinMasters(c.Masters()[1:]); err == nil {
		t.Error("a second master is let in")
	}
	if _, err := life(t, c).Forced().Create(); err != nil {
		t.Error(err)
	}
	for n, want := range map[int]int{1: 0, 3: 0, 4: 1} {
		if got := life(t, plainCluster(n, 0)).Advice(); len(got) != want {
			t.Errorf("%d masters: %q", n, got)
		}
	}
}

func TestUpgradeGoesFromGateToGate(t *testing.T) {
	c := plainCluster(3, 3)
	c.Batch, c.Acting = 2, "m2"
	p, err := life(t, c).Upgrade(plainImage("b"))
	want := `before: m2:ready_m1 m2:ready_m2 m2:ready_m3 m2:ready_n1 m2:ready_n2 m2:ready_n3
snapshot: m2:snapshot
stage: m1:import m2:import m3:import n1:import n2:import n3:import
upgrade master: m1:move_m1 m1:moved_to_bbbbbbbbbbbbbbbb
moved: m2:moved_m1
ready: m2:ready_m1
upgrade master: m3:move_m3 m3:moved_to_bbbbbbbbbbbbbbbb
moved: m2:moved_m3
ready: m2:ready_m3
upgrade master: m2:move_m2 m2:moved_to_bbbbbbbbbbbbbbbb
moved: m2:moved_m2
ready: m2:ready_m2
drain: m2:upgrade_drain_n1 m2:upgrade_drain_n2
upgrade nodes: n1:move_n1 n1:moved_to_bbbbbbbbbbbbbbbb n2:move_n2 n2:moved_to_bbbbbbbbbbbbbbbb
moved: m2:moved_n1 m2:moved_n2
ready: m2:ready_n1 m2:ready_n2
uncordon: m2:upgrade_uncordon_n1 m2:upgrade_uncordon_n2
drain: m2:upgrade_drain_n3
upgrade nodes: n3:move_n3 n3:moved_to_bbbbbbbbbbbbbbbb
moved: m2:moved_n3
ready: m2:ready_n3
uncordon: m2:upgrade_uncordon_n3
`
	if diff := cmp.Diff(want, told(t, p, err)); diff != "" {
		t.Error(diff)
	}
	c.Down["n3"] = true
	if _, err := life(t, c).Upgrade(plainImage("b")); err == nil || !strings.Contains(err.Error(), "1 host does not answer") {
		t.Errorf("error is %v", err)
	}
}

// machines are hosts in memory for all members of a cluster.
func machines(c *runtime.Cluster) (map[string]*hosttest.Host, func() *runtime.Engine) {
	hosts, open := map[string]*hosttest.Host{}, map[string]host.Host{}
	for _, m := range c.Members {
		h := newHost(m.Address)
		for _, i := range []runtime.Image{plainImage("a"), plainImage("b")} {
			h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check", i.Digest}, i.Digest+"\n", 0)
		}
		h.Respond([]string{"mv", "-T"}, "", 0) // of a tree that nobody unpacked
		for _, i := range []string{"a", "b"} {
			h.WriteFile(plainImage(i).Rootfs()+"/there", 0o644, nil)
		}
		hosts[m.Address], open[m.Address] = h, h
	}
	return hosts, func() *runtime.Engine {
		return &runtime.Engine{Cluster: c.Name, Hosts: open, Helper: func(string, string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("program")), nil
		}}
	}
}

func TestUpgradeThatStoppedGoesOnAndDisturbsNobodyTwice(t *testing.T) {
	c := plainCluster(1, 3)
	hosts, engine := machines(c)
	p, err := life(t, c).Upgrade(plainImage("b"))
	if err != nil {
		t.Fatal(err)
	}
	hosts["n2"].Fail([]string{"move"}, errors.New("disk full"), 1)
	if err := engine().Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), "upgrade nodes: host n2") {
		t.Fatalf("error is %v", err)
	}
	if n := count(hosts["n3"], "move n3"); n != 0 {
		t.Error("a node behind the gate was upgraded")
	}
	for range 2 {
		if err := engine().Run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for _, once := range []string{"drain n1", "drain n2", "drain n3", "uncordon n1", "uncordon n2", "uncordon n3", "snapshot", "move m1"} {
		if n := count(hosts["m1"], once); n != 1 {
			t.Errorf("%s: %d times, want once", once, n)
		}
	}
	if n := count(hosts["n1"], "move n1"); n != 1 {
		t.Errorf("n1 moved %d times", n)
	}
}

func TestNodesThatHaveMovedAreNotEmptiedByAnotherMaster(t *testing.T) {
	c := plainCluster(3, 2)
	hosts, engine := machines(c)
	for _, acting := range []string{"m1", "m2"} {
		c.Acting = acting
		p, err := life(t, c).Upgrade(plainImage("b"))
		if err != nil {
			t.Fatal(err)
		}
		if acting == "m1" {
			hosts["n2"].Fail([]string{"move"}, errors.New("disk full"), 1)
		}
		if err := engine().Run(t.Context(), p); (err != nil) != (acting == "m1") {
			t.Fatal(err)
		}
	}
	if moved, left := count(hosts["m2"], "drain n1"), count(hosts["m2"], "drain n2"); moved != 0 || left != 1 {
		t.Errorf("the node that had moved was emptied %d times, the other %d times", moved, left)
	}
}

func TestNodeThatIsAddedAgainIsDrainedAgain(t *testing.T) {
	c := plainCluster(1, 1)
	hosts, engine := machines(c)
	for range 2 {
		p, err := life(t, c).JoinNodes(c.Nodes())
		if err == nil {
			err = engine().Run(t.Context(), p)
		}
		if err != nil {
			t.Fatal(err)
		}
		if p, err = life(t, c).DeleteNodes(c.Nodes()); err == nil {
			err = engine().Run(t.Context(), p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, on := range map[string]string{"join n1": "n1", "drain --selector=kubernetes.io/hostname=n1": "m1", "delete node n1": "m1"} {
		if n := count(hosts[on], what); n != 2 {
			t.Errorf("%s: %d times, want twice", what, n)
		}
	}
}

func TestPodsThatCannotBeMovedKeepTheirNodeUnlessForced(t *testing.T) {
	c := plainCluster(1, 1)
	hosts, engine := machines(c)
	hosts["n1"].Remove("/var/lib/sealrt/rootfs") // it failed to join
	hosts["m1"].Respond([]string{"kubectl", "drain"}, "Cannot evict pod as it would violate the pod's disruption budget.", 1)
	p, err := life(t, c).DeleteNodes(c.Nodes())
	if err != nil {
		t.Fatal(err)
	}
	if err := engine().Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), "disruption budget") || count(hosts["m1"], "delete node") != 0 {
		t.Errorf("%v, %q", err, hosts["m1"].Transcript())
	}
	if p, err = life(t, c).Forced().DeleteNodes(c.Nodes()); err != nil {
		t.Fatal(err)
	}
	if err := engine().Run(t.Context(), p); err != nil || count(hosts["m1"], "delete node n1") != 1 {
		t.Errorf("%v, %q", err, hosts["m1"].Transcript())
	}
}

func TestResetTakesNodesFirstAndOnlyThoseThatAnswer(t *testing.T) {
	c := plainCluster(3, 2, "n2", "m1")
	if _, err := life(t, c).Reset(); err == nil || !strings.Contains(err.Error(), "2 hosts do not answer") {
		t.Errorf("error is %v", err)
	}
	p, err := life(t, c).Forced().Reset()
	if got, want := told(t, p, err), "reset nodes: n1:undo\nreset masters: m3:undo m2:undo\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestSecretsReachHostsAndNoPlanNorLedger(t *testing.T) {
	x := newBed(t)
	x.Secrets = map[runtime.Captured]string{secret: "s3cr3t"}
	plan := onA(write("/etc/join", "token: "+secret.String()))
	if err := x.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if data, _, _ := x.a.File("/etc/join"); string(data) != "token: s3cr3t" {
		t.Errorf("file is %q", data)
	}
	ledger, _, _ := x.a.File("/var/lib/sealrt/ledger.jsonl")
	if strings.Contains(string(ledger)+told(t, plan, nil), "s3cr3t") {
		t.Errorf("the ledger has %s", ledger)
	}
}

func TestStepIsNeedlessWhereAnotherWasDone(t *testing.T) {
	x := newBed(t)
	found := runtime.Step{ID: "found", Unless: "join", Do: runtime.Exec{Argv: []string{"found-a-cluster"}}}
	if err := x.Run(t.Context(), onA(exec("join", "join-a-cluster"), found)); err != nil {
		t.Fatal(err)
	}
	if count(x.a, "found-a-cluster") != 1 {
		t.Error("the ledger did not know yet, and the step was left out")
	}
	other := runtime.Step{ID: "found more", Unless: "join", Do: runtime.Exec{Argv: []string{"found-more"}}}
	if err := x.engine().Run(t.Context(), onA(exec("x", "x"), other)); err != nil || count(x.a, "found-more") != 0 {
		t.Errorf("%v, %q", err, x.a.Transcript())
	}
}

func TestTreeThatAStepFirstMadeAsADirectoryGoesWithAllInIt(t *testing.T) {
	x := newBed(t)
	before := files(x.a)
	if err := x.Run(t.Context(), onA(runtime.Step{ID: "claim", Do: runtime.Claim{Paths: []string{"/etc/soft"}}}, write("/etc/soft/ware/config", "x"))); err != nil {
		t.Fatal(err)
	}
	x.a.WriteFile("/etc/soft/made/later", 0o600, nil)
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, files(x.a)); diff != "" {
		t.Error(diff)
	}
}
