package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// recoverFlags are what recover is told.
type recoverFlags struct {
	sshFlags
	cluster   string
	from      string
	force     bool
	keepLocal bool
}

func newRecover(env *environment) *cobra.Command {
	var f recoverFlags
	cmd := &cobra.Command{
		Use:   "recover --from HOST",
		Short: "Rebuild what this machine knows of a cluster from one of its masters",
		Long: `Rebuild what this machine knows of a cluster from one of its masters: Clusterfile,
images, journal, secrets, kubeconfig and host keys. A newer state on this
machine is kept, unless --force is given.

Where two states of the same revision differ, --from HOST --force makes that
host's the one of all masters, and --keep-local this machine's.

The folder is printed on stdout.`,
		Example: "  sealrt recover --from ops@10.0.0.1\n  sealrt recover --cluster default --keep-local",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (f.from == "") != f.keepLocal {
				return usageError{errors.New("name a master with --from, or pass --keep-local")}
			}
			if f.keepLocal {
				return spreadLocal(cmd.Context(), env, f)
			}
			return recoverFrom(cmd.Context(), env, f, cmd.Flags().Changed("cluster"))
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVar(&f.from, "from", "", "a master of the cluster, `[USER@]HOST[:PORT]`")
	cmd.Flags().BoolVar(&f.force, "force", false, "give up a newer state, or one that differs, on this machine and on the other masters")
	cmd.Flags().BoolVar(&f.keepLocal, "keep-local", false, "make the state of this machine the one of all masters")
	return cmd
}

// spreadLocal makes the state of this machine the one of all masters.
func spreadLocal(ctx context.Context, env *environment, f recoverFlags) error {
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	if k.held, err = k.take(ctx, "recover", true); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, k.state.Path(""))
	return err
}

func recoverFrom(ctx context.Context, env *environment, f recoverFlags, named bool) (err error) {
	found, err := host.ParseAddresses(f.from)
	if err != nil || len(found) != 1 {
		return usageError{errors.Join(fmt.Errorf("--from %s: name one master", f.from), err)}
	}
	master := runtime.Member{Address: found[0].String(), Role: runtime.Master}
	// the key of a host that is accepted belongs to a cluster that is not known yet
	temp, err := os.MkdirTemp("", "sealrt-recover-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	accepted := filepath.Join(temp, state.KnownHosts)
	snapshot, err := fetchState(ctx, env, f, master, accepted)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	there, err := snapshot.Status()
	if err != nil {
		return fmt.Errorf("recover: the state on %s: %w", master.Name(), err)
	}
	if there.Digest == "" {
		return fmt.Errorf("recover: host %s keeps the state of no cluster: name a master", master.Name())
	}
	if named && f.cluster != there.Cluster {
		return fmt.Errorf("recover: host %s is a master of the cluster %s, not of %s", master.Name(), there.Cluster, f.cluster)
	}
	f.cluster = there.Cluster
	if keys, err := os.ReadFile(accepted); err == nil {
		if snapshot.Files[state.KnownHosts], err = withKeys(snapshot.Files[state.KnownHosts], keys); err != nil {
			return fmt.Errorf("recover: %w", err)
		}
	}
	folder, err := env.openFolder(env.clusters(), there.Cluster)
	if err != nil {
		return err
	}
	if err := errors.Join(folder.Restore(snapshot, f.force), folder.Close()); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	env.note("the cluster %s, revision %d, was taken from %s", there.Cluster, there.Revision, master.Name())
	if f.force {
		return spreadLocal(ctx, env, f)
	}
	// the master that was named may have been down while the cluster changed
	if err := env.catchUp(ctx, f.cluster, f.sshFlags); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, folder.Path(""))
	return err
}

// fetchState asks a master for the state. Keys of hosts that are accepted are
// written to the file.
func fetchState(ctx context.Context, env *environment, f recoverFlags, m runtime.Member, accepted string) (*state.Snapshot, error) {
	folder, err := state.Read(env.clusters(), f.cluster)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(env, f.sshFlags, folder)
	if err != nil {
		return nil, err
	}
	d.keys = accepted
	h, err := d.dial(ctx, m)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	k := &known{env: env, state: folder, dial: d, cluster: &runtime.Cluster{Members: []runtime.Member{m}}}
	defer k.close()
	// nothing is left on a host that is no master
	deliver := func(ctx context.Context, to state.Master) error {
		var exit *host.ExitError
		if err := h.Run(ctx, host.Command{Argv: []string{"test", "-d", state.Dir}}); errors.As(err, &exit) {
			return errors.New("it keeps the state of no cluster: name a master")
		}
		return k.bringHelper(ctx, to)
	}
	return state.Fetch(ctx, state.Master{Name: m.Name(), Host: h}, env.keeperArgv(), deliver)
}

// withKeys returns the host keys of a cluster with those that were accepted just
// now. A host that the cluster knows by another key may be somebody else.
func withKeys(known, accepted []byte) ([]byte, error) {
	for line := range bytes.Lines(accepted) {
		name := line[:max(bytes.LastIndexByte(bytes.TrimSpace(line), ' '), 0)] // and the type of the key
		pinned := false
		for before := range bytes.Lines(known) {
			if !bytes.HasPrefix(before, append(bytes.Clone(name), ' ')) {
				continue
			}
			if pinned = bytes.Equal(bytes.TrimSpace(before), bytes.TrimSpace(line)); pinned {
				break
			}
			return nil, fmt.Errorf("host %s showed another key than the one that its cluster knows: somebody may be in between; compare the keys, and name another master", name)
		}
		if !pinned {
			known = append(known, line...)
		}
	}
	return known, nil
}
