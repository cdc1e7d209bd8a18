package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
)

// Facts is what a host says about itself, asked before a plan is made.
type Facts struct {
	Platform  v1.Platform
	Hostname  string
	MachineID string
	Listening map[int]bool // TCP ports that something listens on
	Cluster   string       // the cluster of sealrt's that it belongs to, or ""
}

// Ask gathers the facts of a host. It changes nothing there.
func Ask(ctx context.Context, h host.Host) (Facts, error) {
	var f Facts
	var err error
	if f.Platform, err = HostPlatform(ctx, h); err != nil {
		return Facts{}, err
	}
	name, err := host.Output(ctx, h, "uname", "-n")
	if err != nil {
		return Facts{}, err
	}
	f.Hostname = strings.ToLower(strings.TrimSpace(string(name)))
	id, err := host.ReadFile(ctx, h, "/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Facts{}, err
	}
	f.MachineID = strings.TrimSpace(string(id))
	if f.Listening, err = listening(ctx, h); err != nil {
		return Facts{}, err
	}
	l, err := readLedger(ctx, h)
	if err != nil {
		return Facts{}, err
	}
	f.Cluster = l.cluster
	return f, nil
}

// listening reads the kernel's tables of sockets (proc_pid_net(5): local
// address in the second column, state 0A is LISTEN).
func listening(ctx context.Context, h host.Host) (map[int]bool, error) {
	ports := map[int]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := host.ReadFile(ctx, h, table)
		if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != "0A" {
				continue
			}
			_, port, _ := strings.Cut(fields[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			if err != nil {
				return nil, fmt.Errorf("%s: port %q: %w", table, port, err)
			}
			ports[int(n)] = true
		}
	}
	return ports, nil
}

// Preflight asks all hosts at once, fills in the members' names, and reports
// everything that stands in the way of the cluster together. It changes
// nothing. hosts are the connections by Member.Address.
func Preflight(ctx context.Context, c *Cluster, d Driver, hosts map[string]host.Host) error {
	facts := make([]Facts, len(c.Members))
	errs := make([]error, len(c.Members))
	var wg sync.WaitGroup
	for i, m := range c.Members {
		wg.Go(func() {
			f, err := Ask(ctx, hosts[m.Address])
			if err != nil {
				errs[i] = fmt.Errorf("host %s: %w", m.Name(), err)
			}
			facts[i] = f
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ids := map[string]string{}
	for i := range c.Members {
		m, f := &c.Members[i], facts[i]
		m.Hostname = f.Hostname
		if other, ok := ids[f.MachineID]; ok && f.MachineID != "" {
			errs = append(errs, fmt.Errorf("hosts %s and %s have the same machine id: they are one machine, or copies of one (rm /etc/machine-id; systemd-machine-id-setup)", other, m.Name()))
		}
		ids[f.MachineID] = m.Name()
		for _, err := range obstacles(c, d, *m, f) {
			errs = append(errs, fmt.Errorf("host %s: %w", m.Name(), err))
		}
	}
	errs = append(errs, c.validate())
	return errors.Join(errs...)
}

// obstacles says what on one host stands in the way.
func obstacles(c *Cluster, d Driver, m Member, f Facts) []error {
	var errs []error
	if arch := c.Image().Kind.Arch; arch != "" && arch != f.Platform.Architecture {
		errs = append(errs, fmt.Errorf("it is %s, the image %s is for %s", f.Platform.Architecture, c.Image().Ref.Familiar(), arch))
	}
	switch f.Cluster {
	case c.Name: // installed, wholly or in part: what listens is ours
		return errs
	case "":
	default:
		return append(errs, fmt.Errorf("it belongs to the cluster %q: reset that one first (sealrt reset --cluster %s)", f.Cluster, f.Cluster))
	}
	for _, port := range d.Needs(c, m).Ports {
		if f.Listening[port] {
			errs = append(errs, fmt.Errorf("something listens on port %d, which %s needs (ss -ltnp 'sport = %d' says what)", port, d.Name(), port))
		}
	}
	return errs
}
