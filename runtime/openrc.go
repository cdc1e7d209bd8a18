package runtime

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// OpenRC is what Member.Init says of a host whose services OpenRC runs
// (https://github.com/OpenRC/openrc); "" is systemd.
const OpenRC = "openrc"

// openrcLevel is the runlevel of what starts at boot.
const openrcLevel = "default"

// OpenRCScript is where the script of a service lies on such a host.
func OpenRCScript(service string) string { return path.Join("/etc/init.d", service) }

// openrc is a host that OpenRC runs. What is asked of systemd there is asked of
// OpenRC: whoever describes steps need not know the difference.
type openrc struct{ host.Host }

// Run implements host.Host.
func (h openrc) Run(ctx context.Context, c host.Command) error {
	var all [][]string
	switch {
	case len(c.Argv) > 1 && c.Argv[0] == "systemctl":
		all = openrcCommands(c.Argv[1:])
	case len(c.Argv) > 2 && c.Argv[0] == "journalctl" && c.Argv[1] == "-u":
		all = [][]string{{"tail", "-n", "50", openrcLog(c.Argv[2])}}
	default:
		return h.Host.Run(ctx, c)
	}
	for _, argv := range all {
		one := c
		one.Argv = argv
		if err := h.Host.Run(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

func openrcLog(service string) string { return path.Join("/var/log", service+".log") }

// openrcCommands is what systemctl means in commands of OpenRC (rc-service(8),
// rc-update(8), openrc-run(8)). It has nothing to load again.
func openrcCommands(args []string) [][]string {
	now := slices.Contains(args, "--now")
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(words) == 0 {
		return nil
	}
	var out [][]string
	for _, unit := range words[1:] {
		unit = strings.TrimSuffix(unit, ".service")
		service := func(args ...string) []string { return append([]string{"rc-service"}, args...) }
		switch words[0] {
		case "start":
			out = append(out, service(unit, "start"))
		case "stop":
			out = append(out, service(unit, "stop"))
		case "restart":
			out = append(out, service(unit, "restart"))
		case "try-restart":
			out = append(out, service("--ifstarted", unit, "restart"))
		case "kill": // what a service that is stopped left in its control group
			out = append(out, service(unit, "cgroup_cleanup"))
		case "is-active":
			out = append(out, service(unit, "status"))
		case "is-enabled":
			out = append(out, []string{"test", "-e", path.Join("/etc/runlevels", openrcLevel, unit)})
		case "enable":
			out = append(out, []string{"rc-update", "add", unit, openrcLevel})
			if now {
				out = append(out, service(unit, "start"))
			}
		case "disable":
			if now {
				out = append(out, service(unit, "stop"))
			}
			out = append(out, []string{"rc-update", "delete", unit, openrcLevel})
		}
	}
	return out
}

// OpenRCService is the text of a script of OpenRC for a program that stays in the
// foreground: it is supervised, started again whenever it ends, and writes to
// /var/log/NAME.log. The files of variables, which need not be there, are read as
// a shell reads them.
func OpenRCService(name, description, command string, before []string, variables ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `#!/sbin/openrc-run
# Written by sealrt.
name=%[1]q
description=%[2]q
supervisor=supervise-daemon
command=%[3]q
command_args=%[4]q
output_log=%[5]s
error_log=%[5]s
pidfile=/run/%[1]s.pid
respawn_delay=5
respawn_max=0
rc_ulimit="-n 1048576"

`, name, description, strings.Fields(command)[0], strings.Join(strings.Fields(command)[1:], " "), openrcLog(name))
	for _, file := range variables {
		fmt.Fprintf(&b, "set -o allexport\nif [ -f %[1]s ]; then . %[1]s; fi\nset +o allexport\n\n", file)
	}
	b.WriteString("depend() {\n\tafter network-online net\n\twant cgroups\n}\n")
	if len(before) > 0 {
		b.WriteString("\nstart_pre() {\n\t" + strings.Join(before, "\n\t") + "\n}\n")
	}
	return b.String()
}
