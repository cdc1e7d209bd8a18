package k3s

import (
	"fmt"
	"path"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
)

// How the data of a cluster is kept.
const (
	etcdSnapshot = "etcd-snapshot" // a file in etcd/, as k3s makes it
	fileCopy     = "files"         // the directory of the data, in db/
)

// resetFlag in the database's directory keeps a server from being reset twice.
const resetFlag = "reset-flag"

// serverDir is where a server keeps its data.
func serverDir(c *runtime.Cluster) string { return stateDir(c) + "/server" }

// dbDir is where it keeps its database.
func dbDir(c *runtime.Cluster) string { return serverDir(c) + "/db" }

// snapshotFile is the snapshot in what was kept: k3s adds the host and the time
// to the name that it is given.
const snapshotFile runtime.Captured = "snapshot file"

// snapshotName begins it.
const snapshotName = "sealrt"

// theirDatastore refuses what the datastore's own tools do.
func theirDatastore(c *runtime.Cluster) error {
	return fmt.Errorf("its datastore is not k3s' own (%s): back that up, and bring it back, with the tools of the database; beside it keep %s/token, without which nobody can read it", datastore, serverDir(c))
}

var _ runtime.Backuper = Driver{}

// Backup keeps a snapshot, with the token that opens it and the certificates
// and keys of the cluster. etcd makes snapshots while it runs; a single server is
// stopped for a copy, since SQLite cannot
// (https://docs.k3s.io/datastore/backup-restore).
func (d Driver) Backup(c *runtime.Cluster, dir string) (string, []runtime.Step, error) {
	if external(c) {
		return "", nil, theirDatastore(c)
	}
	form, steps := d.keep(c, "backup", dir)
	return form, steps, nil
}

// Snapshot keeps the same before an upgrade, on the host alone; of a cluster whose
// data is elsewhere the token that opens it.
func (d Driver) Snapshot(c *runtime.Cluster, to runtime.Image) []runtime.Step {
	if external(c) {
		return []runtime.Step{{ID: "snapshot token", Again: true, Do: runtime.Exec{
			Argv: []string{"install", "-D", "-m", "0600", serverDir(c) + "/token", path.Join(to.Before(kept), "token")},
		}}}
	}
	_, steps := d.keep(c, "snapshot", to.Before(kept))
	return steps
}

var _ runtime.Rollbacker = Driver{}

// Snapshotted is what Snapshot keeps.
func (d Driver) Snapshotted(c *runtime.Cluster, to runtime.Image) (runtime.Kept, error) {
	if external(c) {
		return runtime.Kept{}, theirDatastore(c)
	}
	form, _ := d.keep(c, "", "")
	return runtime.Kept{Dir: to.Before(kept), Form: form}, nil
}

// external reports whether the data is in a database that is not k3s' own.
func external(c *runtime.Cluster) bool {
	s, err := ofServers(c)
	return err == nil && s[datastore] != nil
}

// keep copies what a restore needs into a directory. The step with the ID makes
// the snapshot, all others serve it.
func (d Driver) keep(c *runtime.Cluster, id, dir string) (string, []runtime.Step) {
	material := []string{serverDir(c) + "/token", serverDir(c) + "/cred", serverDir(c) + "/tls"}
	serve := func(what string, do runtime.Action) runtime.Step {
		return runtime.Serve(id, what, do)
	}
	copied := func(paths ...string) runtime.Exec {
		return runtime.Exec{Argv: append(append([]string{"cp", "-a"}, paths...), dir), Timeout: readyTimeout}
	}
	room := runtime.EmptyDirectory(id, dir)
	if d.Votes(c) {
		into := path.Join(dir, "etcd") // which the server wants to be there
		place := runtime.Exec{Argv: []string{"install", "-d", "-m", "0700", into}}
		return etcdSnapshot, append(room, serve("token", copied(material...)), serve("place", place), runtime.Step{ID: id, Again: true, Do: runtime.Exec{
			Argv:    []string{program, "etcd-snapshot", "save", "--name", snapshotName, "--dir", into},
			Recover: []runtime.Action{runtime.Remove{Paths: []string{into}}, place}, Timeout: readyTimeout,
		}})
	}
	systemctl := func(verb string) runtime.Step {
		s := serve(verb, runtime.Exec{Argv: []string{"systemctl", verb, unit(runtime.Master)}, Timeout: readyTimeout})
		if verb == "stop" {
			s.Disturbs = runtime.Disturbance{Services: []string{unit(runtime.Master)}, API: true}
		}
		return s
	}
	return fileCopy, append(room, systemctl("stop"), serve("token", copied(material...)),
		runtime.Step{ID: id, Again: true, Do: runtime.Exec{
			Argv:    []string{"cp", "-a", dbDir(c), dir},
			Recover: []runtime.Action{runtime.Remove{Paths: []string{path.Join(dir, "db")}}}, Timeout: readyTimeout,
		}}, systemctl("start"))
}

// Halt stops k3s and all pods, which outlive it, with what it put into the kernel:
// what k3s-killall.sh does.
func (Driver) Halt(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	var pods []runtime.Step
	if docker.Chosen(c) {
		pods = docker.EndPods(m, runtime.HaltID)
	}
	return runtime.Halt(unit(m.Role), m.Role, readyTimeout, flush(c), pods...)
}

var _ runtime.Restorer = Driver{}

// Restore puts the data back where the server is stopped: a snapshot by the
// cluster's reset, which makes the server the only member of etcd, a copy in the
// place of what is there (https://docs.k3s.io/cli/etcd-snapshot,
// https://docs.k3s.io/datastore/backup-restore). The token is put there first:
// it opens what the data keeps of the cluster's CA.
func (d Driver) Restore(c *runtime.Cluster, m runtime.Member, from runtime.Kept) ([]runtime.Step, error) {
	const restore = "restore"
	serve := func(what string, do runtime.Action) runtime.Step {
		return runtime.Serve(restore, what, do)
	}
	steps := []runtime.Step{
		serve("stop", runtime.Exec{Argv: []string{"systemctl", "stop", unit(m.Role)}, Timeout: readyTimeout}),
		serve("directory", runtime.Exec{Argv: []string{"install", "-d", "-m", "0700", serverDir(c)}}),
		serve("token", runtime.Exec{Argv: []string{"install", "-m", "0600", path.Join(from.Dir, "token"), serverDir(c) + "/token"}}),
	}
	if d.Votes(c) || from.Form == etcdSnapshot {
		role := serve("role", runtime.Write{Path: roleFile, Data: founding, Mode: 0o600})
		role.ID = founded
		steps = append(steps, role)
	}
	switch from.Form {
	case etcdSnapshot:
		steps = append(steps,
			serve("file", runtime.Exec{Argv: []string{"find", path.Join(from.Dir, "etcd"), "-type", "f", "-name", snapshotName + "-*"}, Capture: snapshotFile}),
			serve("flag", runtime.Remove{Paths: []string{path.Join(dbDir(c), resetFlag)}}),
			serve("room", runtime.Remove{Paths: own(c)}),
			runtime.Step{ID: restore, Again: true, Do: runtime.Exec{
				Argv:    []string{program, "server", "--cluster-reset", "--cluster-reset-restore-path=" + snapshotFile.String()},
				Recover: []runtime.Action{runtime.Remove{Paths: []string{path.Join(dbDir(c), resetFlag)}}}, Timeout: readyTimeout,
			}})
	case fileCopy:
		steps = append(steps,
			serve("room", runtime.Remove{Paths: append([]string{dbDir(c)}, own(c)...)}),
			runtime.Step{ID: restore, Again: true, Do: runtime.Exec{
				Argv:    []string{"cp", "-a", path.Join(from.Dir, "db"), path.Join(from.Dir, "cred"), path.Join(from.Dir, "tls"), serverDir(c)},
				Recover: []runtime.Action{runtime.Remove{Paths: []string{dbDir(c)}}}, Timeout: readyTimeout,
			}})
	default:
		return nil, from.Unknown()
	}
	return d.service(c, m, restore, steps...)
}

// Readmit deletes the passwords by which the cluster knows its hosts: a machine
// that is another, or was made anew since, has another one and is taken for an
// impostor (https://docs.k3s.io/advanced#node-registration).
func (d Driver) Readmit(_ *runtime.Cluster, members []runtime.Member) []runtime.Step {
	argv := d.Kubectl("-n", "kube-system", "delete", "secret", "--ignore-not-found")
	for _, m := range members {
		argv = append(argv, m.Hostname+".node-password.k3s")
	}
	return []runtime.Step{{ID: "node passwords", Do: runtime.Exec{Argv: argv, Timeout: readyTimeout, Retry: true}}}
}

// own are the certificates and keys of a server. CAs that are newer than those in
// the data, as when they were rotated since, would keep it from starting: without
// them it takes those of the data.
func own(c *runtime.Cluster) []string {
	return []string{serverTLS(c), serverDir(c) + "/cred"}
}

// Rejoin lets a server forget its data, with which it would be a member of the
// cluster as it was, and join; an agent has nothing to forget.
func (d Driver) Rejoin(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	const rejoin = "rejoin"
	if m.Role == runtime.Node {
		return d.service(c, m, rejoin, runtime.Step{ID: rejoin, Do: runtime.Mark{Text: "joins the restored cluster"}})
	}
	return d.service(c, m, rejoin, []runtime.Step{
		{ID: "rejoin stop", With: rejoin, Again: true, Do: runtime.Exec{Argv: []string{"systemctl", "stop", unit(m.Role)}, Timeout: readyTimeout}},
		{ID: joined, With: rejoin, Do: runtime.Write{Path: roleFile, Data: joining(c), Mode: 0o600}},
		{ID: rejoin, Again: true, Do: runtime.Exec{
			Argv: append([]string{"rm", "-rf", "--one-file-system", "--", dbDir(c)}, own(c)...), Timeout: readyTimeout,
		}},
	}...)
}

// Return brings back the container images that the upgrade took away, and takes
// those that it brought.
func (d Driver) Return(c *runtime.Cluster, from runtime.Image, _ runtime.Member) []runtime.Step {
	if from.Digest == c.Image().Digest {
		return nil
	}
	if docker.Chosen(c) {
		return toDocker(c, from)
	}
	return runtime.ReturnImages(runtime.Remove{Paths: []string{imagesFile(c, from)}}, d.Import(c, c.Image()))
}
