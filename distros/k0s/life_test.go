package k0s_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/distros/k0s"
	"github.com/sealrt/sealrt/runtime"
)

// commands are those of steps, in order, as a shell would show them.
func commands(steps []runtime.Step) []string {
	var out []string
	for _, s := range steps {
		switch a := s.Do.(type) {
		case runtime.Exec:
			out = append(out, strings.Join(a.Argv, " "))
		case runtime.Write:
			line := "write " + a.Path
			if _, command, ok := strings.Cut(a.Data, "\nExecStart=/"); ok {
				line += " " + strings.ReplaceAll(strings.SplitN(command, "\n", 2)[0], `"`, "")
			}
			out = append(out, line)
		case runtime.Remove:
			out = append(out, "remove "+strings.Join(a.Paths, " "))
		case runtime.Service:
			out = append(out, "service "+a.Unit)
		case runtime.Await:
			out = append(out, "await "+strings.Join(a.Argv, " "))
		}
	}
	return out
}

// inOrder demands that commands with these beginnings come one after another.
func inOrder(t *testing.T, got []string, want ...string) {
	t.Helper()
	rest := got
	for _, w := range want {
		at := slices.IndexFunc(rest, func(c string) bool { return strings.HasPrefix(c, w) || strings.HasSuffix(c, w) })
		if at < 0 {
			t.Fatalf("no %q, in this order, in:\n%s", w, strings.Join(got, "\n"))
		}
		rest = rest[at+1:]
	}
}

func TestATokenIsOnAHostUntilK0sAnswers(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	for _, m := range []runtime.Member{c.Members[1], c.Members[3]} {
		join, unit := k0s.Driver{}.JoinMaster, "k0scontroller"
		if m.Role == runtime.Node {
			join, unit = k0s.Driver{}.JoinNode, "k0sworker"
		}
		steps, err := join(c, m)
		if err != nil {
			t.Fatal(err)
		}
		got := commands(steps)
		settings := "write /etc/systemd/system/" + unit + ".service.d/10-sealrt.conf"
		inOrder(t, got, "write /etc/k0s/join-token", settings, "/usr/local/bin/k0s install", "systemctl daemon-reload", "systemctl try-restart "+unit, "service "+unit,
			"await /usr/local/bin/k0s status", settings, "systemctl daemon-reload", "shred", "remove /etc/k0s/join-token")
		var told []string
		for _, line := range got {
			if strings.HasPrefix(line, settings) {
				told = append(told, line)
			}
		}
		if len(told) != 2 || !strings.HasSuffix(told[0], "--token-file=/etc/k0s/join-token") || strings.Contains(told[1], "token") {
			t.Errorf("the unit is told %q", told)
		}
	}
}

func TestEachRoleHasATokenOfItsOwn(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	for _, m := range []runtime.Member{c.Members[1], c.Members[3]} {
		steps, err := k0s.Driver{}.JoinNode(c, m)
		if err != nil {
			t.Fatal(err)
		}
		w, _ := steps[0].Do.(runtime.Write)
		want := "⟨k0s controller token⟩"
		if m.Role == runtime.Node {
			want = "⟨k0s worker token⟩"
		}
		if w.Data != want || !w.Secret || w.Mode != 0o600 {
			t.Errorf("%s: %+v", m.Name(), w)
		}
	}
	for _, s := range (k0s.Driver{}).Grant(c) {
		if e, _ := s.Do.(runtime.Exec); !slices.Contains(e.Argv, "--expiry") {
			t.Errorf("%q lives for ever", e.Argv)
		}
	}
}

func TestOneHostOnSQLiteIsSingleAndGrantsNothing(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "spec: {storage: {type: kine}}")
	c.Members = c.Members[:1]
	steps, err := k0s.Driver{}.Init(c, c.Members[0])
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := k0s.Driver{}.Prepare(c, c.Members[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(commands(append(prepared, steps...)), "\n"); !strings.Contains(got, "--single") || strings.Contains(got, "--enable-worker") {
		t.Errorf("%q", got)
	}
	if got := (k0s.Driver{}).Grant(c); got != nil || (k0s.Driver{}).Votes(c) {
		t.Errorf("it grants %v", got)
	}
}

func TestLabelsAndTaintsStartNothingAgain(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	c.Env = map[string]string{"K0S_CONTROLLER_ARGS": "--disable-components=coredns,metrics-server", "K0S_WORKER_ARGS": "--iptables-mode=nft"}
	service := func(m runtime.Member) (runtime.Service, string) {
		steps, err := k0s.Driver{}.Init(c, m)
		if err != nil {
			t.Fatal(err)
		}
		prepared, err := k0s.Driver{}.Prepare(c, m)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := steps[1].Do.(runtime.Service)
		return s, strings.Join(commands(prepared), "\n")
	}
	before, _ := service(c.Members[0])
	m := c.Members[0]
	m.Labels, m.Taints = map[string]string{"b": "2", "a": "1"}, []string{"x=y:NoSchedule"}
	after, command := service(m)
	if before != after {
		t.Errorf("%v, then %v", before, after)
	}
	for _, want := range []string{"--labels=a=1,b=2", "--taints=x=y:NoSchedule", "--iptables-mode=nft", "--disable-components=coredns,metrics-server", "--enable-worker --no-taints"} {
		if !strings.Contains(command, want) {
			t.Errorf("no %q in %q", want, command)
		}
	}
	if (k0s.Driver{}).Settled(c) != nil {
		t.Error("it waits for a DNS that is left out")
	}
	m.NodeIP = "10.0.0.9"
	if moved, _ := service(m); moved == before {
		t.Error("another address starts nothing again")
	}
}

func TestAControllerLeavesEtcdBeforeItIsStopped(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	for _, dead := range []bool{false, true} {
		steps, err := k0s.Driver{}.Leave(c, c.Members[2], dead)
		if err != nil {
			t.Fatal(err)
		}
		got := commands(steps)
		for i, want := range []string{"delete controlnodes.autopilot.k0sproject.io host3 --ignore-not-found", "apply --server-side --force-conflicts -f -",
			"--for=condition=Joined=False etcdmember/host3 --timeout=10s", "delete etcdmembers.etcd.k0sproject.io host3 --ignore-not-found", "delete node host3 --ignore-not-found"} {
			if i >= len(got) || !strings.HasSuffix(got[i], want) {
				t.Fatalf("%s\nis not %q at %d", strings.Join(got, "\n"), want, i)
			}
		}
		if e, _ := steps[1].Do.(runtime.Exec); e.Stdin != `{"apiVersion":"etcd.k0sproject.io/v1beta1","kind":"EtcdMember","metadata":{"name":"host3"},"spec":{"leave":true}}` {
			t.Errorf("it says %s", e.Stdin)
		}
	}
}

func TestAResetRemovesNoProgramByItsName(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	for _, m := range c.Members {
		for _, got := range commands(k0s.Driver{}.Reset(c, m)) {
			if strings.Contains(got, "/usr/bin") || strings.Contains(got, "rm ") {
				t.Errorf("%q", got)
			}
		}
		inOrder(t, commands(k0s.Driver{}.Reset(c, m)), "systemctl stop", "/usr/local/bin/k0s reset", "systemctl kill")
	}
}

func TestUpgradesGoForwardOneMinorAtATime(t *testing.T) {
	for to, want := range map[string]string{
		"v1.34.2+k0s.0": "", "v1.34.2+k0s.1": "", "v1.34.10+k0s.0": "", "v1.35.0+k0s.0": "",
		"v1.36.0+k0s.0": "go to v1.35 first", "v2.0.0+k0s.0": "go to v1.35 first", "v1.34.1+k0s.9": "cannot go back", "v1.33.9+k0s.0": "cannot go back", "latest": "not like",
	} {
		err := k0s.Driver{}.CheckUpgrade(cluster("v1.34.2+k0s.0", ""), cluster(to, "").Image())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", to, err, want)
		}
	}
	err := k0s.Driver{}.CheckUpgrade(cluster("v1.34.2+k0s.0", ""), cluster("v1.35.0+k0s.0", "spec: {network: {provider: calico}}").Image())
	if err == nil || !strings.Contains(err.Error(), "spec.network.provider would change") {
		t.Errorf("%v", err)
	}
	closed := cluster("v1.34.2+k0s.0", "")
	closed.Images[0].Files = nil
	if err := (k0s.Driver{}).CheckUpgrade(closed, cluster("v1.35.0+k0s.0", "spec: {network: {provider: calico}}").Image()); err != nil {
		t.Errorf("an image that is not open: %v", err)
	}
}

func TestTheConfigurationOfContainerdIsOfItsVersion(t *testing.T) {
	for version, want := range map[string]string{"v1.35.4+k0s.0": "version = 2", "v1.36.3+k0s.0": "version = 3"} {
		c := cluster(version, "")
		to, err := c.Mirror()
		if err != nil {
			t.Fatal(err)
		}
		steps, err := k0s.Driver{}.Mirror(c, c.Members[3], to)
		if err != nil {
			t.Fatal(err)
		}
		var drop string
		for _, s := range steps {
			if w, ok := s.Do.(runtime.Write); ok && strings.HasSuffix(w.Path, ".toml") && strings.HasPrefix(w.Path, "/etc/k0s/containerd.d/sealrt") {
				drop = w.Data
			}
		}
		if !strings.Contains(drop, want) {
			t.Errorf("%s: %s", version, drop)
		}
	}
}

func TestARestoredControllerIsAloneAndOthersForgetWhatTheyWere(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	form, steps, err := k0s.Driver{}.Backup(c, "/var/lib/sealrt/scratch/b")
	if err != nil {
		t.Fatal(err)
	}
	inOrder(t, commands(steps), "remove /var/lib/sealrt/scratch/b", "install -d -m 0700", "/usr/local/bin/k0s backup --save-path /var/lib/sealrt/scratch/b")
	restore, err := k0s.Driver{}.Restore(c, c.Members[0], runtime.Kept{Dir: "/b", Form: form})
	if err != nil {
		t.Fatal(err)
	}
	inOrder(t, commands(restore), "systemctl stop k0scontroller", "find /b", "cp ⟨backup file⟩", "gzip -d", "tar -rf", "gzip", "remove /var/lib/k0s/etcd", "/usr/local/bin/k0s restore", "service k0scontroller")
	for _, m := range c.Members[1:] {
		again, err := k0s.Driver{}.Rejoin(c, m)
		if err != nil {
			t.Fatal(err)
		}
		inOrder(t, commands(again), "systemctl stop", "remove /var/lib/k0s/kubelet.conf", "write /etc/k0s/join-token", "await", "remove /etc/k0s/join-token")
		if last := again[len(again)-1]; last.ID != (k0s.Driver{}).JoinedBy(true) {
			t.Errorf("it ends with %q", last.ID)
		}
	}
	if _, err := (k0s.Driver{}).Restore(c, c.Members[0], runtime.Kept{Form: "files"}); err == nil {
		t.Error("another form is taken")
	}
	if _, _, err := (k0s.Driver{}).Backup(document(cluster("v1.34.2+k0s.0", ""), "spec: {storage: {type: kine, kine: {dataSource: 'mysql://db'}}}"), "/b"); err == nil || !strings.Contains(err.Error(), "tools of the database") {
		t.Errorf("%v", err)
	}
}

// A node is called Ready from before while its kubelet starts again, and before a
// new kubelet has the certificate that it answers with.
func TestAKubeletThatIsReadyHasYetToAnswer(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	c.Members[0].Hostname, c.Members[0].NodeIP = "one", "10.9.9.9"
	named, err := k0s.Driver{}.AddNames(c, c.Members[0])
	if err != nil {
		t.Fatal(err)
	}
	const answers = "await " + runtime.HelperPath + " host certs --endpoint kubelet=10.9.9.9:10250,file=/var/lib/k0s/kubelet/pki/kubelet-server-current.pem --names one"
	inOrder(t, commands(named), "service k0scontroller", answers)
	inOrder(t, commands(k0s.Driver{}.Verify(c, c.Members[0])), answers)
}
