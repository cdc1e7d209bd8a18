package hosttest

import (
	"fmt"
	"slices"
	"strings"
)

// unit is what systemd knows of a service.
type unit struct{ active, enabled bool }

// SetUnit makes a systemd unit known, whether there is a file for it or not.
func (h *Host) SetUnit(name string, active, enabled bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.units[unitName(name)] = unit{active, enabled}
}

// Unit reports whether a systemd unit runs and is enabled; a unit that is not known is neither.
func (h *Host) Unit(name string) (active, enabled bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.units[unitName(name)]
	return u.active, u.enabled
}

func unitName(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return name + ".service"
}

// knows reports whether systemd would find a unit: by SetUnit or by its file.
func (m *machine) knows(name string) bool {
	if _, ok := m.units[name]; ok {
		return true
	}
	return slices.ContainsFunc([]string{"/etc/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"},
		func(dir string) bool { return m.files[dir+name] != nil })
}

func (m *machine) systemctl(args []string) int {
	words := operands(args)
	now, quiet := slices.Contains(args, "--now"), slices.Contains(args, "--quiet") || strings.Contains(flags(args), "q")
	if len(words) == 0 {
		return 0
	}
	code := 0
	for _, name := range words[1:] {
		if c := m.unitVerb(words[0], unitName(name), now, quiet); c != 0 {
			code = c
		}
	}
	return code
}

func (m *machine) unitVerb(verb, name string, now, quiet bool) int {
	u := m.units[name]
	say := func(code int, word string) int {
		if !quiet {
			fmt.Fprintln(&m.stdout, word)
		}
		return code
	}
	known := m.knows(name)
	switch verb {
	case "is-active":
		if u.active {
			return say(0, "active")
		}
		return say(3, "inactive")
	case "is-enabled":
		switch {
		case u.enabled:
			return say(0, "enabled")
		case known:
			return say(1, "disabled")
		}
		return m.fail(1, "Failed to get unit file state for %s: No such file or directory", name)
	case "start", "restart", "stop":
		if !known {
			return m.fail(5, "Unit %s not found.", name)
		}
		u.active = verb != "stop"
	case "enable", "disable":
		if !known {
			return m.fail(1, "Unit file %s does not exist.", name)
		}
		u.enabled = verb == "enable"
		if now {
			u.active = u.enabled
		}
	default:
		return 0
	}
	m.units[name] = u
	return 0
}
