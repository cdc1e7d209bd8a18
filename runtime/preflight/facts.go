package preflight

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// Facts is what a host says about itself. The zero value of a field means that
// the host did not tell.
type Facts struct {
	System    string // the kernel's name: Linux
	Machine   string // as the kernel names it
	Kernel    string // its release
	Name      string // of the operating system, as os-release(5) has it
	Hostname  string // in lower case
	MachineID string
	Cluster   string // the cluster of sealrt's that it belongs to
	Installed bool   // steps beside those of --fix have begun there
	Systemd   bool   // runs the host
	OpenRC    bool   // runs the host
	Clock     Offset // to this machine's clock

	Addresses    []netip.Addr      // of all interfaces, loopback too
	TCP, UDP     map[int]string    // ports that something listens on, with the socket's inode
	Holders      map[string]string // the program that has a socket, by its inode, of those that were asked about
	DefaultRoute bool

	CPUs   int
	Memory int64 // bytes
	Swap   Swap
	Cgroup Cgroup
	Kernelware
	Disks map[string]Filesystem // by the path that was asked about

	SELinux  bool // enforces
	Firewall Firewall
	Units    map[string]bool // that run, of those that were asked about
	Paths    map[string]bool // that are there, of those that were asked about

	files map[string]string // what was read, for what has no field of its own
}

// questions are what a driver wants to know beside what is asked of every host.
type questions struct {
	paths   []string // are they there?
	disks   []string // on which file systems would they lie?
	units   []string // do they run?
	modules []string // does the kernel have them?
	files   []string // what is in them?
	tcp     []int    // who listens there?
	udp     []int
	now     func() time.Time
}

// files are read of every host.
func files() []string {
	return []string{
		"/etc/os-release", "/etc/machine-id", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf",
		"/etc/ufw/ufw.conf", "/etc/ufw/user.rules", "/run/systemd/resolve/resolv.conf", runtime.LedgerPath,
		"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6", "/proc/net/route", "/proc/net/ipv6_route",
		"/proc/net/fib_trie", "/proc/net/if_inet6", "/proc/net/ip_tables_names",
		"/proc/meminfo", "/proc/swaps", "/proc/cgroups", "/proc/filesystems", "/proc/modules", "/proc/self/mountinfo",
		"/sys/devices/system/cpu/online", "/sys/fs/cgroup/cgroup.controllers", "/sys/fs/selinux/enforce",
	}
}

// asker puts questions to one host.
type asker struct {
	ctx context.Context //nolint:containedctx // lives as long as one call of ask
	h   host.Host

	mu   sync.Mutex
	errs []error
}

// run returns the standard output and the status of a command, whatever that
// is. What keeps the host from answering at all goes to a.errs.
func (a *asker) run(argv ...string) (string, int) {
	var out bytes.Buffer
	err := a.h.Run(a.ctx, host.Command{Argv: argv, Env: []string{"LC_ALL=C"}, Stdout: &out})
	var exit *host.ExitError
	switch {
	case errors.As(err, &exit):
		return out.String(), exit.Code
	case err != nil:
		a.mu.Lock()
		defer a.mu.Unlock()
		a.errs = append(a.errs, err)
	}
	return out.String(), 0
}

// together asks several things at once: a round trip for all of them.
func (a *asker) together(asks ...func()) error {
	var wg sync.WaitGroup
	for _, ask := range asks {
		wg.Go(ask)
	}
	wg.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.errs) > 0 {
		return a.errs[0] // the others have the same cause: the host does not answer
	}
	return nil
}

// ask gathers the facts of a host in two rounds, and in two more where ports are
// taken. It changes nothing there.
func ask(ctx context.Context, h host.Host, q questions) (Facts, error) {
	a := &asker{ctx: ctx, h: h}
	f := Facts{Paths: map[string]bool{}, Units: map[string]bool{}}
	paths := slices.Concat(q.paths, []string{"/run/systemd/system", "/run/openrc/softlevel"}, tells(q.modules), ancestors(q.disks))
	slices.Sort(paths)
	paths = slices.Compact(paths)
	read := slices.Concat(files(), q.files)
	err := a.together(
		func() { a.system(&f) },
		func() {
			out, _ := a.run(slices.Concat([]string{"tail", "-n", "+1"}, read)...)
			f.files = sections(out, read)
		},
		func() {
			out, _ := a.run(slices.Concat([]string{"find"}, paths, []string{"-maxdepth", "0", "-print0"})...)
			for name := range strings.SplitSeq(out, "\x00") {
				f.Paths[name] = name != ""
			}
		},
		func() { f.Swap.Units = a.swapUnits() },
		func() { f.Clock = a.clock(q.now) },
		func() { a.units(q.units, f.Units) },
	)
	if err != nil {
		return Facts{}, err
	}
	f.read()
	f.Kernelware = kernelware(f.files, f.Paths, q.modules)
	var there []string
	for _, p := range ancestors(q.disks) {
		if f.Paths[p] {
			there = append(there, p)
		}
	}
	known := f // as it is before they write
	err = a.together(
		func() { f.Disks = a.disks(q.disks, there, f.files["/proc/self/mountinfo"]) },
		func() { a.modules(&f.Kernelware, f.Kernel, q.modules) },
		func() { a.packetFilter(&f.Firewall, known) },
		func() { a.firewalld(&f.Firewall, f.Units["firewalld"]) },
	)
	if err != nil {
		return f, err
	}
	f.Holders, err = a.holders(slices.Concat(sockets(f.TCP, q.tcp), sockets(f.UDP, q.udp)))
	return f, err
}

// system asks for the kernel, the name of the host and the architecture.
func (a *asker) system(f *Facts) {
	out, _ := a.run("uname", "-snrm")
	words := strings.Fields(out)
	if len(words) != 4 {
		return
	}
	f.System, f.Hostname, f.Kernel, f.Machine = words[0], strings.ToLower(words[1]), words[2], words[3]
}

// units asks systemd which of the units run: a word for each, in order.
func (a *asker) units(names []string, run map[string]bool) {
	out, _ := a.run(slices.Concat([]string{"systemctl", "is-active"}, names)...)
	states := strings.Fields(out)
	if len(states) != len(names) {
		return
	}
	for i, name := range names {
		run[name] = states[i] == "active" || states[i] == "activating" || states[i] == "reloading"
	}
}

// sections splits what tail prints of several files, each under the line
// "==> NAME <==". A file that is not there has no section.
func sections(out string, names []string) map[string]string {
	found := map[string]string{}
	name := ""
	var text strings.Builder
	end := func() {
		if name != "" {
			found[name] = strings.TrimSuffix(text.String(), "\n") // the empty line before the next name
		}
		text.Reset()
	}
	for line := range strings.Lines(out) {
		title, isTitle := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "==> ")
		if title, closed := strings.CutSuffix(title, " <=="); isTitle && closed && slices.Contains(names, title) {
			end()
			name = title
			continue
		}
		text.WriteString(line)
	}
	end()
	return found
}

// ancestors returns the paths and all directories above them, sorted.
func ancestors(paths []string) []string {
	all := []string{"/"}
	for _, p := range paths {
		for ; p != "/" && p != "."; p = path.Dir(p) {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// read fills in what the files say.
func (f *Facts) read() {
	text := func(name string) string { return strings.TrimSpace(f.files[name]) }
	f.Name = setting(f.files["/etc/os-release"], "PRETTY_NAME")
	f.MachineID = text("/etc/machine-id")
	var steps []string
	f.Cluster, steps = runtime.Begun(f.files[runtime.LedgerPath])
	f.Installed = slices.ContainsFunc(steps, func(id string) bool { return !strings.HasPrefix(id, fixPrefix) })
	f.Systemd = f.Paths["/run/systemd/system"]
	f.OpenRC = !f.Systemd && f.Paths["/run/openrc/softlevel"]
	f.Addresses = slices.Concat(addresses4(f.files["/proc/net/fib_trie"]), addresses6(f.files["/proc/net/if_inet6"]))
	f.TCP = listening(f.files["/proc/net/tcp"]+"\n"+f.files["/proc/net/tcp6"], "0A")
	f.UDP = listening(f.files["/proc/net/udp"]+"\n"+f.files["/proc/net/udp6"], "07")
	f.DefaultRoute = leadsAway(f.files["/proc/net/route"], f.files["/proc/net/ipv6_route"])
	f.CPUs = countCPUs(text("/sys/devices/system/cpu/online"))
	f.Memory = memory(f.files["/proc/meminfo"])
	f.Swap.Devices, f.Swap.Priorities = swaps(f.files["/proc/swaps"])
	f.Cgroup = cgroup(f.files)
	f.SELinux = text("/sys/fs/selinux/enforce") == "1"
	f.Firewall.UFW = ufw(f.files)
}

// setting returns the value of NAME=value in a file of such lines, without
// quotes.
func setting(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}
