package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// livingTimeout is how long a master may take to answer for its cluster.
const livingTimeout = 10 * time.Second

// reach connects to members, all at once. Those that cannot be reached are
// down; the error says why.
func (k *known) reach(ctx context.Context, members []runtime.Member) error {
	err := k.connectTo(ctx, members)
	if k.cluster.Down == nil {
		k.cluster.Down = map[string]bool{}
	}
	for _, m := range members {
		k.cluster.Down[m.Address] = k.hosts[m.Address] == nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return err
}

// warn tells of hosts that a verb goes on without.
func (k *known) warn(err error) {
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			k.env.note("warning: %s", strings.TrimSpace(line))
		}
	}
}

// act finds the master that commands about the cluster run on: the first one
// that answers for the cluster and is not one of those that leave.
func (k *known) act(ctx context.Context, leaving []runtime.Member) error {
	var errs []error
	for _, m := range k.cluster.Masters() {
		if slices.ContainsFunc(leaving, func(l runtime.Member) bool { return l.Address == m.Address }) {
			continue
		}
		if k.hosts[m.Address] == nil {
			if k.cluster.Down[m.Address] {
				continue // it was tried, and is warned of
			}
			if err := k.reach(ctx, []runtime.Member{m}); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if err := k.answers(ctx, m); err != nil {
			errs = append(errs, fmt.Errorf("host %s: the cluster does not answer: %w", m.Name(), err))
			continue
		}
		k.cluster.Acting = m.Address
		k.warn(errors.Join(errs...))
		return nil
	}
	if m, err := k.revive(ctx, leaving); m != nil || err != nil {
		if m != nil {
			k.cluster.Acting = m.Address
		}
		return err
	}
	return fmt.Errorf("no master of the cluster %s answers:\n%w", k.cluster.Name, errors.Join(errs...))
}

// revive has a master answer that a command which was broken off has stopped. It
// returns nil where there is none, and in a dry run, which changes nothing.
func (k *known) revive(ctx context.Context, leaving []runtime.Member) (*runtime.Member, error) {
	for _, m := range k.cluster.Masters() {
		if k.dry || k.hosts[m.Address] == nil || slices.ContainsFunc(leaving, func(l runtime.Member) bool { return l.Address == m.Address }) {
			continue
		}
		if err := k.hold(ctx, k.command); err != nil { // who stopped it may be at work
			return nil, err
		}
		started, err := k.engine().Revive(ctx, m)
		if err != nil {
			return nil, err
		}
		if started && k.answers(ctx, m) == nil {
			k.env.note("host %s: a command that was broken off had stopped its services: they run again", m.Name())
			return &m, nil
		}
	}
	return nil, nil
}

// answers asks a master whether its cluster can be talked to.
func (k *known) answers(ctx context.Context, m runtime.Member) error {
	ctx, cancel := context.WithTimeout(ctx, livingTimeout)
	defer cancel()
	return k.hosts[m.Address].Run(ctx, host.Command{Argv: k.driver.Kubectl("get", "--raw", "/readyz")})
}

// kubeconfig is the administrator's, as a master that lives has it.
func (k *known) kubeconfig(ctx context.Context) ([]byte, error) {
	m := k.cluster.ActingMaster()
	kubeconfig, err := runtime.Kubeconfig(ctx, k.hosts[m.Address], k.driver.Kubeconfig(), m.NodeIP)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", m.Name(), err)
	}
	return kubeconfig, nil
}

// openMade opens the images that the cluster is made of, for hosts that are to
// get them.
func (k *known) openMade(ctx context.Context) error {
	made := k.cluster.Images
	var args []string
	for _, i := range made {
		args = append(args, i.Ref.Repository().String()+"@"+i.Digest)
	}
	m := k.cluster.ActingMaster()
	platform, err := runtime.HostPlatform(ctx, k.hosts[m.Address])
	if err != nil {
		return fmt.Errorf("host %s: %w", m.Name(), err)
	}
	images, source, err := openImages(ctx, k.env, args, platform, nil)
	if err != nil {
		return fmt.Errorf("the image that the cluster was made of: %w (`sealrt load` or `sealrt pull` brings it back)", err)
	}
	for i := range images {
		images[i].Ref, images[i].Settings, images[i].Patches = made[i].Ref, made[i].Settings, made[i].Patches
		images[i].Service, images[i].Brought = made[i].Service, made[i].Brought
	}
	k.cluster.Images, k.source = images, source
	return nil
}

// changeFlags are those of every verb that changes a cluster.
type changeFlags struct {
	sshFlags
	cluster     string
	dryRun, yes bool
	output      string
}

func (f *changeFlags) define(cmd *cobra.Command) {
	f.sshFlags.register(cmd.Flags())
	cmd.Flags().StringVar(&f.cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	outputFlag(cmd, &f.output)
}
