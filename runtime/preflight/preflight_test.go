package preflight_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/preflight"
)

const sockets = "  sl  local_address rem_address   st tx_queue rx_queue\n" +
	"   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n" + // sshd, 22
	"   1: 0100007F:280A 0100007F:9999 01 00000000:00000000\n" // a connection on 10250, not a listener

// two is a cluster of a master and a node, and their hosts.
type two struct {
	c    *runtime.Cluster
	a, b *hosttest.Host
	o    preflight.Options
}

func newTwo(t *testing.T) *two {
	t.Helper()
	ref, err := artifact.ParseReference("kubernetes:v1.34.4")
	if err != nil {
		t.Fatal(err)
	}
	x := &two{a: hosttest.New("a"), b: hosttest.New("b"), c: &runtime.Cluster{
		Name: "test",
		Images: []runtime.Image{{
			Ref: ref, Kind: artifact.Kind{Version: "v1.34.4", Arch: "amd64"}, Size: 1 << 30,
			Files: fstest.MapFS{
				"etc/modules-load.d/k.conf": {Data: []byte("overlay\n")},
				"etc/sysctl.d/k.conf":       {Data: []byte("net.ipv4.ip_forward = 1\n")},
			},
		}},
		Members: []runtime.Member{
			{Address: "10.0.0.1", NodeIP: "10.0.0.1", Role: runtime.Master},
			{Address: "ops@10.0.0.2:2222", NodeIP: "10.0.0.2", Role: runtime.Node},
		},
	}}
	for _, h := range []*hosttest.Host{x.a, x.b} {
		h.WriteFile("/etc/machine-id", 0o444, []byte("id of "+h.Name()+"\n"))
		h.WriteFile("/proc/net/tcp", 0o444, []byte(sockets))
	}
	return x
}

func (x *two) run(t *testing.T) preflight.Report {
	t.Helper()
	r, err := preflight.Run(t.Context(), x.c, kubernetes.Driver{}, map[string]host.Host{"10.0.0.1": x.a, "ops@10.0.0.2:2222": x.b}, x.o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func lines(findings []preflight.Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, f.String())
	}
	return all
}

func TestPreflightLearnsTheHostNamesAndChangesNothing(t *testing.T) {
	x := newTwo(t)
	if r := x.run(t); len(r.Findings) > 0 {
		t.Fatalf("found %q", lines(r.Findings))
	}
	if m := x.c.Members; m[0].Hostname != "a" || m[1].Hostname != "b" || m[1].Arch != "amd64" {
		t.Errorf("members are %+v", m)
	}
	looks := map[string]bool{"tail": true, "uname": true, "find": true, "date": true, "df": true, "grep": true, "nft": true}
	for _, h := range []*hosttest.Host{x.a, x.b} {
		for _, call := range h.Calls() {
			asks := call.Argv[0] == "systemctl" && call.Argv[1] == "is-active"
			if !looks[call.Argv[0]] && !asks || strings.Contains(strings.Join(call.Argv, " "), "-delete") {
				t.Errorf("host %s: preflight ran %q", h.Name(), call.Argv)
			}
		}
	}
}

// slow is a host that takes its time for each command, and runs no more at once
// than a connection carries.
type slow struct {
	*hosttest.Host
	sessions chan struct{}
}

func (s slow) Run(ctx context.Context, c host.Command) error {
	s.sessions <- struct{}{}
	defer func() { <-s.sessions }()
	time.Sleep(200 * time.Millisecond) // of the bubble's own time
	return s.Host.Run(ctx, c)
}

func TestManyHostsTakeAsLongAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTwo(t)
		x.c.Members = nil
		hosts := map[string]host.Host{}
		for i := range 50 {
			m := runtime.Member{Address: fmt.Sprintf("10.0.1.%d", i), NodeIP: fmt.Sprintf("10.0.1.%d", i), Role: runtime.Master}
			h := hosttest.New(fmt.Sprintf("h%d", i))
			h.SetUnit("firewalld", true, true)
			x.c.Members = append(x.c.Members, m)
			hosts[m.Address] = slow{h, make(chan struct{}, 8)}
		}
		start := time.Now()
		if _, err := preflight.Run(t.Context(), x.c, kubernetes.Driver{}, hosts, x.o); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 3*200*time.Millisecond {
			t.Errorf("it took %s, the time of %d commands one after another", took, took/(200*time.Millisecond))
		}
	})
}

func TestHostThatHangsIsGivenUpAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTwo(t)
		r, err := preflight.Run(t.Context(), x.c, kubernetes.Driver{}, map[string]host.Host{"10.0.0.1": x.a, "ops@10.0.0.2:2222": hanging{x.b}}, x.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(r.Findings); len(got) != 1 || !strings.HasPrefix(got[0], "10.0.0.2: [reachable] it did not tell about itself within 1m0s") {
			t.Errorf("found %q", got)
		}
	})
}

// hanging is a host whose df never ends.
type hanging struct{ *hosttest.Host }

func (h hanging) Run(ctx context.Context, c host.Command) error {
	if c.Argv[0] != "df" {
		return h.Host.Run(ctx, c)
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestPreflightReportsEverythingTogether(t *testing.T) {
	x := newTwo(t)
	x.a.WriteFile("/proc/net/tcp6", 0o444, []byte("h\n 0: 00000000000000000000000000000000:192B 0:0 0A 0\n")) // 6443
	x.a.WriteFile("/etc/machine-id", 0o444, []byte("same"))
	x.b.WriteFile("/etc/machine-id", 0o444, []byte("same"))
	x.b.Respond([]string{"uname"}, "Linux a 6.1.0 aarch64\n", 0)
	x.c.Members = append(x.c.Members, runtime.Member{Address: "10.0.0.3", Role: runtime.Node})
	x.o.Unreached = map[string]error{"10.0.0.3": errors.New("connection refused")}
	got := x.run(t).Err()
	var refused *preflight.RefusedError
	if !errors.As(got, &refused) {
		t.Fatalf("error is %v", got)
	}
	want := []string{
		"10.0.0.1: [ports] something listens on port 6443/tcp, which kubernetes needs: end what listens there (ss -lnp 'sport = 6443' says what)",
		"10.0.0.2: [arch] it is arm64, the image kubernetes:v1.34.4 is for amd64: take an image for its platform, or another host",
		`10.0.0.2: [hostname] it and 10.0.0.1 are both called "a": give them different host names (hostnamectl set-hostname)`,
		"10.0.0.2: [machine-id] it and 10.0.0.1 have the same machine id: they are one machine, or copies of one: give the copy an id of its own (rm /etc/machine-id; systemd-machine-id-setup)",
		"10.0.0.3: [reachable] connection refused",
		"a check is passed over with --skip-check NAME, the word in brackets",
	}
	if diff := cmp.Diff(want, strings.Split(got.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestHostsOfSeveralGiveEachOtherBlobsAndImages(t *testing.T) {
	x := newTwo(t)
	for _, h := range []*hosttest.Host{x.a, x.b} {
		h.SetUnit("firewalld", true, true)
		h.Respond([]string{"firewall-cmd", "--list-ports"}, "2000-5000/tcp 6000-20000/tcp\n", 0)
		h.Respond([]string{"firewall-cmd", "--zone=trusted"}, "10.0.0.0/8\n", 0)
		h.Respond([]string{"firewall-cmd", "--permanent", "--list-ports"}, "2000-20000/tcp\n", 0) // at boot all is well
		h.Respond([]string{"firewall-cmd", "--permanent", "--zone=trusted"}, "10.0.0.0/8\n", 0)
	}
	x.a.WriteFile("/proc/net/tcp", 0o444, []byte(" 0: 00000000:15B5 0:0 0A 0\n 1: 00000000:15B4 0:0 0A 0\n")) // 5557, 5556
	var got []string
	for _, f := range x.run(t).Findings {
		got = append(got, f.Host+" "+string(f.Level)+" "+f.Cause)
	}
	want := []string{ // blobs come over SSH where hosts cannot give them to each other
		"10.0.0.1 error something listens on port 5557/tcp, which the image service of masters needs",
		"10.0.0.1 warning something listens on port 5556/tcp, which the exchange of blobs needs",
		"10.0.0.1 error firewalld is on and does not let in 5556/tcp 5557/tcp",
		"10.0.0.2 warning firewalld is on and does not let in 5556/tcp",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	x.o.Fix = true
	if r := x.run(t); len(r.At(preflight.Mended)) != 2 {
		t.Errorf("mended %q", lines(r.Findings))
	}
}

func TestHostThatIsLostWhileItIsAskedIsAFinding(t *testing.T) {
	x := newTwo(t)
	x.a.Fail([]string{"tail"}, host.ErrLost, 0)
	got := lines(x.run(t).Findings)
	if len(got) != 1 || !strings.HasPrefix(got[0], "10.0.0.1: [reachable] connection lost") {
		t.Errorf("found %q", got)
	}
	if x.c.Members[1].Hostname != "b" {
		t.Error("the other host was not asked")
	}
}

func TestSkippedChecksAreToldAndNamesAreChecked(t *testing.T) {
	x := newTwo(t)
	for _, h := range []*hosttest.Host{x.a, x.b} {
		h.WriteFile("/etc/machine-id", 0o444, []byte("same"))
	}
	x.o.Skip = []string{"machine-id"}
	r := x.run(t)
	if r.Err() != nil {
		t.Errorf("error is %v", r.Err())
	}
	if got := lines(r.At(preflight.Skipped)); len(got) != 1 || !strings.HasPrefix(got[0], "10.0.0.2: [machine-id] skipped as asked: it and 10.0.0.1") {
		t.Errorf("told %q", got)
	}
	for _, name := range []string{"colour", "arch", "hostname", "reachable"} {
		x.o.Skip = []string{name}
		_, err := preflight.Run(t.Context(), x.c, kubernetes.Driver{}, nil, x.o)
		var unknown *preflight.NameError
		if !errors.As(err, &unknown) || !strings.Contains(err.Error(), "there are machine-id, ") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestHostWithTheClusterIsOnlyAskedForWhatStillMatters(t *testing.T) {
	full := "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 90 10 90% /\n"
	for _, tt := range []struct {
		name   string
		ledger string
		lacks  map[string]int64
		want   []string // checks
	}{
		{"fresh", "", nil, []string{"ports", "disk", "swap"}},
		{"only fixed", `{"cluster":"test","step":"fix swap","state":"begun"}`, nil, []string{"ports", "disk", "swap"}},
		{"installed", `{"cluster":"test","step":"claim","state":"begun"}`, nil, nil},
		{"upgraded", `{"cluster":"test","step":"claim","state":"begun"}`, map[string]int64{"10.0.0.1": 1 << 20}, []string{"disk"}},
		{"another's", `{"cluster":"other","step":"claim","state":"begun"}`, nil, []string{"cluster"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newTwo(t)
			x.o.Lacks = tt.lacks
			x.a.WriteFile("/proc/net/tcp", 0o444, []byte(" 0: 00000000:192B 0:0 0A 0\n"))
			x.a.WriteFile("/proc/swaps", 0o444, []byte("Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"))
			x.a.WriteFile(runtime.LedgerPath, 0o600, []byte(tt.ledger+"\n{\"cluster\":\"te"))
			x.a.Respond([]string{"df", "-P", "-k"}, full, 0)
			var got []string
			for _, f := range x.run(t).Findings {
				got = append(got, f.Check)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRoomIsWhatTheImagesTakeAtMost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		size  int64 // GiB
		peak  int64
		lacks map[string]int64
		want  bool // there is too little
	}{
		{"the image tells: enough", 1, 10, nil, false},
		{"the image tells: too little", 1, 40, nil, true},
		{"it does not tell: enough", 4, 0, nil, false},
		{"it does not tell: too little", 10, 0, nil, true},
		{"a tenth is lacking", 20, 40, map[string]int64{"10.0.0.1": 2 << 30, "ops@10.0.0.2:2222": 2 << 30}, false},
		{"nothing is lacking", 20, 90, map[string]int64{"10.0.0.1": 0, "ops@10.0.0.2:2222": 0}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newTwo(t)
			x.c.Images[0].Size, x.c.Images[0].Peak, x.o.Lacks = tt.size<<30, tt.peak<<30, tt.lacks
			for _, h := range []*hosttest.Host{x.a, x.b} {
				h.Respond([]string{"df", "-P", "-k"}, "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 41943040 20971520 20971520 50% /\n", 0)
			}
			found := false
			r, err := preflight.Run(t.Context(), x.c, needy{}, map[string]host.Host{x.c.Members[0].Address: x.a, x.c.Members[1].Address: x.b}, x.o)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				found = found || f.Check == "disk" && strings.Contains(f.Cause, "needs")
			}
			if found != tt.want {
				t.Errorf("too little room: %v", found)
			}
		})
	}
}

func TestClocksAreComparedWithoutFalseAlarm(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		name   string
		a, b   time.Duration // ahead of this machine
		trip   time.Duration // how long a question takes
		checks []string
	}{
		{"equal", 0, 0, 0, nil},
		{"just within", 30 * time.Second, 0, 0, nil},
		{"slow network", 29 * time.Second, 0, 2 * time.Second, nil},
		{"ahead", 40 * time.Second, 0, time.Second, []string{"10.0.0.1 its clock is at least 39s ahead of this machine's"}},
		{"behind", -40 * time.Second, 0, 0, []string{"10.0.0.1 its clock is at least 39s behind this machine's"}},
		{"hosts apart", 20 * time.Second, -20 * time.Second, 0, []string{"10.0.0.2 its clock and that of 10.0.0.1 are at least 39s apart"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range preflight.Skew(tt.a, tt.b, tt.trip, now) {
				got = append(got, f.Host+" "+f.Cause)
			}
			if diff := cmp.Diff(tt.checks, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRoomIsAddedUpPerFileSystem(t *testing.T) {
	const head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
	gib := func(n float64) string { return fmt.Sprintf("%d", int64(n*(1<<20))) }
	for _, tt := range []struct {
		name, kib, inodes string
		mounts            string
		home              string // dataDir.sealrt
		want              []string
	}{
		{"enough", head + "/dev/sda1 1 1 " + gib(10) + " 1% /\n", "", "", "", nil},
		// 2.2 GiB of blobs and 3 GiB of containerd's, and what is beside
		{"all on one", head + "/dev/sda1 1 1 " + gib(5) + " 1% /\n", "", "", "", []string{
			"the file system at / has 5.0 GiB free and needs 6.1 GiB: 2.2 GiB for /var/lib/sealrt, 512 MiB for /usr/local/bin, 128 MiB for /opt/cni/bin, 256 MiB for /var/lib/kubelet, 3.0 GiB for /var/lib/containerd",
		}},
		{"of two devices", head + "/dev/sda1 1 1 " + gib(1) + " 1% /\n/dev/sdb1 1 1 " + gib(5) + " 1% /var\n", "", "", "", []string{
			"the file system at /var has 5.0 GiB free and needs 5.4 GiB: 2.2 GiB for /var/lib/sealrt, 256 MiB for /var/lib/kubelet, 3.0 GiB for /var/lib/containerd",
		}},
		{"one device mounted twice", head + "/dev/sda1 1 1 " + gib(5) + " 1% /\n/dev/sda1 1 1 " + gib(5) + " 1% /var\n", "", "", "", []string{
			"the file system at /var has 5.0 GiB free and needs 6.1 GiB: 2.2 GiB for /var/lib/sealrt, 512 MiB for /usr/local/bin, 128 MiB for /opt/cni/bin, 256 MiB for /var/lib/kubelet, 3.0 GiB for /var/lib/containerd",
		}},
		{"dataDir elsewhere", head + "/dev/sda1 1 1 " + gib(5) + " 1% /\n/dev/sdb1 1 1 " + gib(5) + " 1% /data disk\n", "", "", "/data disk/sealrt", nil},
		{"no inodes", head + "/dev/sda1 1 1 " + gib(10) + " 1% /\n", head + "/dev/sda1 30000 29000 1000 97% /\n", "", "", []string{"the file system at / has 1000 inodes free and needs 20000"}},
		{"inodes without number", head + "/dev/sda1 1 1 " + gib(10) + " 1% /\n", head + "/dev/sda1 0 0 0 - /\n", "", "", nil},
		{"read-only", head + "/dev/sda1 1 1 " + gib(10) + " 1% /\n/dev/sda2 1 1 " + gib(10) + " 1% /usr\n", "", "20 1 8:2 / /usr ro,relatime - ext4 /dev/sda2 ro\n", "", []string{"the file system at /usr is read-only"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newTwo(t)
			x.c.DataDir = clusterfile.DataDir{Sealrt: tt.home}
			x.b.Respond([]string{"df", "-P", "-k"}, tt.kib, 0)
			x.b.Respond([]string{"df", "-P", "-i"}, tt.inodes, 0)
			x.b.WriteFile("/proc/self/mountinfo", 0o444, []byte(tt.mounts))
			var got []string
			for _, f := range x.run(t).Findings {
				got = append(got, f.Cause)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
