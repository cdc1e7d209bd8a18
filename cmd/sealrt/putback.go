package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// What the state keeps, among the secrets, of what can be put back.
const (
	upgradeFile = "upgrade.json" // the last upgrade, for a rollback
	restoreFile = "restore.json" // a restore that has begun and not ended
)

// upgradeRecord is what a rollback needs to know of the last upgrade.
type upgradeRecord struct {
	From   madeOf       `json:"from"`
	To     madeOf       `json:"to"`
	Kept   runtime.Kept `json:"kept"`
	Master string       `json:"master"` // address of the host that has it
	Nodes  []string     `json:"nodes"`  // host names of the members then
	Time   time.Time    `json:"time"`
}

// restoreRecord tells a restore that goes on from another.
type restoreRecord struct {
	Digest    string `json:"digest"` // of the backup
	Operation string `json:"operation"`
}

// recorded reads what the state keeps under a name; false where there is none.
func (k *known) recorded(name string, into any) (bool, error) {
	raw, err := k.Read(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && raw == nil {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", k.state.Path(path.Join(state.SecretsDir, name)), err)
	}
	return true, nil
}

// record keeps something under a name with the next save; nil takes it away.
func (k *known) record(name string, value any) error {
	if value == nil {
		if _, err := os.Stat(k.state.Path(path.Join(state.SecretsDir, name))); err == nil || k.made[path.Join(state.SecretsDir, name)] != nil {
			return k.Write(name, nil)
		}
		return nil
	}
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return k.Write(name, append(raw, '\n'))
}

// upgrading notes the upgrade of a cluster for when it is carried out: what it
// keeps, a rollback puts back.
func (k *known) upgrading(was *runtime.Cluster, to runtime.Image) {
	k.upgrade = nil
	back, ok := k.driver.(runtime.Rollbacker)
	if !ok || was.Image().Digest == to.Digest {
		return
	}
	has, err := back.Snapshotted(was, to)
	if err != nil {
		has = runtime.Kept{} // a rollback says so
	}
	r := &upgradeRecord{From: kept(was.Image()), To: kept(to), Kept: has, Master: was.ActingMaster().Address, Time: time.Now().UTC().Truncate(time.Second)}
	for _, m := range was.Members {
		r.Nodes = append(r.Nodes, m.Hostname)
	}
	k.upgrade = r
}

// keepUpgrade keeps what was noted of an upgrade, unless it goes on with one that
// was kept.
func (k *known) keepUpgrade() error {
	if k.upgrade == nil {
		return nil
	}
	var before upgradeRecord
	there, err := k.recorded(upgradeFile, &before)
	if err != nil {
		return err
	}
	if there && before.From.Digest == k.upgrade.From.Digest && before.To.Digest == k.upgrade.To.Digest {
		return nil
	}
	return k.record(upgradeFile, k.upgrade)
}

// putBack carries out a plan that puts data back: first is done when the cluster
// is held, and record is what the state keeps until the plan is done. meanwhile
// and after are the cluster until then, and from then on.
func (k *known) putBack(ctx context.Context, plan runtime.Plan, meanwhile, after *runtime.Cluster, record string, first func() error) error {
	if err := k.hold(ctx, k.command); err != nil {
		return err
	}
	if err := k.makeSecrets(); err != nil {
		return err
	}
	if err := k.save(ctx, meanwhile, nil); err != nil {
		return err
	}
	if err := first(); err != nil {
		return err
	}
	if err := k.engine().Run(ctx, plan); err != nil {
		return err
	}
	k.env.render().finish() // what is printed on stdout would be lost in a table that is drawn again
	kubeconfig, err := k.kubeconfig(ctx)
	if err != nil {
		return err
	}
	if err := k.record(record, nil); err != nil {
		return err
	}
	after.Images = settled(after.Images)
	return k.save(ctx, after, kubeconfig)
}

// hasDir reports whether a host has a directory.
func hasDir(ctx context.Context, h host.Host, dir string) (bool, error) {
	err := h.Run(ctx, host.Command{Argv: []string{"test", "-d", dir}})
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return false, nil
	}
	return err == nil, err
}
