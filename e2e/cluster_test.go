//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

// Three hosts of a bed of its own: two for a cluster, one that never has one.
const (
	master = "10.85.0.11"
	worker = "10.85.0.12"
	third  = "10.85.0.13"
)

// violent is a bed on which clients are killed and hosts lose their power.
type violent struct {
	*demo
	fresh []string // the listing of a host before any cluster
}

// TestClusterSurvives makes a cluster while clients are killed and hosts lose
// power, and takes it from the hosts again, wherever the making stopped.
func TestClusterSurvives(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	v := &violent{demo: &demo{dir: "/var/tmp/sealrt-e2e-cluster", registry: "127.0.0.1:5057"}}
	v.env = append(os.Environ(), "HOME="+filepath.Join(v.dir, "home"), "CONTAINERS_REGISTRIES_CONF="+v.dir+"/registries.conf",
		"NODES_DIR="+v.dir+"/nodes", "NODES_CACHE=/var/tmp/nodes-testbed", "NODES_PREFIX=e2ec", "NODES_NET=10.85.0")
	v.bed(t)
	v.fresh = v.listing(t, "3")
	if len(v.fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(v.fresh))
	}
	for _, station := range []struct {
		name string
		test func(*testing.T, *violent)
	}{
		{"ChangedHostKeyIsRefused", changedHostKeyIsRefused},
		{"SomebodyElsesProgramIsLeftAlone", somebodyElsesProgramIsLeftAlone},
		{"HostLosesPowerWhileImagesAreImported", hostLosesPower},
		{"ClientIsKilledWhileANodeJoins", clientIsKilledWhileANodeJoins},
		{"SameCommandCompletesTheCluster", sameCommandCompletesTheCluster},
		{"ResetAfterAllThatLeavesNothing", resetOfAll},
		{"ResetAfterHalfARunLeavesNothing", resetAfterHalfARun},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, v) }) {
			return
		}
	}
}

// bed makes the hosts, the registry and the images, and removes them when the
// test ends. Compiled parts and the hosts' base image come from their caches.
func (v *violent) bed(t *testing.T) {
	script, err := filepath.Abs("demo.sh")
	if err != nil {
		t.Fatal(err)
	}
	outer := append(os.Environ(), "DEMO_DIR="+v.dir, "DEMO_PORT="+strings.TrimPrefix(v.registry, "127.0.0.1:"), "NODES_PREFIX=e2ec", "NODES_NET=10.85.0")
	do := func(argv ...string) error {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = outer, os.Stderr, os.Stderr
		return cmd.Run()
	}
	if err := do(script, "down"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := do(script, "down"); err != nil {
			t.Errorf("demo.sh down: %v", err)
		}
	})
	if err := do(script, "prepare", "3"); err != nil {
		t.Fatalf("make the bed: %v", err)
	}
}

// cluster is the command that makes the cluster.
func (v *violent) cluster(more ...string) []string {
	args := []string{"run", "--root", filepath.Join(v.dir, "store2"), v.kubernetes(), v.registry + "/echo:v1", "-v",
		"--masters", master, "--nodes", worker, "--user", "ops", "--identity", "/var/tmp/nodes-testbed/id_ed25519", "--accept-new-host-key"}
	for _, setting := range []string{"CGROUP_DRIVER=cgroupfs", "CONTAINERD_RESTRICT_OOM=true", "KUBE_PROXY_MODE=nftables",
		"KUBE_PROXY_CONNTRACK=keep", "KUBELET_DISK_PRESSURE=ignore"} {
		args = append(args, "-e", setting)
	}
	return v.sealrt(append(args, more...)...)
}

// during runs a command until a line of its story matches, waits a moment, and
// then does what act says. It returns the story and how the command ended.
func (v *violent) during(t *testing.T, argv []string, line string, moment time.Duration, act func(*os.Process)) (string, error) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = v.env
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	wanted := regexp.MustCompile(line)
	var story strings.Builder
	acted := false
	for lines := bufio.NewScanner(read); lines.Scan(); {
		fmt.Fprintln(&story, lines.Text())
		if !acted && wanted.MatchString(lines.Text()) {
			acted = true
			time.Sleep(moment)
			act(cmd.Process)
		}
	}
	err = cmd.Wait()
	t.Logf("%s\n%s", strings.Join(argv, " "), &story)
	if !acted {
		t.Fatalf("no line of the story matched %q: this test cannot tell", line)
	}
	return story.String(), err
}

// kill is kill -9.
func kill(p *os.Process) { _ = p.Signal(syscall.SIGKILL) }

func (v *violent) listing(t *testing.T, host string) []string {
	t.Helper()
	cmd := exec.Command("testbed/nodes.sh", "ssh", host, look) // not told in the log: it is long
	cmd.Env = v.env
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("list what is on host %s: %v", host, err)
	}
	out := string(raw)
	out = regexp.MustCompile(`node[0-9]\b`).ReplaceAllString(out, "nodeN")
	out = regexp.MustCompile(`10\.85\.0\.1[0-9]\b`).ReplaceAllString(out, "IP")
	lines := slices.DeleteFunc(strings.Split(out, "\n"), harmless.MatchString)
	slices.Sort(lines)
	return slices.Compact(lines)
}

// asFresh compares the hosts of the cluster with one that never had one.
func (v *violent) asFresh(t *testing.T) {
	t.Helper()
	for _, host := range []string{"1", "2"} {
		got := v.listing(t, host)
		for _, line := range slices.Concat(got, v.fresh) {
			_, here := slices.BinarySearch(got, line)
			if _, there := slices.BinarySearch(v.fresh, line); here != there {
				t.Errorf("host %s, after reset: %v, on a fresh host: %v: %s", host, here, there, line)
			}
		}
		left, err := v.command(t, v.nodes("ssh", host, "ps -e -o comm= | grep -E 'kube|containerd|etcd|sealrt|hyper|^ctr$'")...)
		if err == nil {
			t.Errorf("host %s still runs: %s", host, left)
		}
	}
}

func changedHostKeyIsRefused(t *testing.T, v *violent) {
	plan := v.sealrt("run", "--root", filepath.Join(v.dir, "store2"), v.kubernetes(), "--masters", "root@"+third,
		"--identity", "/var/tmp/nodes-testbed/id_ed25519", "--cluster", "keys", "--accept-new-host-key", "--dry-run")
	v.must(t, plan...)
	v.must(t, v.nodes("reset", "3")...)
	if _, err := v.command(t, plan...); err == nil || !strings.Contains(err.Error(), "the host key has changed") || !strings.Contains(err.Error(), "ssh-keygen -f ") {
		t.Errorf("error is %v", err)
	}
}

func somebodyElsesProgramIsLeftAlone(t *testing.T, v *violent) {
	v.must(t, v.nodes("ssh", "2", "echo theirs >/usr/local/bin/kubeadm")...)
	before := v.listing(t, "1")
	_, err := v.command(t, v.cluster()...)
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(err.Error(), "host "+worker+": /usr/local/bin/kubeadm: already there") {
		t.Errorf("error is %v", err)
	}
	if !slices.Equal(before, v.listing(t, "1")) {
		t.Error("the other host was changed")
	}
	if out := v.must(t, v.nodes("ssh", "2", "cat /usr/local/bin/kubeadm; rm /usr/local/bin/kubeadm; ls /var/lib/sealrt 2>&1 || :")...); !strings.HasPrefix(out, "theirs\nls: ") {
		t.Errorf("the host has %q", out)
	}
}

func hostLosesPower(t *testing.T, v *violent) {
	_, err := v.during(t, v.cluster(), "^"+worker+"  feed ", time.Second, func(*os.Process) {
		v.must(t, v.nodes("kill", "2")...)
		v.must(t, v.nodes("start", "2")...) // so that the loss is seen at once
	})
	if err == nil { // the host was back soon enough, and waited for: the stations that follow begin anew
		v.must(t, v.sealrt("reset", "--yes")...)
	}
}

func clientIsKilledWhileANodeJoins(t *testing.T, v *violent) {
	if _, err := v.during(t, v.cluster(), "^"+worker+"  run .*kubeadm join", 700*time.Millisecond, kill); err == nil {
		t.Fatal("the run ended well although it was killed")
	}
}

func sameCommandCompletesTheCluster(t *testing.T, v *violent) {
	v.must(t, v.cluster()...)
	var status struct {
		Hosts []struct{ Name, Ready string }
	}
	if err := json.Unmarshal([]byte(v.must(t, v.sealrt("status", "-o", "json")...)), &status); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(status.Hosts); got != "[{node1 True} {node2 True}]" {
		t.Errorf("hosts are %s", got)
	}
	if plan := v.must(t, v.cluster("--dry-run")...); plan != "" {
		t.Errorf("left to do: %s", plan)
	}
	if out, err := v.command(t, v.kubectl("rollout", "status", "deployment/echo", "--timeout=120s")...); err != nil {
		_, _ = v.command(t, v.kubectl("get", "pods,nodes", "-A", "-o", "wide")...)
		_, _ = v.command(t, v.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")...)
		t.Fatalf("%v: %s", err, out)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		answer, err := client.Get("http://" + worker + ":30080/")
		if last = err; err != nil {
			continue
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || !strings.HasPrefix(string(body), "echo-") {
			t.Errorf("the Service says %q, %v", body, err)
		}
		return
	}
	t.Errorf("the Service does not answer: %v", last)
}

func resetOfAll(t *testing.T, v *violent) {
	v.must(t, v.sealrt("reset", "--yes")...)
	v.asFresh(t)
}

func resetAfterHalfARun(t *testing.T, v *violent) {
	if _, err := v.during(t, v.cluster(), "^"+master+"  run .*kubeadm init", 3*time.Second, kill); err == nil {
		t.Fatal("the run ended well although it was killed")
	}
	if err := os.Rename(v.dir+"/store2", v.dir+"/lost"); err != nil { // a reset needs no image
		t.Fatal(err)
	}
	v.must(t, v.sealrt("reset", "--yes")...)
	v.asFresh(t)
}
