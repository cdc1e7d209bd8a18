package preflight

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// fixPrefix is how the IDs of the steps of --fix begin.
const fixPrefix = "fix "

// What --fix writes on a host.
const (
	modulesFile = "/etc/modules-load.d/sealrt.conf"
	sysctlFile  = "/etc/sysctl.d/90-sealrt.conf"
)

// controllers are those that the kubelet does not start without
// (https://kubernetes.io/docs/concepts/architecture/cgroups/).
func controllers() []string { return []string{"cpu", "cpuset", "memory", "pids"} }

func cgroups(s *subject) []Finding {
	g := s.facts.Cgroup
	if g.Version == 0 {
		return nil
	}
	var found []Finding
	if g.Version == 1 && s.needs.CgroupV2 {
		kind := "version 1"
		if g.Hybrid {
			kind = "version 1 (hybrid)"
		}
		found = s.bad("boot it with systemd.unified_cgroup_hierarchy=1 on the kernel's command line", "its cgroups are %s, and %s needs version 2", kind, s.driver)
	}
	off := slices.DeleteFunc(controllers(), func(c string) bool { return slices.Contains(g.Controllers, c) })
	if len(off) > 0 {
		found = append(found, s.bad("boot it with cgroup_enable=memory on the kernel's command line where memory is missing; with a kernel that has them otherwise",
			"the cgroup controllers %s are off", strings.Join(off, ", "))...)
	}
	return found
}

// brings reports whether a file of the image, in a directory of settings that
// are put on the host before its software starts, holds the word.
func (s *subject) brings(dir string, is func(line string) bool) bool {
	tree := s.c.Image().Files
	if tree == nil {
		return false
	}
	found := false
	err := fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(tree, name)
		for line := range strings.Lines(string(raw)) {
			found = found || is(strings.TrimSpace(line))
		}
		return err
	})
	return found && (err == nil || errors.Is(err, fs.ErrNotExist))
}

func kernel(s *subject) []Finding { return slices.Concat(moduleFindings(s), sysctlFindings(s)) }

// comes reports whether the kernel loads the module by itself, as soon as a file
// system of that kind is mounted or a rule needs it.
func comes(module string) bool { return module == "overlay" || module == "nf_conntrack" }

func moduleFindings(s *subject) []Finding {
	var absent, idle []string
	for _, m := range s.needs.Modules {
		switch k := s.facts.Kernelware; {
		case k.Has[m]:
		case k.Can[m]:
			if !comes(m) && !s.brings("etc/modules-load.d", func(line string) bool { return line == m }) {
				idle = append(idle, m)
			}
		case k.Told:
			absent = append(absent, m)
		}
	}
	var found []Finding
	if len(absent) > 0 {
		found = s.bad("install what the system keeps them in (kernel-modules-extra, linux-modules-extra, linux-image), or use another kernel",
			"its kernel %s has no module %s", s.facts.Kernel, strings.Join(absent, ", "))
	}
	if len(idle) > 0 {
		found = append(found, s.mendable([]runtime.Step{
			{ID: "fix modules at boot", Do: runtime.Write{Path: modulesFile, Data: strings.Join(idle, "\n") + "\n", Mode: 0o644}},
			{ID: "fix modules", Do: runtime.Modules{Names: idle}},
		}, "kernel modules are not loaded: %s", strings.Join(idle, ", "))...)
	}
	return found
}

// sysctlFindings are the settings that neither are as they must be nor will be
// once the image's own are on the host.
func sysctlFindings(s *subject) []Finding {
	var file strings.Builder
	var set []runtime.Setting
	for _, want := range s.needs.Sysctls {
		key, value, _ := strings.Cut(want, "=")
		is, there := s.facts.files[sysctlPath(want)]
		brought := s.brings("etc/sysctl.d", func(line string) bool {
			k, v, _ := strings.Cut(strings.TrimPrefix(line, "-"), "=")
			return strings.TrimSpace(k) == key && strings.TrimSpace(v) == value
		})
		if !there || strings.TrimSpace(is) == value || brought {
			continue
		}
		file.WriteString(key + " = " + value + "\n")
		set = append(set, runtime.Setting{Name: key, Value: value})
	}
	if len(set) == 0 {
		return nil
	}
	return s.mendable([]runtime.Step{
		{ID: "fix sysctl at boot", Do: runtime.Write{Path: sysctlFile, Data: file.String(), Mode: 0o644}},
		{ID: "fix sysctl", Do: runtime.Sysctl{Settings: set}},
	}, "the kernel is not set to %s", strings.ReplaceAll(strings.TrimSpace(file.String()), "\n", ", "))
}

// sysctlPath is the kernel's file of a setting KEY=VALUE (sysctl(8)).
func sysctlPath(setting string) string {
	key, _, _ := strings.Cut(setting, "=")
	return path.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
}

func sysctlPaths(settings []string) []string {
	var all []string
	for _, s := range settings {
		all = append(all, sysctlPath(s))
	}
	return all
}

// noSwap says that swap is on, or will be after a boot.
func noSwap(s *subject) []Finding {
	sw := s.facts.Swap
	if !s.needs.SwapOff || len(sw.Devices) == 0 {
		return nil
	}
	return s.mendable(swapOff(sw), "swap is on (%s), and %s does not start so", strings.Join(sw.Devices, ", "), s.driver)
}

// swapOff ends swap now and at every boot. fstab stays as it is: systemd makes
// a unit of each of its lines, and a unit that is masked does nothing
// (systemd.swap(5)). A file that somebody put into /etc cannot be masked, and is
// disabled.
func swapOff(sw Swap) []runtime.Step {
	var made, own, all []string
	for _, file := range sw.Units {
		unit := path.Base(file)
		if slices.Contains(all, unit) {
			continue
		}
		all = append(all, unit)
		if strings.HasPrefix(file, "/etc/") {
			own = append(own, unit)
		} else {
			made = append(made, unit)
		}
	}
	var steps []runtime.Step
	var on [][]string
	switch {
	case len(all) > 0:
		on = [][]string{slices.Concat([]string{"systemctl", "start"}, all)}
	default: // somebody turned it on by hand, for this boot alone
		for i, device := range sw.Devices {
			argv := []string{"swapon", device}
			if p := sw.Priorities[i]; !strings.HasPrefix(p, "-") {
				argv = []string{"swapon", "-p", p, device}
			}
			on = append(on, argv)
		}
	}
	for _, at := range []struct {
		units    []string
		do, undo string
	}{{made, "mask", "unmask"}, {own, "disable", "enable"}} {
		if len(at.units) == 0 {
			continue
		}
		back := slices.Concat([]string{"systemctl", at.undo}, at.units)
		on = append(on, back) // a unit that is masked does not start
		steps = append(steps, runtime.Step{ID: "fix swap at boot: " + at.do, Do: runtime.Exec{
			Argv: slices.Concat([]string{"systemctl", at.do}, at.units), Inverse: [][]string{back},
		}})
	}
	// last: as long as swap is on, an attempt that was broken off is made again
	return append(steps, runtime.Step{ID: "fix swap", Do: runtime.Exec{Argv: []string{"swapoff", "-a"}, Inverse: on}})
}
