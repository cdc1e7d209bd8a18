package preflight

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kernelware is what a host's kernel has of the modules that were asked about.
type Kernelware struct {
	Has  map[string]bool // loaded, or built in
	Can  map[string]bool // to be loaded
	Told bool            // the lists of modules were there to be read
}

// signs returns the paths that show that the kernel has a module, whether
// loaded or built in.
func signs(module string) []string {
	all := []string{"/sys/module/" + module}
	switch module {
	case "br_netfilter":
		all = append(all, "/proc/sys/net/bridge/bridge-nf-call-iptables")
	case "nf_conntrack":
		all = append(all, "/proc/sys/net/netfilter/nf_conntrack_max")
	}
	return all
}

// tells returns the signs of all modules.
func tells(modules []string) []string {
	var all []string
	for _, m := range modules {
		all = append(all, signs(m)...)
	}
	return all
}

// kernelware says which modules work already.
func kernelware(files map[string]string, paths map[string]bool, modules []string) Kernelware {
	k := Kernelware{Has: map[string]bool{}, Can: map[string]bool{}}
	loaded := map[string]bool{}
	for line := range strings.Lines(files["/proc/modules"]) {
		name, _, _ := strings.Cut(line, " ")
		loaded[name] = true
	}
	for line := range strings.Lines(files["/proc/filesystems"]) { // "nodev\toverlay"
		if f := strings.Fields(line); len(f) > 0 {
			loaded[f[len(f)-1]] = true
		}
	}
	for _, m := range modules {
		k.Has[m] = loaded[m] || slices.ContainsFunc(signs(m), func(p string) bool { return paths[p] })
	}
	return k
}

// modules looks for the modules that do not work yet in the kernel's lists of
// what is built in and what can be loaded (modprobe(8), depmod(8)).
func (a *asker) modules(k *Kernelware, release string, modules []string) {
	missing := slices.DeleteFunc(slices.Clone(modules), func(m string) bool { return k.Has[m] })
	if len(missing) == 0 || release == "" {
		return
	}
	dir := path.Join("/lib/modules", release)
	var words []string
	for _, m := range missing {
		words = append(words, strings.ReplaceAll(m, "_", "[-_]"))
	}
	out, code := a.run("grep", "-s", "-H", "-E", "/("+strings.Join(words, "|")+`)\.ko`, path.Join(dir, "modules.builtin"), path.Join(dir, "modules.dep"))
	k.Told = code == 1 || out != "" // 2 without a line: there is no such list
	for line := range strings.Lines(out) {
		file, text, _ := strings.Cut(line, ":")
		for _, m := range missing {
			if !strings.Contains(strings.ReplaceAll(text, "-", "_"), "/"+m+".ko") {
				continue
			}
			if path.Base(file) == "modules.builtin" {
				k.Has[m] = true
			}
			k.Can[m] = true
		}
	}
}

// Cgroup is how the kernel groups processes.
type Cgroup struct {
	Version     int  // 1 or 2
	Hybrid      bool // version 1 with a version 2 beside it that has no controllers
	Controllers []string
}

// cgroup reads where cgroups are mounted and which controllers are on
// (cgroups(7)).
func cgroup(files map[string]string) Cgroup {
	var g Cgroup
	unified := false
	for line := range strings.Lines(files["/proc/self/mountinfo"]) {
		mount, system, _ := strings.Cut(line, " - ")
		f := strings.Fields(mount)
		switch kind, _, _ := strings.Cut(system, " "); {
		case kind == "cgroup2" && len(f) > 4 && f[4] == "/sys/fs/cgroup":
			g.Version = 2
		case kind == "cgroup2":
			unified = true
		case kind == "cgroup":
			g.Version = 1
		}
	}
	g.Hybrid = g.Version == 1 && unified
	switch g.Version {
	case 2:
		g.Controllers = strings.Fields(files["/sys/fs/cgroup/cgroup.controllers"])
	case 1:
		for line := range strings.Lines(files["/proc/cgroups"]) { // name, hierarchy, number, enabled
			if f := strings.Fields(line); len(f) == 4 && f[3] == "1" {
				g.Controllers = append(g.Controllers, f[0])
			}
		}
	}
	return g
}

// Swap is where the kernel may put memory.
type Swap struct {
	Devices    []string // devices and files in use
	Priorities []string // of the devices; below 0: the kernel's own choice
	Units      []string // files of the units that turn swap on at boot
}

// swaps reads /proc/swaps: the device comes first, its priority last
// (proc_swaps(5)).
func swaps(text string) (devices, priorities []string) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 4 && f[0] != "Filename" {
			devices, priorities = append(devices, f[0]), append(priorities, f[4])
		}
	}
	return devices, priorities
}

// swapUnits asks for the units of swap: those that systemd makes of fstab, of
// the disk's own table and for zram, and those that somebody wrote.
func (a *asker) swapUnits() []string {
	out, _ := a.run("find", "/run/systemd/generator", "/run/systemd/generator.late", "/etc/systemd/system", "-maxdepth", "1", "-name", "*.swap", "-print0")
	return slices.Sorted(slices.Values(strings.FieldsFunc(out, func(r rune) bool { return r == 0 })))
}

// memory returns the MemTotal of /proc/meminfo in bytes (the file counts KiB).
func memory(text string) int64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// countCPUs counts a list like 0-3,6.
func countCPUs(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			return 0
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				return 0
			}
		}
		n += to - from + 1
	}
	return n
}
