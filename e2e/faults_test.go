//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// station is a part of a test, on the hosts as the one before left them.
type station struct {
	name string
	test func(*testing.T, *playground)
}

// TestFaults breaks hosts, networks and disks while a cluster of stand-ins is
// made, and expects that the same command completes it.
func TestFaults(t *testing.T) {
	onThreeHosts(t, []station{
		{"WrongPasswordOfSudoEndsAtOnce", wrongPasswordOfSudo},
		{"HookThatHangsIsEnded", hookThatHangs},
		{"PowerIsCutAtEachStep", powerIsCutAtEachStep},
		{"HostBootsAlone", hostBootsAlone},
		{"ClusterIsKnownFromItsMaster", clusterIsKnownFromItsMaster},
		{"HostThatIsCutOffIsGivenUp", hostIsCutOff},
		{"DiskIsFullOnOneHost", diskIsFull},
	})
}

// TestClientIsKilled kills clients at each step of what they do, and expects that
// the same command completes it and does nothing twice.
func TestClientIsKilled(t *testing.T) {
	onThreeHosts(t, []station{
		{"AtEachStepOfAnInstallation", clientIsKilledAtEachStep},
		{"WhileANodeLeavesAndJoins", clientIsKilledWhileANodeLeaves},
		{"AtEachStepOfAnUpgrade", clientIsKilledWhileAllMove},
		{"WhileAnotherWaits", secondClientIsToldWhoWorks},
	})
}

// onThreeHosts goes through the stations until one fails.
func onThreeHosts(t *testing.T, stations []station) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := newFaults(t)
	for _, s := range stations {
		if !t.Run(s.name, func(t *testing.T) { s.test(t, p) }) {
			p.complain(t)
			return
		}
	}
}

// newFaults makes the hosts and the images.
func newFaults(t *testing.T) *playground {
	t.Helper()
	p := bed(t, "fl", "10.95.0")
	p.must(t, p.nodes("up", "3")...)
	p.must(t, "go", "build", "-trimpath", "-o", p.sealrt()[0], "../cmd/sealrt")
	p.build(t, oldVersion)
	p.build(t, newVersion)
	p.variant(t, "hung:v1", "scripts/hooks/post-install.d/hang", "printf '#!/bin/sh\necho hanging\nsleep 1000\n' >$0; chmod 755 $0")
	p.variant(t, "big:v1", "bin/ballast", "head -c 100000000 /dev/urandom >$0; chmod 755 $0")
	p.fresh = p.listing(t, 3)
	if len(p.fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(p.fresh))
	}
	return p
}

// variant builds the image of the old version with one more file, which a
// command writes to $0.
func (p *playground) variant(t *testing.T, ref, file, write string) {
	t.Helper()
	dir := filepath.Join(p.dir, "image-"+strings.ReplaceAll(ref, ":", "-"))
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(p.dir, "image-"+oldVersion))); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
		t.Fatal(err)
	}
	p.must(t, "sh", "-c", write, filepath.Join(dir, file))
	p.must(t, p.sealrt("build", "-t", ref, "--build-arg", "K3S_VERSION="+oldVersion, dir)...)
}

// make is the command that makes the cluster.
func (p *playground) make(ref string, more ...string) []string {
	return p.verb(append([]string{"run", ref, "--masters", p.ip(1), "--nodes", p.ip(2) + "," + p.ip(3)}, more...)...)
}

// complete checks that all hosts are Ready and nothing is left to do.
func (p *playground) complete(t *testing.T, ref string) {
	t.Helper()
	p.stands(t, oldVersion, "master node1, node node2, node node3")
	if left := p.must(t, p.make(ref, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

// vanish resets the cluster and looks for what it left.
func (p *playground) vanish(t *testing.T) {
	t.Helper()
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 1, 2, 3)
}

// other is the same bed for a client on another machine.
func (p *playground) other(home string) *playground {
	d := *p.demo
	d.env = append(slices.Clone(d.env), "HOME="+filepath.Join(p.dir, home))
	return &playground{demo: &d, net: p.net, fresh: p.fresh}
}

// told is one line of the story in JSON.
type told struct {
	Event, State, Host, Step, Does, Message, Error string
	Bytes, Total                                   int64
}

// blow is what happens at a moment of a story.
type blow struct {
	host, step string // a step of the host, or the beginning of its name, has begun
	act        func(*os.Process)
}

// suffer runs a command, tells of every step that begins, and returns the story
// and how the command ended. What is told after the client was killed is old.
func (p *playground) suffer(t *testing.T, argv []string, begun func(told, *os.Process)) ([]told, error) {
	t.Helper()
	cmd := exec.Command(argv[0], append(argv[1:], "--progress=json")...)
	cmd.Env = p.env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var story []told
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line told
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("the story says %q: %v", lines.Text(), err)
		}
		story = append(story, line)
		t.Log(lines.Text())
		if line.State == "started" {
			begun(line, cmd.Process)
		}
	}
	return story, cmd.Wait()
}

// stepsOf returns the steps that a command would do, as HOST STEP, in their order.
func (p *playground) stepsOf(t *testing.T, argv []string) []string {
	t.Helper()
	var plan struct {
		Phases []struct {
			Steps []struct{ Host, ID string }
		}
	}
	if err := json.Unmarshal([]byte(p.must(t, append(slices.Clone(argv), "--dry-run", "-o", "json")...)), &plan); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, phase := range plan.Phases {
		for _, s := range phase.Steps {
			out = append(out, s.Host+" "+s.ID)
		}
	}
	return out
}

// endure runs a command again and again until it has ended well, strikes once at
// the beginning of each of the steps, and checks that no step that was done is
// done again. A step at which nothing fell is an error.
func (p *playground) endure(t *testing.T, argv []string, steps []string, strike func(told, *os.Process)) {
	t.Helper()
	done, struck := map[string]bool{}, map[string]bool{}
	start, runs := time.Now(), 0
	for {
		runs++
		before, killed := len(struck), false
		story, err := p.suffer(t, argv, func(line told, client *os.Process) {
			key := line.Host + " " + line.Step
			if killed || struck[key] || !slices.Contains(steps, key) {
				return
			}
			struck[key] = true
			t.Logf("a blow at %s", key)
			strike(line, client)
			killed = client.Pid == p.killed
		})
		for _, line := range story {
			key := line.Host + " " + line.Step
			switch {
			case line.Event != "step":
			case line.State == "started" && done[key] && !repeated.MatchString(line.Step):
				t.Errorf("done twice: %s", key)
			case line.State == "done":
				done[key] = true
			}
		}
		if err == nil {
			break
		}
		if len(struck) == before {
			t.Fatalf("no blow fell, and it failed: %v, %v", err, story[len(story)-1])
		}
	}
	for _, key := range steps {
		if !struck[key] {
			t.Errorf("nothing fell at %s", key)
		}
	}
	t.Logf("%d blows, %d runs, %.0fs", len(struck), runs, time.Since(start).Seconds())
}

// kill is the end of a client, at once.
func (p *playground) kill(_ told, client *os.Process) {
	p.killed = client.Pid
	kill(client)
}

// files are steps that only make files. Those that follow each other on a host are
// one to its ledger, which learns of them before the first and after the last.
var files = regexp.MustCompile(`^(write|file) |^(claim|configuration|environment|unit|endpoint|bin|guard)$|^image service: |^k3s-(killall|(agent-)?uninstall)\.sh$|^link `)

// ends returns the steps without those in the middle of files that are made one
// after another: for all that a host knows they are one step.
func ends(steps []string) []string {
	isFile := func(i int) bool {
		_, id, _ := strings.Cut(steps[i], " ")
		return files.MatchString(id)
	}
	sameHost := func(i, j int) bool { return strings.Fields(steps[i])[0] == strings.Fields(steps[j])[0] }
	var out []string
	for i, s := range steps {
		within := i > 0 && i < len(steps)-1 && isFile(i-1) && isFile(i) && isFile(i+1) && sameHost(i-1, i) && sameHost(i, i+1)
		if !within {
			out = append(out, s)
		}
	}
	return out
}

// firsts returns the first of the steps of each name.
func firsts(steps []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(steps), func(s string) bool {
		_, id, _ := strings.Cut(s, " ")
		again := seen[id]
		seen[id] = true
		return again
	})
}

// repeated are steps that may be done again: those that look, those that serve
// another one which was not done, those that take away whatever is there, and
// files, which are recorded together with their neighbours.
var repeated = regexp.MustCompile(`^(ready|settled|moved|images of|publish|drain|delete node|stop|end what|forget how|links of|run k3s-(killall|(agent-)?uninstall)) ?|^snapshot (room|directory|token|stop|start)$|^old images$|^(flush|undo)$|` +
	`^(restore|rejoin) (stop|directory|token|file|flag|room)$|^(cluster-init|k3s server to join|write the published Clusterfile|discard the copy)$|` +
	`^(voting |(API|the restored cluster) answers$|note certificates$|certificates: (stop|start)$|serving new|(make|remove) CAs$)|` + files.String())

func wrongPasswordOfSudo(t *testing.T, p *playground) {
	argv := p.sealrt("run", image(oldVersion), "--masters", p.ip(1), "--user", "sudoer",
		"--identity", "/var/tmp/nodes-testbed/id_ed25519", "--accept-new-host-key", "--password-fd", "0")
	with := func(password string) (string, error) {
		return p.command(t, append([]string{"sh", "-c", `echo "$0" | timeout 20 "$@"`, password}, argv...)...)
	}
	if _, err := with("wrong"); err == nil || !strings.Contains(err.Error(), p.ip(1)+": sudo did not accept the password of sudoer") {
		t.Errorf("error is %v", err)
	}
	argv = append(argv, "--dry-run")
	if plan, err := with("sudoerpw"); err != nil || !strings.Contains(plan, "1 host") {
		t.Errorf("with the right one: %v, %s", err, plan)
	}
}

func hookThatHangs(t *testing.T, p *playground) {
	file := filepath.Join(p.dir, "Clusterfile")
	text := `apiVersion: sealrt.io/v1
kind: Cluster
metadata: {name: default}
spec:
  image: ["hung:v1"]
  timeouts: {command: 5s}
  dataDir: {sealrt: /srv/big/sealrt}
  hosts:
    - {address: [` + p.ip(1) + `], role: master}
    - {address: [` + p.ip(2) + `], role: node}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said := p.fails(t, "hang: not done after 5s, and ended (timeouts.command of the Clusterfile raises the limit)", p.verb("run", "-f", file)...)
	p.fails(t, "hang: not done after 5s", p.verb("run", "-f", file)...) // once more, behind the link that is there now
	if strings.Contains(said, "serves its blobs to no other host") {
		t.Error("the limit of a command ended what serves blobs")
	}
	for _, host := range []int{1, 2} {
		p.on(t, host, "! pgrep -f '[s]leep 1000|[p]ost-install'")
	}
	p.vanish(t)
}

// powerIsCutAtEachStep cuts the power of a node at each of its steps, and of the
// master at each step that no node has.
func powerIsCutAtEachStep(t *testing.T, p *playground) {
	argv := p.make(image(oldVersion))
	all := p.stepsOf(t, argv)
	node, master := p.ip(2)+" ", p.ip(1)+" "
	steps := slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		step, ofMaster := strings.CutPrefix(s, master)
		return !strings.HasPrefix(s, node) && !(ofMaster && !slices.Contains(all, node+step))
	})
	p.endure(t, argv, ends(steps), func(line told, _ *os.Process) {
		number := strings.TrimPrefix(line.Host, p.net+".1")
		p.must(t, p.nodes("kill", number)...)
		p.must(t, p.nodes("start", number)...)
	})
	p.complete(t, image(oldVersion))
}

func hostBootsAlone(t *testing.T, p *playground) {
	for host, unit := range map[string]string{"1": "k3s", "2": "k3s-agent"} {
		for _, h := range []string{"1", "2", "3"} {
			p.must(t, p.nodes("kill", h)...)
		}
		p.must(t, p.nodes("start", host)...)
		p.must(t, p.nodes("ssh", host, "for i in $(seq 40); do systemctl is-active -q "+unit+" sealrt-registry && exit; sleep 0.25; done; systemctl --failed; exit 1")...)
	}
	for _, h := range []string{"1", "2", "3"} { // which of them runs depends on the order above; start leaves it alone
		p.must(t, p.nodes("start", h)...)
	}
	p.on(t, 1, "k3s kubectl wait --for=condition=Ready node/node1 node/node2 node/node3 --timeout=60s")
	p.complete(t, image(oldVersion))
}

func clusterIsKnownFromItsMaster(t *testing.T, p *playground) {
	q := p.other("elsewhere")
	q.must(t, q.sealrt("recover", "--from", "ops@"+p.ip(1), "--identity", "/var/tmp/nodes-testbed/id_ed25519", "--accept-new-host-key")...)
	q.complete(t, image(oldVersion))
}

func secondClientIsToldWhoWorks(t *testing.T, p *playground) {
	p.must(t, p.make(image(newVersion))...)
	q := p.other("elsewhere")
	q.must(t, q.make(image(newVersion))...)
	again := q.verb("delete", "--nodes", p.ip(3), "--yes")
	_, err := p.suffer(t, p.verb("delete", "--nodes", p.ip(2), "--yes"), func(line told, holder *os.Process) {
		if !strings.HasPrefix(line.Step, "drain ") {
			return
		}
		_ = holder.Signal(syscall.SIGSTOP)
		held := fmt.Sprintf("process %d", holder.Pid)
		for _, argv := range [][]string{again, q.make(image(newVersion)), q.verb("reset", "--yes")} {
			if said := q.fails(t, held, argv...); strings.Contains(said, "sealrt reset") {
				t.Errorf("it is told to reset what another works on: %s", said)
			}
		}
		kill(holder)
	})
	if err == nil {
		t.Fatal("the delete ended well although it was killed")
	}
	q.must(t, again...)
	q.stands(t, newVersion, "master node1, node node2")
	p.must(t, p.verb("delete", "--nodes", p.ip(2), "--yes")...) // it takes what the other has done
	p.stands(t, newVersion, "master node1")
	p.vanish(t)
}

// clientIsKilledAtEachStep kills it once at each step, whichever host does it
// first.
func clientIsKilledAtEachStep(t *testing.T, p *playground) {
	argv := p.make(image(oldVersion))
	p.endure(t, argv, firsts(ends(p.stepsOf(t, argv))), p.kill)
	p.complete(t, image(oldVersion))
	p.doneOnce(t)
}

// doneOnce looks in the journal, here and on the master, for steps that were done
// more than once.
func (p *playground) doneOnce(t *testing.T) {
	t.Helper()
	own, err := os.ReadFile(filepath.Join(p.dir, "home", ".sealrt", "clusters", "default", "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if there := p.on(t, 1, "cat /var/lib/sealrt/state/journal.jsonl"); there != string(own) {
		t.Errorf("the journal has %d bytes here and %d on the master", len(own), len(there))
	}
	times := map[string]int{}
	for line := range strings.Lines(string(own)) {
		var j struct{ Host, Step, Hash, State string }
		if json.Unmarshal([]byte(line), &j) == nil && j.State == "done" && j.Host != "" && !repeated.MatchString(j.Step) {
			times[j.Host+" "+j.Step+" "+j.Hash]++
		}
	}
	if len(times) == 0 {
		t.Error("the journal knows of no step")
	}
	for step, n := range times {
		if n > 1 {
			t.Errorf("done %d times: %s", n, step)
		}
	}
}

func clientIsKilledWhileAllMove(t *testing.T, p *playground) {
	p.must(t, p.make(image(oldVersion))...)
	argv := p.verb("upgrade", image(newVersion), "--yes")
	p.endure(t, argv, firsts(ends(p.stepsOf(t, argv))), p.kill)
	p.stands(t, newVersion, "master node1, node node2, node node3")
	if left := p.must(t, p.make(image(newVersion), "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

func clientIsKilledWhileANodeLeaves(t *testing.T, p *playground) {
	for _, argv := range [][]string{p.verb("delete", "--nodes", p.ip(3), "--yes"), p.verb("add", "--nodes", p.ip(3), "--yes")} {
		p.endure(t, argv, ends(p.stepsOf(t, argv)), p.kill)
		if argv[1] == "delete" {
			p.asFresh(t, 3)
		}
	}
	p.complete(t, image(oldVersion))
}

// hostIsCutOff cuts the network of a node for longer than it is waited for.
func hostIsCutOff(t *testing.T, p *playground) {
	if _, err := p.command(t, p.verb("reset", "--yes")...); err == nil { // of the station before, if there was one
		p.asFresh(t, 1, 2, 3)
	}
	argv := p.make(image(oldVersion), "-f", p.patient(t))
	story, err := p.suffer(t, argv, func(line told, _ *os.Process) {
		if line.Host == p.ip(3) && line.Step == "service k3s-agent" {
			p.must(t, p.nodes("cut", "3")...)
		}
	})
	said := ""
	for _, line := range story {
		said += line.Message
	}
	for _, want := range []string{"join nodes: host " + p.ip(3) + ": service k3s-agent: ", "the host did not come back within 5s", "done: " + p.ip(1) + ", " + p.ip(2)} {
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("%v: it does not say %q:\n%s", err, want, said)
		}
	}
	p.must(t, p.nodes("heal")...)
	p.must(t, argv...)
	p.stands(t, oldVersion, "master node1, node node2, node node3")
	if left := p.must(t, append(argv, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	p.vanish(t)
}

func diskIsFull(t *testing.T, p *playground) {
	p.on(t, 3, "mkdir /var/lib/sealrt && mount -t tmpfs -o size=120m,mode=755 tmpfs /var/lib/sealrt")
	said := p.fails(t, "[disk]", p.make("big:v1")...)
	if !strings.Contains(said, "nothing was changed") {
		t.Errorf("error is %s", said)
	}
	said = p.fails(t, "deliver: host "+p.ip(3)+": load big:v1", p.make("big:v1", "--skip-check", "disk")...)
	if !strings.Contains(said, "free on /var/lib/sealrt: free space, or choose another place") || !strings.Contains(said, "done: "+p.ip(1)+", "+p.ip(2)) {
		t.Errorf("error is %s", said)
	}
	if half := p.on(t, 3, "find /var/lib/sealrt/store/blobs /var/lib/sealrt/store/ingest /var/lib/sealrt/store/l /var/lib/sealrt/rootfs -type f 2>/dev/null; :"); half != "" {
		t.Errorf("half written: %s", half)
	}
	p.on(t, 3, "mount -o remount,size=1g /var/lib/sealrt")
	p.must(t, p.make("big:v1")...)
	p.complete(t, "big:v1")
	p.must(t, p.verb("reset", "--yes")...) // the mount stays, empty
	p.on(t, 3, "umount /var/lib/sealrt && rmdir /var/lib/sealrt")
	p.asFresh(t, 1, 2, 3)
}
