package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// renewFlags are what cert renew is told.
type renewFlags struct {
	changeFlags
	ca, service bool
}

func newCertRenew(env *environment) *cobra.Command {
	var f renewFlags
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Give the hosts new certificates",
		Long: `Give the hosts that answer new certificates of a year.

Those of the image service are read at once: nothing is restarted, and no pull breaks
off. For those of the distribution the masters are restarted one after another, each
answering with new certificates before the next, then the nodes, spec.batch at a time.
Pods go on. All masters have to answer; where the cluster itself does not, since its
certificates have ended, the masters are renewed at once. The kubeconfig on this
machine is read anew.

With --ca the distribution gets new CAs too. Kubeconfigs and tokens that name the old
ones count until these end.

The same command again goes on where it stopped.`,
		Example: "  sealrt cert renew --cluster default --yes\n  sealrt cert renew --image-service",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.ca && f.service {
				return usageError{errors.New("--ca is of the distribution, --image-service leaves that out")}
			}
			return twice(env, func() error { return renewCertificates(cmd.Context(), env, f) })
		},
	}
	f.define(cmd)
	cmd.Flags().BoolVar(&f.ca, "ca", false, "make new CAs of the distribution too")
	cmd.Flags().BoolVar(&f.service, "image-service", false, "only those of the image service: nothing is restarted")
	return cmd
}

func renewCertificates(ctx context.Context, env *environment, f renewFlags) error {
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes, k.dry = "cert renew", f.output, f.yes, f.dryRun
	_, renews := k.driver.(runtime.Renewer)
	renews = renews && !f.service
	if !renews {
		if f.ca {
			return fmt.Errorf("cert renew --ca: %s: %w by this version of sealrt", k.driver.Name(), runtime.ErrUnsupported)
		}
		if err := k.hasService(); err != nil {
			return err
		}
	}
	plan, how, err := k.planToRenew(ctx, f, renews)
	if err != nil {
		return fmt.Errorf("cert renew: %w", err)
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if renews {
		question := fmt.Sprintf("renew the certificates of the cluster %s: its masters start again one after another, then its nodes", f.cluster)
		if how.Down {
			question = fmt.Sprintf("renew the certificates of the cluster %s, which does not answer: all its masters start again at once, then its nodes", f.cluster)
		}
		if err := confirm(env, f.yes, question); err != nil {
			return err
		}
	}
	k.yes = true
	if err := k.change(ctx, plan, k.cluster); err != nil {
		return advised(fmt.Errorf("cert renew: %w", err), "mend the cause and run the same command again: it goes on where it stopped")
	}
	if !renews {
		return nil
	}
	return k.ended(ctx)
}

// planToRenew plans what is to be renewed: the image service, which needs no
// cluster that answers, and the distribution.
func (k *known) planToRenew(ctx context.Context, f renewFlags, renews bool) (runtime.Plan, runtime.Renewal, error) {
	var how runtime.Renewal
	reach := k.reach(ctx, k.cluster.Members)
	if err := k.anyMaster(); err != nil {
		return runtime.Plan{}, how, errors.Join(err, reach)
	}
	k.warn(reach)
	if renews {
		first := k.cluster.Acting
		if err := k.act(ctx, nil); err != nil {
			if ctx.Err() != nil || errors.Is(err, errRefreshed) || errors.As(err, new(*state.BusyError)) {
				return runtime.Plan{}, how, err
			}
			k.warn(err)
			k.cluster.Acting, how.Down = first, true
		}
	}
	if err := k.cluster.PrepareImageService(k, time.Now(), true); err != nil {
		return runtime.Plan{}, how, err
	}
	life, err := runtime.New(k.cluster, k.driver)
	if err != nil {
		return runtime.Plan{}, how, err
	}
	plan, err := life.RenewImageService()
	if err != nil || !renews {
		return plan, how, err
	}
	if how, err = k.renewal(f.ca, how.Down, time.Now()); err != nil {
		return runtime.Plan{}, how, err
	}
	own, err := life.UpdateCert(how)
	return plan.Then(own), how, err
}

// anyMaster takes the first master that can be reached for the acting one.
func (k *known) anyMaster() error {
	i := slices.IndexFunc(k.cluster.Masters(), func(m runtime.Member) bool { return k.hosts[m.Address] != nil })
	if i < 0 {
		return errors.New("no master can be reached")
	}
	k.cluster.Acting = k.cluster.Masters()[i].Address
	return nil
}

// renewalFile keeps a renewal that has not come to its end.
const renewalFile = "renewal.json"

// renewalLimit is how long one that was broken off is gone on with. After that
// all hosts get new certificates again.
const renewalLimit = 24 * time.Hour

// keptRenewal is a renewal as it is kept.
type keptRenewal struct {
	ID    string    `json:"id"`
	CA    string    `json:"ca,omitempty"`
	Began time.Time `json:"began"`
}

// renewal goes on with the last one, where that was broken off and was of the
// same kind, or begins another.
func (k *known) renewal(ca, down bool, now time.Time) (runtime.Renewal, error) {
	var last keptRenewal
	raw, err := k.Read(renewalFile)
	if err == nil && len(raw) > 0 {
		err = json.Unmarshal(raw, &last)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return runtime.Renewal{}, fmt.Errorf("%s: %w", renewalFile, err)
	}
	if last.ID == "" || (last.CA != "") != ca || now.Sub(last.Began) > renewalLimit {
		last = keptRenewal{ID: now.UTC().Format("20060102T150405.000Z"), Began: now.UTC()}
		if ca {
			last.CA = k.cluster.Acting
		}
	}
	if raw, err = json.Marshal(last); err != nil {
		return runtime.Renewal{}, err
	}
	return runtime.Renewal{ID: last.ID, CA: last.CA, Down: down}, k.Write(renewalFile, raw)
}

// ended forgets the renewal: the next one is another.
func (k *known) ended(ctx context.Context) error {
	if err := k.Write(renewalFile, nil); err != nil {
		return err
	}
	return k.save(ctx, k.cluster, nil)
}
