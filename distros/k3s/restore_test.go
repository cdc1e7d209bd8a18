package k3s_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// kubectl begins the commands of the administrator.
const kubectl = "/usr/local/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --cache-dir /var/lib/sealrt/scratch/kubectl "

const pause = "docker.io/rancher/mirrored-pause:3.6"

// machines are hosts in memory, one for each member.
func machines(c *runtime.Cluster) map[string]*hosttest.Host {
	out := map[string]*hosttest.Host{}
	for _, m := range c.Members {
		h := hosttest.New(m.Address)
		h.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
		h.WriteFile("/proc/self/mounts", 0o444, nil)
		h.WriteFile("/proc/sys/net/ipv4/ip_forward", 0o644, []byte("0\n"))
		h.WriteFile(c.Image().Rootfs()+"/bin/k3s", 0o755, []byte("k3s"))
		h.Respond([]string{"find"}, "/kept/etcd/sealrt-host1-7\n", 0)
		h.Respond([]string{"sha256sum", runtime.HelperPath}, fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte("program")), runtime.HelperPath), 0)
		h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check"}, c.Image().Digest+"\n", 0)
		h.Respond([]string{"mv", "-T"}, "", 0)
		h.Respond([]string{"cp", "-a", "/var/lib/rancher/k3s/server/token"}, "", 0)
		h.Respond([]string{"/usr/local/bin/k3s", "ctr"}, pause+"\n", 0)
		out[m.Address] = h
	}
	return out
}

func engine(hosts map[string]*hosttest.Host) *runtime.Engine {
	e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{}, Helper: func(string, string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("program")), nil
	}}
	for address, h := range hosts {
		e.Hosts[address] = h
	}
	return e
}

// did lists those of the commands of a host, since the first n, that begin so.
func did(h *hosttest.Host, n int, prefixes ...string) []string {
	var out []string
	for _, call := range h.Calls()[n:] {
		line := strings.Join(call.Argv, " ")
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			out = append(out, line)
		}
	}
	return out
}

// stood returns the hosts of a cluster that was made, and the number of commands
// that each has seen.
func stood(t *testing.T, c *runtime.Cluster) (hosts map[string]*hosttest.Host, seen map[string]int) {
	t.Helper()
	hosts, seen = machines(c), map[string]int{}
	create, err := life(t, c).Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine(hosts).Run(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	for address, h := range hosts {
		seen[address] = len(h.Calls())
	}
	return hosts, seen
}

func three() *runtime.Cluster {
	c := cluster("v1.25.3+k3s1", "")
	c.Images[0].Digest = "sha256:" + strings.Repeat("a", 64)
	return c
}

func TestRestoreGoesOnWhereItStoppedAndTakesNothingAwayTwice(t *testing.T) {
	c := three()
	hosts, seen := stood(t, c)
	plan, err := life(t, c).Restore(runtime.Restoration{Kept: runtime.Kept{Dir: "/kept", Form: "etcd-snapshot"}, On: c.Members[0], Operation: "one"})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("it breaks off")
	hosts["10.0.0.3"].Fail([]string{"rm", "-rf", "--one-file-system", "--", "/var/lib/rancher/k3s/server/db"}, broken, 1)
	if err := engine(hosts).Run(t.Context(), plan); !errors.Is(err, broken) {
		t.Fatalf("error is %v", err)
	}
	first := did(hosts["10.0.0.1"], seen["10.0.0.1"], "systemctl stop", "systemctl restart", "/usr/local/bin/k3s server", "install -m")
	want := []string{
		"systemctl stop k3s", "systemctl stop k3s", "install -m 0600 /kept/token /var/lib/rancher/k3s/server/token",
		"/usr/local/bin/k3s server --cluster-reset --cluster-reset-restore-path=/kept/etcd/sealrt-host1-7", "systemctl restart k3s",
	}
	if !slices.Equal(first, want) {
		t.Errorf("the first server did %q", first)
	}
	if got := did(hosts["10.0.0.4"], seen["10.0.0.4"], "systemctl restart"); len(got) > 0 {
		t.Errorf("the agent started before all servers: %q", got)
	}
	for address, h := range hosts {
		seen[address] = len(h.Calls())
	}
	if err := engine(hosts).Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string][]string{
		"10.0.0.1": nil, "10.0.0.2": nil,
		"10.0.0.3": {"systemctl stop k3s", "rm -rf --one-file-system -- /var/lib/rancher/k3s/server/db /var/lib/rancher/k3s/server/tls /var/lib/rancher/k3s/server/cred", "systemctl restart k3s"},
		"10.0.0.4": {"systemctl restart k3s-agent"},
	} {
		if got := did(hosts[address], seen[address], "systemctl stop", "systemctl restart", "rm -rf --one-file-system -- /var/lib", "/usr/local/bin/k3s server"); !slices.Equal(got, want) {
			t.Errorf("host %s, the second time: %q, want %q", address, got, want)
		}
	}
	for address, text := range map[string]string{"10.0.0.1": "cluster-init: true\n", "10.0.0.2": "server: https://api.test.sealrt.internal:6443\n"} {
		if raw, _, err := hosts[address].File("/etc/rancher/k3s/config.yaml.d/10-sealrt.yaml"); err != nil || string(raw) != text {
			t.Errorf("host %s: the role file is %q, %v", address, raw, err)
		}
	}
}

// What a restore has made of the hosts is what the next run finds as it wants it.
func TestClusterThatWasRestoredIsAsItsPlanSays(t *testing.T) {
	for _, on := range []int{0, 1} {
		c := three()
		hosts, _ := stood(t, c)
		for n, operation := range []string{"one", "two"} {
			plan, err := life(t, c).Restore(runtime.Restoration{Kept: runtime.Kept{Dir: "/kept", Form: "etcd-snapshot"}, On: c.Members[on], Operation: operation})
			if err != nil {
				t.Fatal(err)
			}
			if err := engine(hosts).Run(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			if got := did(hosts[c.Members[on].Address], 0, kubectl+"apply --server-side --force-conflicts --field-manager=sealrt"); len(got) < n+1 {
				t.Errorf("restore %s on %d: the restored cluster shows an old Clusterfile", operation, on)
			}
			if got := did(hosts[c.Members[on].Address], 0, "/usr/local/bin/k3s server"); len(got) != n+1 {
				t.Errorf("restore %s on %d: %d resets", operation, on, len(got))
			}
			create, err := life(t, c).Create()
			if err != nil {
				t.Fatal(err)
			}
			left, err := engine(hosts).Pending(t.Context(), create)
			if err != nil {
				t.Fatal(err)
			}
			for _, phase := range left.Phases {
				for _, task := range phase.Tasks {
					for _, s := range task.Steps {
						if s.ID != "drop" {
							t.Errorf("restored on %d, left to do on %s: %s: %s", on, task.Member.Name(), s.ID, s.Why)
						}
					}
				}
			}
		}
	}
}

func TestRestoreOnFreshHostsInstallsFirstAndStartsLast(t *testing.T) {
	c := three()
	hosts := machines(c)
	plan, err := life(t, c).Restore(runtime.Restoration{Kept: runtime.Kept{Dir: "/kept", Form: "etcd-snapshot"}, On: c.Members[0], Operation: "one", Gone: []string{"old1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := engine(hosts).Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	got := did(hosts["10.0.0.1"], 0, "cp -a /var/lib/sealrt/rootfs", "install -m", "/usr/local/bin/k3s server", "systemctl restart", kubectl+"delete node")
	want := []string{"cp -a", "install -m", "/usr/local/bin/k3s server", "systemctl restart", "/usr/local/bin/k3s kubectl"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%d is %q, want %s", i, got[i], want[i])
		}
	}
}

func TestRollbackBringsTheOldProgramBackAndTheSameUpgradeCanFollow(t *testing.T) {
	c := three()
	hosts, _ := stood(t, c)
	to := cluster("v1.26.1+k3s1", "").Image()
	to.Digest, to.Images = "sha256:"+strings.Repeat("b", 64), []string{pause}
	var err error
	if to.Ref, err = artifact.ParseReference("registry.example.com/k3s:newer"); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		h.WriteFile(to.Rootfs()+"/bin/k3s", 0o755, []byte("k3s, new"))
		h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check", to.Digest}, to.Digest+"\n", 0)
	}
	for n := 1; n <= 2; n++ {
		up, err := life(t, c).Upgrade(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine(hosts).Run(t.Context(), up); err != nil {
			t.Fatal(err)
		}
		if got := did(hosts["10.0.0.1"], 0, "/usr/local/bin/k3s etcd-snapshot"); len(got) != n {
			t.Errorf("%d snapshots were made by %d upgrades", len(got), n)
		}
		if got := did(hosts["10.0.0.1"], 0, kubectl+"drain", kubectl+"uncordon"); len(got) != 2*n {
			t.Errorf("%d upgrades: %q", n, got)
		}
		for address, h := range hosts {
			if got := did(h, 0, runtime.HelperPath+" host feed "+to.Digest); len(got) != n {
				t.Errorf("host %s was fed the images %d times by %d upgrades", address, len(got), n)
			}
		}
		kept, err := k3s.Driver{}.Snapshotted(c, to)
		if err != nil {
			t.Fatal(err)
		}
		back, err := life(t, c).Rollback(runtime.Restoration{Kept: kept, On: c.Members[0], Operation: fmt.Sprint("back", n)}, to)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine(hosts).Run(t.Context(), back); err != nil {
			t.Fatal(err)
		}
		for address, h := range hosts {
			if raw, _, err := h.File("/usr/local/bin/k3s"); err != nil || string(raw) != "k3s" {
				t.Errorf("host %s: the program is %q, %v", address, raw, err)
			}
		}
	}
}
