package k0s

import (
	"errors"
	"path"

	"github.com/sealrt/sealrt/runtime"
)

// archive is the form of a backup: k0s_backup_TIME.tar.gz, as k0s makes it
// (docs.k0sproject.io, "Backup/Restore overview").
const archive = "k0s-backup"

// backupFile is the archive in what was kept.
const backupFile runtime.Captured = "backup file"

// theirs refuses what the storage's own tools do.
func theirs(c *runtime.Cluster) error {
	if t, err := ofControllers(c); err != nil || t.votes() || single(c) {
		return err
	}
	return errors.New("its data is in a database that is not k0s' own: back that up, and bring it back, with the tools of the database")
}

var _ runtime.Backuper = Driver{}

// Backup keeps what k0s itself keeps: its PKI, the data, k0s.yaml, manifests and
// container images. k0s runs meanwhile.
func (Driver) Backup(c *runtime.Cluster, dir string) (string, []runtime.Step, error) {
	if err := theirs(c); err != nil {
		return "", nil, err
	}
	return archive, keep("backup", dir), nil
}

// keep makes an archive in a directory of its own. k0s puts it together in
// TMPDIR, which may be a file system in memory otherwise.
func keep(id, dir string) []runtime.Step {
	return append(runtime.EmptyDirectory(id, dir), runtime.Step{
		ID: id, Again: true, Do: runtime.Exec{
			Argv: []string{program, "backup", "--save-path", dir}, Env: []string{"TMPDIR=" + runtime.Scratch}, Timeout: readyTimeout,
			Recover: []runtime.Action{runtime.Exec{Argv: []string{"find", dir, "-name", "k0s_backup_*", "-delete"}}},
		},
	})
}

var _ runtime.Rollbacker = Driver{}

// Snapshotted is what Snapshot keeps.
func (Driver) Snapshotted(c *runtime.Cluster, to runtime.Image) (runtime.Kept, error) {
	return runtime.Kept{Dir: to.Before(kept), Form: archive}, theirs(c)
}

// Halt stops k0s and all pods, which outlive it, with what it put into the
// kernel.
func (Driver) Halt(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	return runtime.Halt(unit(m.Role), m.Role, readyTimeout, flush(c))
}

var _ runtime.Restorer = Driver{}

// Restore has k0s put a backup in the place of what the host has; the
// controller is the only member of etcd then. k0s makes it one with the address
// that the archive's k0s.yaml names: the archive gets the host's own, since the
// backup may be another host's.
func (d Driver) Restore(c *runtime.Cluster, m runtime.Member, from runtime.Kept) ([]runtime.Step, error) {
	if from.Form != archive {
		return nil, from.Unknown()
	}
	const restore = "restore"
	serve := func(what string, do runtime.Action) runtime.Step {
		return runtime.Serve(restore, what, do)
	}
	run := func(what string, argv ...string) runtime.Step {
		return serve(what, runtime.Exec{Argv: argv, Timeout: readyTimeout})
	}
	dir := path.Join(kept, "restore")
	tarball, config := path.Join(dir, "backup.tar"), path.Join(dir, "k0s.yaml")
	room, pieces := runtime.Remove{Paths: storage()}, runtime.Remove{Paths: []string{dir}}
	stop := runtime.Exec{Argv: []string{"systemctl", "stop", unit(m.Role)}, Tolerate: true, Timeout: readyTimeout}
	return d.service(c, m, restore,
		serve("stop", stop),
		serve("file", runtime.Exec{Argv: []string{"find", from.Dir, "-type", "f", "-name", "k0s_backup_*"}, Capture: backupFile}),
		serve("directory room", pieces),
		run("directory", "install", "-d", "-m", "0700", kept, dir),
		run("copy", "cp", backupFile.String(), tarball+".gz"),
		run("unpack", "gzip", "-d", tarball+".gz"),
		// of two files of a name k0s takes the later one
		run("configuration", "tar", "-rf", tarball, "-C", configDir, path.Base(configFile)),
		run("pack", "gzip", tarball),
		serve("room", room),
		runtime.Step{ID: restore, Again: true, Do: runtime.Exec{
			Argv: []string{program, "restore", "--config-out", config, tarball + ".gz"}, Env: []string{"TMPDIR=" + runtime.Scratch},
			Recover: []runtime.Action{room}, Timeout: readyTimeout,
		}},
		serve("pieces", pieces),
		installStep(m, restore))
}

// storage is what makes a controller a member of the cluster that it was in.
func storage() []string {
	return []string{dataDir + "/etcd", dataDir + "/db", pkiDir}
}

// Readmit deletes what the data says of the other controllers as members of
// etcd: each says so anew when it is one.
func (d Driver) Readmit(c *runtime.Cluster, members []runtime.Member) []runtime.Step {
	argv := d.Kubectl("delete", "etcdmembers.etcd.k0sproject.io", "--ignore-not-found")
	known := len(argv)
	for _, m := range members {
		if m.Role == runtime.Master && m.Address != c.ActingMaster().Address {
			argv = append(argv, m.Hostname)
		}
	}
	if len(argv) == known || !d.Votes(c) {
		return nil
	}
	return []runtime.Step{{ID: "members of then", Do: runtime.Exec{Argv: argv, Timeout: readyTimeout, Retry: true}}}
}

// Rejoin lets a host forget that it was a member, and join with a fresh token:
// the CA may be another one.
func (d Driver) Rejoin(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	u := unit(m.Role)
	gone := []string{dataDir + "/kubelet.conf", path.Join(kubeletRoot(c), "pki")}
	if m.Role == runtime.Master {
		gone = append(gone, storage()...)
	}
	service, err := d.service(c, m, rejoined)
	steps := append([]runtime.Step{
		{ID: "rejoin stop", With: rejoined, Again: true, Do: runtime.Exec{Argv: []string{"systemctl", "stop", u}, Tolerate: true, Timeout: readyTimeout}},
		{ID: "rejoin room", With: rejoined, Again: true, Do: runtime.Remove{Paths: gone}},
	}, joining(c, m, rejoined, installStep(m, rejoined), service)...)
	return steps, err
}

// Return brings back the container images that the upgrade took away, and takes
// those that it brought.
func (d Driver) Return(c *runtime.Cluster, from runtime.Image, _ runtime.Member) []runtime.Step {
	if from.Digest == c.Image().Digest {
		return nil
	}
	return runtime.ReturnImages(runtime.Remove{Paths: []string{imagesFile(from)}}, d.Import(c, c.Image()))
}
