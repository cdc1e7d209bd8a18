package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// errRefreshed says that the masters had a newer state than what the command was
// planned with. This machine has it now.
var errRefreshed = errors.New("the state of the cluster was newer on its masters: run the same command again")

// twice runs a command, and again when it found its picture of the cluster to be
// old.
func twice(env *environment, command func() error) error {
	err := command()
	if errors.Is(err, errRefreshed) {
		env.note("planning again with the newer state")
		err = command()
	}
	return err
}

// hold locks the cluster on its masters until the command's end, and makes all
// copies of its state the same.
func (k *known) hold(ctx context.Context, operation string) error {
	if k.held != nil {
		return nil
	}
	held, err := k.take(ctx, operation, false)
	if err != nil {
		return err
	}
	k.held = held
	if held.Refreshed() {
		return errRefreshed
	}
	return nil
}

func (k *known) take(ctx context.Context, operation string, keepLocal bool) (*state.Hold, error) {
	if err := k.reachMasters(ctx); err != nil {
		return nil, err
	}
	o := state.Options{
		Cluster: k.cluster.Name, Folder: k.state, Holder: k.env.holder(operation), Argv: k.env.keeperArgv(),
		Deliver: k.bringHelper, Fold: runtime.FoldJournal, KeepLocal: keepLocal, Tell: func(s string) { k.env.note("%s", s) },
	}
	for _, m := range k.cluster.Masters() {
		o.Masters = append(o.Masters, state.Master{Name: m.Name(), Host: k.hosts[m.Address]})
	}
	return state.Take(ctx, o)
}

// reachMasters connects to the masters that nobody has tried to reach yet: who
// changes a cluster holds all of them that answer.
func (k *known) reachMasters(ctx context.Context) error {
	if k.cluster.Down == nil {
		k.cluster.Down = map[string]bool{}
	}
	untried := slices.DeleteFunc(k.cluster.Masters(), func(m runtime.Member) bool { return k.hosts[m.Address] != nil || k.cluster.Down[m.Address] })
	if len(untried) > 0 {
		brief, cancel := context.WithTimeout(ctx, livingTimeout)
		defer cancel()
		if err := k.reach(brief, untried); ctx.Err() == nil {
			k.warn(err)
		}
	}
	return ctx.Err()
}

// holder says who this process is, to who wants to do the same.
func (e *environment) holder(operation string) state.Holder {
	name, err := os.Hostname()
	if err != nil {
		name = "an unknown machine"
	}
	return state.Holder{ID: rand.Text(), Host: name, User: e.user(), PID: os.Getpid(), Since: time.Now(), Operation: operation}
}

// openFolder opens what this machine keeps of a cluster, and says there who works
// on it.
func (e *environment) openFolder(clusters, name string) (*state.Folder, error) {
	folder, err := state.Open(clusters, name)
	if err != nil {
		return nil, err
	}
	if err := folder.Sign(e.holder(e.verb)); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return folder, nil
}

// advised adds to an error what to do next. Where somebody else works on the
// cluster nothing is to be mended, and nothing removed.
func advised(err error, next string) error {
	if errors.As(err, new(*state.BusyError)) {
		return err
	}
	return fmt.Errorf("%w\n%s", err, next)
}

// keeperArgv is what keeps the state on a master.
func (e *environment) keeperArgv() []string {
	if e.keeper != nil {
		return e.keeper
	}
	return []string{runtime.HelperPath, "host", "keep"}
}

// bringHelper brings sealrt to a master that has none, or an old one.
func (k *known) bringHelper(ctx context.Context, m state.Master) error {
	k.env.note("host %s: sealrt is brought there", m.Name)
	if k.helpers == nil {
		k.helpers = k.engine().Helpers(context.WithoutCancel(ctx), k.cluster) // until the command's end
	}
	for _, other := range k.cluster.Masters() {
		if other.Name() == m.Name {
			return k.helpers.Put(ctx, other)
		}
	}
	return fmt.Errorf("host %s is no master of the cluster %s", m.Name, k.cluster.Name)
}
