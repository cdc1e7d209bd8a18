package main

import (
	"context"
	"errors"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// view connects to the hosts of a cluster as its masters know it now. reach says
// which of them have no connection.
func (k *known) view(ctx context.Context) (reach, err error) {
	reach = k.reach(ctx, k.cluster.Members)
	changed, err := k.refresh(ctx)
	if err == nil && changed {
		k.hosts.Close()
		k.hosts = nil
		reach = k.reach(ctx, k.cluster.Members)
	}
	return reach, err
}

// catchUp takes a newer state of a cluster from its masters before a command
// compares what is asked with what there is. Without masters that answer it goes
// by what this machine knows; the lock, or its lack, will tell.
func (e *environment) catchUp(ctx context.Context, name string, ssh sshFlags) error {
	there, err := state.Exists(e.clusters(), name)
	if err != nil || !there {
		return err
	}
	k, err := lookAt(e, name, ssh)
	if err != nil {
		return err
	}
	defer k.close()
	brief, cancel := context.WithTimeout(ctx, livingTimeout)
	defer cancel()
	if err := k.reach(brief, k.cluster.Masters()); err != nil && len(k.hosts) == 0 {
		return ctx.Err()
	}
	_, err = k.refresh(ctx)
	return err
}

// chooseNow connects to the hosts that a command is for, of the cluster as its
// masters know it now. lost says which of them have no connection.
func (k *known) chooseNow(ctx context.Context, role string, only []string) (members []runtime.Member, lost, err error) {
	for {
		if members, err = choose(k.cluster, role, only); err == nil {
			lost = k.connectTo(ctx, members)
		} else {
			k.warn(k.reach(ctx, k.cluster.Masters())) // they may know such a host
		}
		changed, failed := k.refresh(ctx)
		if failed != nil {
			return nil, nil, failed
		}
		if !changed {
			return members, lost, err
		}
	}
}

// refresh takes a newer state from the masters that are connected, for who only
// looks: another client may have changed the cluster. It reports whether the
// hosts may be others now. Who changes a cluster gets it with the lock.
func (k *known) refresh(ctx context.Context) (bool, error) {
	if !k.looking {
		return false, nil
	}
	brief, cancel := context.WithTimeout(ctx, livingTimeout)
	defer cancel()
	var masters []state.Master
	for _, m := range k.cluster.Masters() {
		if h := k.hosts[m.Address]; h != nil {
			masters = append(masters, state.Master{Name: m.Name(), Host: h})
		}
	}
	newest, err := k.state.Newest(brief, k.cluster.Name, masters, k.env.keeperArgv(), func(err error) {
		k.env.note("warning: %v: what it knows of the cluster is not looked at", err)
	})
	if err != nil || newest == nil {
		return false, err
	}
	before, err := k.state.Load()
	if err != nil {
		return false, err
	}
	folder, err := k.env.openFolder(k.env.clusters(), k.cluster.Name)
	if errors.As(err, new(*state.BusyError)) {
		return false, nil // who works on it here takes it
	}
	if err != nil {
		return false, err
	}
	if err := errors.Join(folder.Restore(newest, false), folder.Close()); err != nil {
		return false, err
	}
	if err := k.load(k.cluster.Name); err != nil {
		return false, err
	}
	after, err := k.state.Load()
	if err != nil || after.Metadata.Revision == before.Metadata.Revision {
		return false, err
	}
	k.env.note("the state of the cluster %s on this machine was revision %d: revision %d was taken from its masters", k.cluster.Name, before.Metadata.Revision, after.Metadata.Revision)
	return true, nil
}
