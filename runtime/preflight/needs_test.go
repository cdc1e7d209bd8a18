package preflight_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/preflight"
)

// needy is a distribution that needs what a test says.
type needy struct {
	kubernetes.Driver
	needs runtime.Needs
}

func (needy) Name() string { return "needy" }

func (n needy) Needs(*runtime.Cluster, runtime.Member) runtime.Needs { return n.needs }

const (
	onlyLink  = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	rejecting = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
	away6     = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0\n"
	hybrid    = "30 22 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	cgroups1  = "cpuset 4 1 1\ncpu 2 63 1\nmemory 3 9 1\npids 7 69 1\n"
)

func TestNeedsOfADistribution(t *testing.T) {
	for _, tt := range []struct {
		name  string
		needs runtime.Needs
		files map[string]string
		units []string
		spec  clusterfile.Spec
		want  []string // level, check and cause
	}{
		{name: "nothing", files: map[string]string{"/proc/swaps": swapOn, "/proc/net/route": onlyLink, "/proc/self/mountinfo": hybrid, "/proc/cgroups": cgroups1}},
		{name: "a default route", needs: runtime.Needs{DefaultRoute: true}, files: map[string]string{"/proc/net/route": onlyLink, "/proc/net/ipv6_route": rejecting},
			want: []string{"error route it has no default route, without which needy does not start"}},
		{name: "a default route of IPv6", needs: runtime.Needs{DefaultRoute: true}, files: map[string]string{"/proc/net/route": onlyLink, "/proc/net/ipv6_route": away6}},
		{name: "cgroups version 2", needs: runtime.Needs{CgroupV2: true}, files: map[string]string{"/proc/self/mountinfo": hybrid, "/proc/cgroups": cgroups1},
			want: []string{"error cgroups its cgroups are version 1 (hybrid), and needy needs version 2"}},
		{name: "a UDP port", needs: runtime.Needs{UDP: []int{8472}, Ports: []int{8472}}, files: map[string]string{"/proc/net/udp": " 0: 00000000:2118 00000000:0000 07 0\n"},
			want: []string{"error ports something listens on port 8472/udp, which needy needs"}},
		{name: "own ports", files: map[string]string{"/proc/net/tcp": " 0: 0100007F:15B3 0:0 0A 0\n"}, // 5555
			want: []string{"error ports something listens on port 5555/tcp, which the image service needs"}},
		{name: "own ports elsewhere", files: map[string]string{"/proc/net/tcp": " 0: 0100007F:15B3 0:0 0A 0\n"}, spec: clusterfile.Spec{Registry: clusterfile.Registry{Port: 5000}}},
		{name: "a registry of the user's", files: map[string]string{"/proc/net/tcp": " 0: 0100007F:15B3 0:0 0A 0\n"}, spec: clusterfile.Spec{Registry: clusterfile.Registry{External: "r.example.com"}}},
		{name: "none beside it", needs: runtime.Needs{Conflicts: []string{"k0s"}}, files: map[string]string{"/usr/local/bin/k0s": "", "/usr/bin/dockerd": ""},
			want: []string{"error software k0s is there already (/usr/local/bin/k0s), and needy cannot be beside it"}},
		{name: "some beside it", needs: runtime.Needs{Conflicts: []string{"k0s"}}, units: []string{"docker"},
			want: []string{"warning software docker is there already (the unit docker runs)"}},
		{name: "memory", needs: runtime.Needs{Memory: 2 << 30}, files: map[string]string{"/proc/meminfo": "MemTotal: 1048576 kB\n"},
			want: []string{"error memory it has 1.0 GiB of memory, and needy needs 2.0 GiB"}},
		{name: "nearly the memory", needs: runtime.Needs{MemoryAdvised: 2 << 30}, files: map[string]string{"/proc/meminfo": "MemTotal: 1990000 kB\n"}},
		{name: "a policy that is there", needs: runtime.Needs{SELinux: "k3s"}, files: map[string]string{"/sys/fs/selinux/enforce": "1", "/usr/share/selinux/packages/k3s.pp": ""}},
		{name: "no policy for that", needs: runtime.Needs{SELinux: "k3s", NoSELinux: "data-dir is /srv/k3s"}, files: map[string]string{"/sys/fs/selinux/enforce": "1", "/usr/share/selinux/packages/k3s.pp": ""},
			want: []string{"error selinux SELinux enforces, and data-dir is /srv/k3s"}},
		{name: "none is needed", needs: runtime.Needs{NoSELinux: "data-dir is /srv/k3s"}, files: map[string]string{"/sys/fs/selinux/enforce": "0"}},
		{name: "routes that are taken away", units: []string{"nm-cloud-setup.timer"},
			want: []string{"warning route nm-cloud-setup runs, which takes the routes of pods away"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.New("a")
			for name, text := range tt.files {
				h.WriteFile(name, 0o444, []byte(text))
			}
			for _, u := range tt.units {
				h.SetUnit(u, true, true)
			}
			c := newTwo(t).c
			c.Spec, c.Members = tt.spec, c.Members[:1]
			r, err := preflight.Run(t.Context(), c, needy{needs: tt.needs}, map[string]host.Host{"10.0.0.1": h}, preflight.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				got = append(got, string(f.Level)+" "+f.Check+" "+f.Cause)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const swapOn = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"
