package preflight

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime"
)

// subject is one host while it is examined.
type subject struct {
	c      *runtime.Cluster
	driver string
	m      runtime.Member
	needs  runtime.Needs
	disks  []runtime.Disk
	facts  Facts
	stated runtime.Member // as the Clusterfile has it

	all   []*subject // of all hosts that answered
	index int
}

// check looks for one kind of obstacle.
type check struct {
	name string
	find func(*subject) []Finding
	// standing: it is asked of hosts too on which the cluster is installed
	standing bool
	// firm: it cannot be skipped, since the cluster could not be made
	firm bool
}

// checks are all checks, in the order in which their findings are told.
func checks() []check {
	return []check{
		{name: "os", find: system, standing: true, firm: true},
		{name: "arch", find: architecture, standing: true, firm: true},
		{name: "cluster", find: membership, standing: true, firm: true},
		{name: "hostname", find: hostname, standing: true, firm: true},
		{name: "machine-id", find: machineID, standing: true},
		{name: "address", find: address, standing: true},
		{name: "clock", find: clockSkew, standing: true},
		{name: "ports", find: ports},
		{name: "disk", find: room, standing: true},
		{name: "memory", find: enoughMemory},
		{name: "cpu", find: enoughCPUs},
		{name: "cgroups", find: cgroups},
		{name: "kernel", find: kernel},
		{name: "swap", find: noSwap},
		{name: "firewall", find: firewall},
		{name: "selinux", find: selinux},
		{name: "software", find: foreignSoftware},
		{name: "route", find: route},
		{name: "resolver", find: resolver},
		{name: "docker", find: digestsOnDocker, standing: true},
	}
}

// Names are the checks that can be skipped.
func Names() []string {
	var all []string
	for _, c := range checks() {
		if !c.firm {
			all = append(all, c.name)
		}
	}
	return all
}

// about begins the examination of a member's host.
func about(c *runtime.Cluster, d runtime.Driver, m runtime.Member, o Options) *subject {
	s := &subject{c: c, driver: d.Name(), m: m, stated: m, needs: d.Needs(c, m)}
	var lacks int64
	for _, i := range c.Images {
		lacks += i.Size
	}
	if n, ok := o.Lacks[m.Address]; ok {
		lacks = n
	}
	s.disks = demand(c, s.needs, lacks)
	return s
}

func (s *subject) questions(now func() time.Time) questions {
	tcp, udp := s.blobsPort(), []int(nil)
	for _, u := range s.users() {
		if u.proto == "udp" {
			udp = append(udp, u.port)
		} else {
			tcp = append(tcp, u.port)
		}
	}
	return questions{
		tcp: tcp, udp: udp,
		paths:   slices.Concat(softwarePaths(), policyFiles(s.needs.SELinux)),
		disks:   demandPaths(s.disks),
		units:   units(),
		modules: s.needs.Modules,
		files:   sysctlPaths(s.needs.Sysctls),
		now:     now,
	}
}

// learn tells the member what its host is called and what it is.
func (s *subject) learn(m *runtime.Member) {
	m.Hostname = cmp.Or(s.facts.Hostname, m.Hostname)
	m.Arch = cmp.Or(runtime.Arch(s.facts.Machine), m.Arch)
	if m.Init = ""; s.facts.OpenRC {
		m.Init = runtime.OpenRC
	}
	s.m = *m
}

// installed reports whether the cluster is on the host already, wholly or in
// part.
func (s *subject) installed() bool { return s.facts.Cluster == s.c.Name && s.facts.Installed }

// examine puts the host through the checks. One that belongs to another cluster
// is not looked at any further.
func (s *subject) examine(o Options) []Finding {
	var all []Finding
	for _, c := range checks() {
		_, told := o.Lacks[s.m.Address]
		if s.installed() && (!c.standing || c.name == "disk" && !told) {
			continue
		}
		found := c.find(s)
		for _, f := range found {
			f.Host, f.Check = s.m.Name(), c.name
			switch {
			case f.Level == Error && slices.Contains(o.Skip, c.name):
				f.Level = Skipped
			case o.Fix && len(f.fix) > 0:
				f.Level = Mended
			}
			all = append(all, f)
		}
		if c.name == "cluster" && len(found) > 0 {
			break
		}
	}
	return all
}

// before returns the hosts that were examined before this one.
func (s *subject) before() []*subject { return s.all[:s.index] }

// bad is an error, with what takes it away.
func (s *subject) bad(do, cause string, args ...any) []Finding {
	return []Finding{{Level: Error, Cause: fmt.Sprintf(cause, args...), Do: do}}
}

// warn is a warning.
func (s *subject) warn(do, cause string, args ...any) []Finding {
	return []Finding{{Level: Warning, Cause: fmt.Sprintf(cause, args...), Do: do}}
}

// mendable is an error that steps take away: it names their commands.
func (s *subject) mendable(steps []runtime.Step, cause string, args ...any) []Finding {
	var lines []string
	for _, step := range steps {
		switch do := step.Do.(type) {
		case runtime.Exec:
			lines = append(lines, strings.Join(do.Argv, " "))
		case runtime.Modules:
			lines = append(lines, "modprobe -a "+strings.Join(do.Names, " "))
		case runtime.Sysctl:
			for _, set := range do.Settings {
				lines = append(lines, "sysctl -w "+set.Name+"="+set.Value)
			}
		}
	}
	f := s.bad(strings.Join(lines, "; ")+"; or pass --fix", cause, args...)
	f[0].fix = steps
	return f
}

func system(s *subject) []Finding {
	switch f := s.facts; {
	case f.System == "":
		return s.bad("see what `uname -snrm` says there", "it does not say what it is")
	case f.System != "Linux":
		return s.bad(runtime.RunsOn, "it runs %s", f.System)
	case f.OpenRC && !s.needs.OpenRC:
		return s.bad("use a host that is booted by systemd", "OpenRC runs its services, and %s needs systemd", s.driver)
	case f.OpenRC:
		return s.openrc()
	case !f.Systemd:
		return s.bad("use a host that is booted by systemd", "it is not run by systemd, which starts the cluster's services (it says it is %s)", cmp.Or(f.Name, f.System))
	}
	return nil
}

// openrc looks for what a cluster needs on a host that OpenRC runs.
func (s *subject) openrc() []Finding {
	for _, p := range s.c.Image().Paths {
		if path.Ext(path.Dir(p)) == ".wants" && strings.HasPrefix(p, "etc/systemd/system/") {
			return s.bad("use a host that is booted by systemd, or an image without it", "OpenRC runs its services, and %s of the image is one of systemd", path.Base(p))
		}
	}
	return nil
}

func architecture(s *subject) []Finding {
	arch := runtime.Arch(s.facts.Machine)
	if arch == "" {
		if s.facts.System != "Linux" {
			return nil // said already
		}
		return s.bad(runtime.RunsOn, "its machine is %s", s.facts.Machine)
	}
	var found []Finding
	if image := s.c.Image(); image.Kind.Arch != "" && image.Kind.Arch != arch {
		found = s.bad("take an image for its platform, or another host", "it is %s, the image %s is for %s", arch, image.Ref.Familiar(), image.Kind.Arch)
	}
	if s.stated.Arch != "" && s.stated.Arch != arch {
		found = append(found, s.bad("correct the Clusterfile", "it is %s, the Clusterfile says %s", arch, s.stated.Arch)...)
	}
	return found
}

func membership(s *subject) []Finding {
	if of := s.facts.Cluster; of != "" && of != s.c.Name {
		return s.bad(fmt.Sprintf("reset that one first (sealrt reset --cluster %s)", of), "it belongs to the cluster %q", of)
	}
	return nil
}

// label is a part of a host's name (RFC 1123, 2.1; RFC 1035, 2.3.1).
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func hostname(s *subject) []Finding {
	name := s.facts.Hostname
	const remedy = "hostnamectl set-hostname NAME"
	bad := func(part string) bool { return !label.MatchString(part) }
	switch {
	case name == "" || name == "localhost" || strings.HasPrefix(name, "localhost."):
		return s.bad(remedy, "it is called %q, as every host is before it gets a name", name)
	case len(name) > 253 || slices.ContainsFunc(strings.Split(name, "."), bad):
		return s.bad(remedy+", of letters, digits, - and . (RFC 1123)", "its name %q cannot be that of a host", name)
	case s.stated.Hostname != "" && !strings.EqualFold(s.stated.Hostname, name):
		return s.bad("give it the name back, or correct the Clusterfile", "it is called %q, and %q in the cluster", name, s.stated.Hostname)
	}
	for _, other := range s.before() {
		if other.facts.Hostname == name {
			return s.bad("give them different host names (hostnamectl set-hostname)", "it and %s are both called %q", other.m.Name(), name)
		}
	}
	return nil
}

func machineID(s *subject) []Finding {
	id := s.facts.MachineID
	for _, other := range s.before() {
		if id != "" && other.facts.MachineID == id {
			return s.bad("give the copy an id of its own (rm /etc/machine-id; systemd-machine-id-setup)",
				"it and %s have the same machine id: they are one machine, or copies of one", other.m.Name())
		}
	}
	return nil
}

func address(s *subject) []Finding {
	ip, err := netip.ParseAddr(s.m.NodeIP)
	if err != nil {
		return nil // none is known, or it is a name of the user's
	}
	for _, other := range s.before() {
		if given, err := netip.ParseAddr(other.m.NodeIP); err == nil && given == ip {
			return s.bad("say which address is whose with nodeIP in the Clusterfile", "it and %s have the same address %s", other.m.Name(), ip)
		}
	}
	found := s.notItsOwn(ip, "nodeIP")
	if other, err := netip.ParseAddr(s.m.OtherIP); err == nil {
		found = append(found, s.notItsOwn(other, "otherNodeIP")...)
	}
	return found
}

// notItsOwn says that a host does not have an address that a field gives it.
func (s *subject) notItsOwn(ip netip.Addr, field string) []Finding {
	if len(s.facts.Addresses) == 0 || slices.Contains(s.facts.Addresses, ip.WithZone("")) {
		return nil
	}
	var own []string
	for _, a := range s.facts.Addresses {
		if !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			own = append(own, a.String())
		}
	}
	return s.bad("say which one the other hosts reach it by, with "+field+" in the Clusterfile",
		"no interface of it has the address %s; it has %s", ip, cmp.Or(strings.Join(own, ", "), "none"))
}

// blobsPort is the port by which hosts give each other blobs.
func (s *subject) blobsPort() []int {
	if s.c.Blobs.SSHOnly || len(s.c.Members) == 1 {
		return nil
	}
	return []int{cmp.Or(s.c.Blobs.Port, runtime.BlobsPort)}
}

// mastersPort is the port by which a master gives other hosts images.
func (s *subject) mastersPort() []int {
	if s.c.Registry.External != "" || s.m.Role != runtime.Master || len(s.c.Members) == 1 {
		return nil
	}
	return []int{runtime.RegistryMasterPort}
}

// user is what needs a port.
type user struct {
	port  int
	proto string
	who   string
	do    string // what else can be done than to free it
}

// users are those of all ports that a host has to have free.
func (s *subject) users() []user {
	var all []user
	for _, n := range slices.Concat(s.needs.Ports, s.needs.Loopback) {
		all = append(all, user{port: n, proto: "tcp", who: s.driver})
	}
	for _, n := range s.needs.UDP {
		all = append(all, user{port: n, proto: "udp", who: s.driver})
	}
	if s.c.Registry.External == "" {
		all = append(all, user{cmp.Or(s.c.Registry.Port, runtime.RegistryPort), "tcp", "the image service", ", or set registry.port in the Clusterfile"})
	}
	for _, n := range s.mastersPort() {
		all = append(all, user{port: n, proto: "tcp", who: "the image service of masters"})
	}
	return all
}

// holder says who has a port; "" for nobody.
func (f Facts) holder(n int, proto string) string {
	table := f.TCP
	if proto == "udp" {
		table = f.UDP
	}
	inode, taken := table[n]
	if !taken {
		return ""
	}
	return cmp.Or(f.Holders[inode], "something")
}

func ports(s *subject) []Finding {
	var found []Finding
	for _, u := range s.users() {
		if holder := s.facts.holder(u.port, u.proto); holder != "" {
			found = append(found, s.bad(fmt.Sprintf("end what listens there (ss -lnp 'sport = %d' says what)%s", u.port, u.do),
				"%s listens on port %s, which %s needs", holder, portOf(u.port, u.proto), u.who)...)
		}
	}
	for _, n := range s.blobsPort() {
		if holder := s.facts.holder(n, "tcp"); holder != "" {
			found = append(found, s.warn("blobs come from this machine over SSH instead, which takes longer; blobs.port in the Clusterfile names another",
				"%s listens on port %s, which the exchange of blobs needs", holder, portOf(n, "tcp"))...)
		}
	}
	return found
}

func enoughMemory(s *subject) []Finding {
	const remedy = "give the machine more memory, or use another host"
	switch has := s.facts.Memory; {
	case has == 0:
		return nil
	case has < s.needs.Memory:
		return s.bad(remedy, "it has %s of memory, and %s needs %s", humanBytes(has), s.driver, humanBytes(s.needs.Memory))
	case has < s.needs.MemoryAdvised*9/10: // a machine of 2 GiB shows a little less
		return s.warn(remedy, "it has %s of memory, and %s is better off with %s", humanBytes(has), s.driver, humanBytes(s.needs.MemoryAdvised))
	}
	return nil
}

func enoughCPUs(s *subject) []Finding {
	if n := s.facts.CPUs; n > 0 && n < s.needs.CPUs {
		return s.bad("give the machine more, or use another host", "it has %d CPU, and %s needs %d", n, s.driver, s.needs.CPUs)
	}
	return nil
}

func route(s *subject) []Finding {
	var found []Finding
	if s.needs.DefaultRoute && s.facts.files["/proc/net/route"] != "" && !s.facts.DefaultRoute {
		found = s.bad("add one; a link of its own will do: ip link add default0 type dummy; ip link set default0 up; ip route add default dev default0 metric 4000",
			"it has no default route, without which %s does not start", s.driver)
	}
	if s.facts.Units[unitCloudSetup] {
		found = append(found, s.warn("systemctl disable --now nm-cloud-setup.service nm-cloud-setup.timer", "nm-cloud-setup runs, which takes the routes of pods away")...)
	}
	return found
}

func resolver(s *subject) []Finding {
	text, there := s.facts.files["/etc/resolv.conf"]
	servers := nameservers(text)
	var found []Finding
	switch {
	case s.facts.files["/etc/hosts"] == "" && !there:
		return nil // nothing is known
	case len(servers) == 0:
		found = s.warn("name one in /etc/resolv.conf where pods are to find names outside", "it knows no name server")
	case s.facts.files["/run/systemd/resolve/resolv.conf"] == "" && slices.ContainsFunc(servers, isLoopback):
		found = s.warn("name one that pods reach too in /etc/resolv.conf", "its name server %s is the host's own loopback, which a pod cannot ask", servers[0])
	}
	nss := s.facts.files["/etc/nsswitch.conf"]
	if len(servers) == 0 && !named(s.facts.files["/etc/hosts"], s.facts.Hostname) && !strings.Contains(nss, "myhostname") && !strings.Contains(nss, "resolve") {
		found = append(found, s.warn(fmt.Sprintf("add %q to /etc/hosts", cmp.Or(s.m.NodeIP, "ADDRESS")+" "+s.facts.Hostname), "it cannot find its own name %q", s.facts.Hostname)...)
	}
	return found
}

func isLoopback(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.IsLoopback()
}
