package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/backup"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// backupDir is where a master gathers a backup. One is made at a time, and the
// next one removes what is left of a broken one.
const backupDir = runtime.Scratch + "/backup"

// backupFlags are what backup is told.
type backupFlags struct {
	sshFlags
	cluster     string
	file        string
	dryRun, yes bool
}

func newBackup(env *environment) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup [-o FILE]",
		Short: "Keep all that a cluster knows in a file",
		Long: `Keep all that a cluster knows in a file, from which sealrt restore brings it back,
on the same hosts or on others: a snapshot of its data, the tokens, keys and
certificates that belong to it, and what this machine knows of it. The data of a
single master is copied while its server is stopped for a moment, which the plan
says and a question asks for.

The file is an archive that only its owner may read. It is NAME-TIME.backup.tar
unless -o names another; - is standard output, for a program that encrypts. It
holds every secret of the cluster.

The digest of the file is printed on stdout, on stderr with -o -.`,
		Example: `  sealrt backup
  sealrt backup --cluster shop -o /media/shop.backup.tar
  sealrt backup -o - --yes | age -r age1... > shop.backup.tar.age`,
		Args: needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return twice(env, func() error { return backUp(cmd.Context(), env, f) })
		},
	}
	f.sshFlags.register(cmd.Flags())
	cmd.Flags().StringVar(&f.cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVarP(&f.file, "output", "o", "", "the archive, a `FILE` or -")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	return cmd
}

func backUp(ctx context.Context, env *environment, f backupFlags) error {
	if f.file == "-" && !f.dryRun && isTerminal(env.stdout) {
		return usageError{errors.New("backup: an archive is nothing for a terminal: name a file, or a pipe")}
	}
	if err := backupFits(f.file); err != nil {
		return usageError{fmt.Errorf("backup: %w", err)}
	}
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.yes, k.dry = "backup", f.yes, f.dryRun
	now := time.Now()
	life, plan, kept, err := k.planToBackUp(ctx, now)
	if err != nil {
		return err
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if f.file == "" {
		f.file = f.cluster + "-" + now.UTC().Format("20060102T150405Z") + ".backup.tar"
	}
	if err := k.backUp(ctx, life, plan, kept, f.file, now); err != nil {
		return advised(fmt.Errorf("backup of %s: %w", f.cluster, err), "mend the cause and run the same command again")
	}
	return nil
}

// planToBackUp plans it on the first master that answers.
func (k *known) planToBackUp(ctx context.Context, now time.Time) (*runtime.Runtime, runtime.Plan, runtime.Kept, error) {
	if err := k.act(ctx, nil); err != nil {
		return nil, runtime.Plan{}, runtime.Kept{}, err
	}
	k.env.revealsWhatItCan(k.cluster)
	life, err := runtime.New(k.cluster, k.driver)
	if err != nil {
		return nil, runtime.Plan{}, runtime.Kept{}, err
	}
	plan, kept, err := life.Backup(backupDir, "backup "+now.UTC().Format(time.RFC3339Nano))
	return life, plan, kept, err
}

// backUp makes the file, and leaves nothing of it on the host.
func (k *known) backUp(ctx context.Context, life *runtime.Runtime, plan runtime.Plan, kept runtime.Kept, file string, now time.Time) (err error) {
	f, err := k.engine().Forecast(ctx, plan)
	if err != nil {
		return err
	}
	if f.Disturbs() && !k.yes && k.env.interactive() {
		if err := printForecast(k.env.stderr, f); err != nil {
			return err
		}
		if err := confirm(k.env, k.yes, "stop the only master of the cluster "+k.cluster.Name+" for a moment"); err != nil {
			return err
		}
	}
	if err := k.hold(ctx, k.command); err != nil {
		return err
	}
	m := k.cluster.ActingMaster()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), livingTimeout)
		defer cancel()
		err = errors.Join(err, k.engine().Run(last, life.Discard(kept)))
	}()
	if err := k.engine().Execute(ctx, f); err != nil {
		// a server that was stopped for its data must not stay so
		_, revived := k.engine().Revive(context.WithoutCancel(ctx), m)
		return errors.Join(err, revived)
	}
	files, err := k.stateForBackup()
	if err != nil {
		return err
	}
	return k.env.writeBackup(file, func(w io.Writer) (string, error) {
		return k.streamBackup(ctx, w, backup.ManifestOf(k.cluster, kept, now, programVersion().Version), files)
	})
}

// stateForBackup is what this machine knows of the cluster but what other hosts
// would get anew, or not use.
func (k *known) stateForBackup() (state.Files, error) {
	files, err := k.state.Files()
	for _, name := range []string{state.Kubeconfig, path.Join(state.SecretsDir, upgradeFile), path.Join(state.SecretsDir, restoreFile)} {
		delete(files, name)
	}
	return files, err
}

// streamBackup writes a backup of what the acting master has gathered.
func (k *known) streamBackup(ctx context.Context, w io.Writer, m backup.Manifest, files state.Files) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, data := io.Pipe()
	h := k.hosts[k.cluster.ActingMaster().Address]
	done := make(chan struct{})
	go func() {
		defer close(done)
		data.CloseWithError(h.Run(ctx, host.Command{Argv: []string{"tar", "-cf", "-", "-C", backupDir, "."}, Stdout: data}))
	}()
	digest, err := backup.Write(w, m, files, r)
	cancel()
	r.CloseWithError(io.ErrClosedPipe) // the host may still be writing
	<-done
	if err != nil {
		return "", fmt.Errorf("host %s: %w", h.Name(), err)
	}
	return "sha256:" + digest, nil
}

// backupFits refuses, before a host is asked, what no backup can be written to.
func backupFits(file string) error {
	if file == "-" {
		return nil
	}
	if fi, err := os.Stat(file); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no file that can be replaced", file)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(file)
	if fi, err := os.Stat(dir); err != nil {
		return err
	} else if !fi.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	return disk.CheckFree(dir, 0)
}

// writeBackup makes a file that only its owner may read, whole or not at all, and
// prints its digest.
func (e *environment) writeBackup(file string, write func(io.Writer) (string, error)) error {
	if file == "-" {
		// a reader that ends early is an error of the writing, and what lies on the host is discarded behind it
		broken := make(chan os.Signal, 1)
		signal.Notify(broken, syscall.SIGPIPE)
		defer signal.Stop(broken)
		digest, err := write(e.stdout)
		if err == nil {
			e.note("%s", digest)
		}
		return err
	}
	var digest string
	err := disk.ReplaceSecret(file, 0, func(w io.Writer) (err error) {
		digest, err = write(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	e.note("%s holds every secret of the cluster: keep it where nobody else reads it", file)
	_, err = fmt.Fprintln(e.stdout, digest)
	return err
}
