package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
)

func newReset(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster string
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Remove a cluster from its hosts",
		Long:    "Remove a cluster from its hosts: what run made there is undone, nodes first. What was there before stays.",
		Example: "  sealrt reset --cluster default --yes",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			k, err := openCluster(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			life, err := runtime.New(k.cluster, k.driver)
			if err != nil {
				return err
			}
			plan, err := life.Reset()
			if err != nil {
				return err
			}
			if dryRun {
				return k.dryReset(ctx, env, plan)
			}
			if err := confirm(env, yes, fmt.Sprintf("remove the cluster %s from %d hosts", cluster, len(k.cluster.Members))); err != nil {
				return err
			}
			return k.reset(ctx, env, plan)
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// dryReset prints what a reset would do on the hosts as they are.
func (k *known) dryReset(ctx context.Context, env *environment, plan runtime.Plan) error {
	if err := k.connect(ctx); err != nil {
		return err
	}
	engine := &runtime.Engine{Cluster: k.cluster.Name, Hosts: k.hosts}
	pending, err := engine.Pending(ctx, plan)
	if err != nil {
		return err
	}
	_, err = pending.WriteTo(env.stdout)
	return err
}

func (k *known) reset(ctx context.Context, env *environment, plan runtime.Plan) error {
	if err := k.connect(ctx); err != nil {
		return fmt.Errorf("%w\nnothing was changed: a cluster is reset when all its hosts can be reached", err)
	}
	engine := &runtime.Engine{Cluster: k.cluster.Name, Hosts: k.hosts, Observe: env.story()}
	if err := engine.Run(ctx, plan); err != nil {
		return fmt.Errorf("reset %s: %w\nmend the cause and run the same command again", k.cluster.Name, err)
	}
	return k.state.Remove()
}

// confirm asks before something is lost. Without a terminal only --yes will
// do.
func confirm(env *environment, yes bool, what string) error {
	if yes {
		return nil
	}
	if !env.interactive() {
		return usageError{fmt.Errorf("this would %s: pass --yes to go on without a question", what)}
	}
	fmt.Fprintf(env.stderr, "This will %s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(env.stdin).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return errors.New("not confirmed, nothing was changed")
	}
	return nil
}

// known is a cluster that the state directory knows.
type known struct {
	state   *runtime.State
	cluster *runtime.Cluster
	driver  runtime.Driver
	dial    *dialer
	hosts   connections
}

// openCluster reads a cluster's state and keeps others from changing it. No
// host is asked yet. Flags win over what the state says of SSH.
func openCluster(env *environment, name string, ssh sshFlags) (*known, error) {
	return open(env, name, ssh, runtime.OpenState)
}

// lookAt is openCluster for who only looks: others may work on the cluster
// meanwhile.
func lookAt(env *environment, name string, ssh sshFlags) (*known, error) {
	return open(env, name, ssh, runtime.ReadState)
}

func open(env *environment, name string, ssh sshFlags, openState func(clusters, name string) (*runtime.State, error)) (*known, error) {
	there, err := runtime.Exists(env.clusters(), name)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("no cluster %q is known in %s: `sealrt run --cluster %s` makes one", name, env.clusters(), name)
	}
	state, err := openState(env.clusters(), name)
	if err != nil {
		return nil, err
	}
	k := &known{state: state}
	if err := k.read(env, name, ssh); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *known) read(env *environment, name string, ssh sshFlags) error {
	file, err := k.state.Load()
	if err != nil {
		return err
	}
	made, err := loadImages(k.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	k.cluster = &runtime.Cluster{Name: name, Members: file.Spec.Hosts, Network: file.Spec.Network, Env: file.Spec.Env}
	for _, m := range made {
		k.cluster.Images = append(k.cluster.Images, runtime.Image{Ref: m.Ref, Digest: m.Digest, Kind: m.Kind})
	}
	if len(k.cluster.Images) == 0 {
		return fmt.Errorf("%s does not say what the cluster was made of", k.state.Path(imagesFile))
	}
	if k.driver, err = distros.New(k.cluster.Image()); err != nil {
		return err
	}
	ssh.SSH = merged(ssh.SSH, file.Spec.SSH)
	k.dial, err = newDialer(env, ssh, k.state)
	return err
}

// merged completes what flags say with what the state says.
func merged(flags, saved runtime.SSH) runtime.SSH {
	if flags.User == "" {
		flags.User = saved.User
	}
	if flags.Port == 0 {
		flags.Port = saved.Port
	}
	if flags.Identity == "" {
		flags.Identity = saved.Identity
	}
	if flags.Become == "" {
		flags.Become = saved.Become
	}
	flags.AcceptNew = flags.AcceptNew || saved.AcceptNew
	return flags
}

// connect reaches the hosts; those that answer are in k.hosts even when the
// error names others.
func (k *known) connect(ctx context.Context) error {
	var err error
	k.hosts, err = k.dial.connect(ctx, k.cluster.Members)
	return err
}

func (k *known) close() {
	k.hosts.Close()
	k.state.Close()
}
