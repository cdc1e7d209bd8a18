package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/backup"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// restoreFlags are what restore is told.
type restoreFlags struct {
	changeFlags
	preflightFlags
	masters, nodes string
}

func newRestore(env *environment) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore FILE [--masters HOST,...] [--nodes HOST,...]",
		Short: "Bring a cluster back as a backup has it",
		Long: `Bring a cluster back as FILE, which sealrt backup made, has it. Everything that
changed in the cluster since then is lost.

On the hosts that the cluster has, all of them stop; the first master begins anew
with the data, the other masters and the nodes join it. The cluster has to run
the distribution and the version that the backup is of.

With --masters the cluster is made anew on hosts that have none: what the image
brings is installed, then the data is put there. This machine must not know the
cluster otherwise. The image has to be in the store, or where it was pulled from.

The file is read to its end and held against its digests before anything is
changed. What stops half way goes on with the same command. The path of the
administrator's kubeconfig is printed on stdout.`,
		Example: `  sealrt restore shop.backup.tar --dry-run
  sealrt restore shop.backup.tar --masters 10.0.1.1,10.0.1.2,10.0.1.3 --nodes 10.0.1.[4-9]`,
		Args: needArgs("the file of a backup", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.nodes != "" && f.masters == "" {
				return usageError{errors.New("--nodes needs --masters: name at least one master")}
			}
			b, err := backup.Read(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("cluster") && f.cluster != b.Manifest.Cluster {
				return fmt.Errorf("%s is %s, not of %s: its data belongs to that name", args[0], b.Manifest, f.cluster)
			}
			f.cluster = b.Manifest.Cluster
			return twice(env, func() error { return restore(cmd.Context(), env, f, b) })
		},
	}
	f.define(cmd)
	f.preflightFlags.register(cmd.Flags())
	cmd.Flags().StringVar(&f.masters, "masters", "", "make the cluster anew, with these `HOSTS` for the control plane")
	cmd.Flags().StringVar(&f.nodes, "nodes", "", "with --masters: `HOSTS` of the workloads")
	env.registryFlags(cmd.Flags())
	return cmd
}

func restore(ctx context.Context, env *environment, f restoreFlags, b *backup.File) (err error) {
	k, done, err := openForRestore(ctx, env, f, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	k.command, k.output, k.yes, k.dry = "restore", f.output, f.yes, f.dryRun
	if err := k.takes(ctx, b, f); err != nil {
		return err
	}
	r, err := k.begunOrNew(b)
	if err != nil {
		return err
	}
	kept := runtime.Kept{Dir: path.Join(runtime.Scratch, "restore-"+b.Digest[:16]), Form: b.Manifest.Form}
	plan, err := k.planToRestore(ctx, f, b, runtime.Restoration{Kept: kept, Operation: r.Operation, Discard: true})
	if err != nil {
		return fmt.Errorf("restore %s: %w", f.cluster, err)
	}
	on := k.cluster.ActingMaster()
	if f.dryRun {
		env.note("host %s: %s of data go to %s first", on.Name(), sizeText(b.Bytes), kept.Dir)
		return k.print(ctx, plan)
	}
	if err := confirm(env, f.yes, f.means(b, len(k.cluster.Members))); err != nil {
		return err
	}
	if err := k.record(restoreFile, r); err != nil {
		return err
	}
	meanwhile, after := *k.cluster, *k.cluster
	err = k.putBack(ctx, plan, &meanwhile, &after, restoreFile, func() error { return sendData(ctx, k.hosts[on.Address], b, kept.Dir) })
	if err != nil {
		return advised(fmt.Errorf("restore %s: %w", f.cluster, err), "mend the cause and run the same command again: it goes on where it stopped")
	}
	_, err = fmt.Fprintln(env.stdout, k.state.KubeconfigPath())
	return err
}

// means says what a restore does to so many hosts.
func (f restoreFlags) means(b *backup.File, hosts int) string {
	if f.masters != "" {
		return fmt.Sprintf("make the cluster %s of %s on %s", f.cluster, b.Manifest, plural(hosts, "host"))
	}
	return fmt.Sprintf("stop the cluster %s on %s and put back %s: all that changed in it since then is lost", f.cluster, plural(hosts, "host"), b.Manifest)
}

// recordOf is that of a restore that begins.
func recordOf(b *backup.File) restoreRecord {
	return restoreRecord{Digest: b.Digest, Operation: "restore of " + b.Digest[:16] + " at " + time.Now().UTC().Format(time.RFC3339Nano)}
}

// begunOrNew goes on with the restore of a file that has begun and not ended.
func (k *known) begunOrNew(b *backup.File) (restoreRecord, error) {
	var before restoreRecord
	there, err := k.recorded(restoreFile, &before)
	if there && before.Digest == b.Digest {
		return before, err
	}
	return recordOf(b), err
}

// openForRestore opens what this machine knows of the cluster, or, where it knows
// nothing or the hosts are others, what the backup does: a dry run keeps that in a
// directory of its own. The caller calls done.
func openForRestore(ctx context.Context, env *environment, f restoreFlags, b *backup.File) (k *known, done func() error, err error) {
	known, err := state.Exists(env.clusters(), f.cluster)
	if err != nil {
		return nil, nil, err
	}
	if known {
		k, err := openCluster(env, f.cluster, f.sshFlags)
		if err != nil {
			return nil, nil, err
		}
		return k, func() error { k.close(); return nil }, nil
	}
	clusters, clear := env.clusters(), func() error { return nil }
	if f.dryRun {
		if clusters, err = os.MkdirTemp("", "sealrt-restore-"); err != nil {
			return nil, nil, err
		}
		clear = func() error { return os.RemoveAll(clusters) }
	}
	k, err = adoptBackup(ctx, env, f, b, clusters)
	if err != nil {
		return nil, nil, errors.Join(err, clear())
	}
	return k, func() error {
		var err error
		if k.held == nil { // nothing was begun: the next attempt may be with other hosts
			err = k.state.Remove()
		}
		k.close()
		return errors.Join(err, clear())
	}, nil
}

// adoptBackup makes the folder of a cluster of what a backup has of it, with other
// hosts where some are named.
func adoptBackup(ctx context.Context, env *environment, f restoreFlags, b *backup.File, clusters string) (*known, error) {
	doc, err := clusterfile.Parse(state.Clusterfile, b.State[state.Clusterfile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Manifest, err)
	}
	files := state.Files{}
	for name, raw := range b.State {
		files[name] = raw
	}
	if f.masters != "" {
		members, err := runMembers(ctx, env, runFlags{masters: f.masters, nodes: f.nodes})
		if err != nil {
			return nil, err
		}
		doc.Spec.SSH = merged(f.SSH, doc.Spec.SSH)
		c := &runtime.Cluster{Spec: doc.Spec, Members: members}
		doc.Spec.Hosts = c.Clusterfile().Spec.Hosts
		if files[state.Clusterfile], err = clusterfile.Format(doc); err != nil {
			return nil, err
		}
		delete(files, state.KnownHosts) // of other machines
		fresh, err := json.Marshal(recordOf(b))
		if err != nil {
			return nil, err
		}
		files[path.Join(state.SecretsDir, restoreFile)] = fresh
	}
	folder, err := env.openFolder(clusters, f.cluster)
	if err != nil {
		return nil, err
	}
	k := &known{env: env, state: folder}
	if err = folder.Restore(&state.Snapshot{Files: files}, false); err == nil {
		err = k.read(f.cluster, f.sshFlags)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// takes refuses a backup that is not of what the cluster is, and one that would
// make a second cluster of a name.
func (k *known) takes(ctx context.Context, b *backup.File, f restoreFlags) error {
	if err := b.Manifest.Fits(k.cluster); err != nil {
		return err
	}
	if f.masters == "" {
		return k.sameSecrets(b)
	}
	var begun restoreRecord
	there, err := k.recorded(restoreFile, &begun)
	if err != nil {
		return err
	}
	if !there || begun.Digest != b.Digest {
		return fmt.Errorf("the cluster %s is known here, on other hosts: leave --masters away to restore it there; or end it (sealrt reset --cluster %s), or forget it (rm -r %s), to make it anew elsewhere", k.cluster.Name, k.cluster.Name, k.state.Path(""))
	}
	asked, err := runMembers(ctx, k.env, runFlags{masters: f.masters, nodes: f.nodes})
	if err != nil {
		return err
	}
	for _, m := range slices.Concat(asked, k.cluster.Members) {
		same := func(o runtime.Member) bool { return o.Name() == m.Name() && o.Role == m.Role }
		if !slices.ContainsFunc(asked, same) || !slices.ContainsFunc(k.cluster.Members, same) {
			return fmt.Errorf("this restore began on the hosts %s, and %s, a %s, is not among them, or not named now: name the same hosts, or undo it first (sealrt reset --cluster %s)", nameList(k.cluster.Members), m.Name(), m.Role, k.cluster.Name)
		}
	}
	return nil
}

// sameSecrets refuses data that the secrets of the cluster do not open.
func (k *known) sameSecrets(b *backup.File) error {
	var is, was map[runtime.Captured]string
	if _, err := k.recorded(joinSecrets, &is); err != nil {
		return err
	}
	raw := b.State[path.Join(state.SecretsDir, joinSecrets)]
	if err := json.Unmarshal(raw, &was); raw != nil && err != nil {
		return fmt.Errorf("%s: %s: %w", b.Manifest, joinSecrets, err)
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(was))) { // the masters' first
		if is[name] != was[name] {
			return fmt.Errorf("%s: the cluster %s has another %s since, and the data opens with the old one alone: reset the cluster (sealrt reset) and make it anew with sealrt restore --masters HOSTS", b.Manifest, k.cluster.Name, string(name))
		}
	}
	return nil
}

// planToRestore connects to all hosts, opens the image and plans.
func (k *known) planToRestore(ctx context.Context, f restoreFlags, b *backup.File, r runtime.Restoration) (runtime.Plan, error) {
	none := runtime.Plan{}
	var found error
	if f.masters != "" {
		if err := k.approach(ctx); err != nil {
			return none, err
		}
	} else if err := k.reach(ctx, k.cluster.Members); err != nil {
		return none, fmt.Errorf("%w\nall hosts have to stop before data is put back: delete those that are gone (sealrt delete --force), or make the cluster anew with --masters HOSTS", err)
	}
	k.cluster.Acting = k.cluster.Masters()[0].Address
	if k.hosts[k.cluster.Acting] == nil {
		return none, k.unreached[k.cluster.Acting]
	}
	if err := k.openMade(ctx); err != nil {
		return none, err
	}
	k.inImage = helperInImages(ctx, k.source, k.cluster.Images)
	var fixes runtime.Plan
	if f.masters != "" {
		fixes, found = k.preflight(ctx, k.cluster, f.preflightFlags, nil)
	}
	plan, err := k.checked(ctx, found, func() (runtime.Plan, error) {
		life, err := k.life()
		if err != nil {
			return none, err
		}
		r.On, r.Gone = k.cluster.ActingMaster(), runtime.Lost(b.Manifest.Nodes, k.cluster)
		return life.Restore(r)
	})
	return fixes.Then(plan), err
}

// sendData puts the data of a backup into a directory of a host, all of it or
// nothing, unless it is there.
func sendData(ctx context.Context, h host.Host, b *backup.File, dir string) error {
	if there, err := hasDir(ctx, h, dir); err != nil || there {
		return err
	}
	part := dir + ".part"
	for _, argv := range [][]string{{"rm", "-rf", "--one-file-system", "--", part}, {"install", "-d", "-m", "0700", part}} {
		if err := h.Run(ctx, host.Command{Argv: argv}); err != nil {
			return fmt.Errorf("host %s: %w", h.Name(), err)
		}
	}
	r, w := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := b.Data(w)
		w.CloseWithError(err)
		read <- err
	}()
	err := h.Run(ctx, host.Command{Argv: []string{"tar", "-xpf", "-", "-C", part}, Stdin: r})
	r.CloseWithError(io.ErrClosedPipe) // the host may have ended before its input did
	if failed := <-read; failed != nil && (err == nil || !errors.Is(failed, io.ErrClosedPipe)) {
		err = failed
	}
	if err == nil {
		err = h.Run(ctx, host.Command{Argv: []string{"mv", "-T", part, dir}})
	}
	if err != nil {
		err = fmt.Errorf("host %s: bring the data to %s: %w", h.Name(), dir, err)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), livingTimeout)
		defer cancel()
		return errors.Join(err, h.Run(last, host.Command{Argv: []string{"rm", "-rf", "--one-file-system", "--", part}}))
	}
	return nil
}
