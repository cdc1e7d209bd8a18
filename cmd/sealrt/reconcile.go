package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// readAsked reads what a cluster is to be like.
func readAsked(env *environment, name string) (*clusterfile.Document, error) {
	doc, err := readClusterfile(env, name)
	if err != nil {
		return nil, err
	}
	if len(doc.Spec.Image) == 0 {
		return nil, fmt.Errorf("%s: spec.image names no image", name)
	}
	doc.Metadata.Name = cmp.Or(doc.Metadata.Name, "default")
	return doc, nil
}

// reconciled is a cluster on its way to what a Clusterfile says.
type reconciled struct {
	*known
	asked  *clusterfile.Document
	before *clusterfile.Document // nil: there is no cluster yet
	fresh  []runtime.Member      // hosts that the cluster does not have yet
	base   runtime.Base
	checks preflightFlags
}

// reconcile opens the cluster that a Clusterfile names, whether it exists or
// not, connects to the hosts that it has and is to have, and opens the images.
// The caller closes it.
func reconcile(ctx context.Context, env *environment, f applyFlags, asked *clusterfile.Document) (*reconciled, error) {
	if err := env.catchUp(ctx, asked.Metadata.Name, f.sshFlags); err != nil {
		return nil, err
	}
	folder, err := env.openFolder(env.clusters(), asked.Metadata.Name)
	if err != nil {
		return nil, err
	}
	r := &reconciled{known: &known{env: env, state: folder, command: "apply", output: f.output, yes: f.yes, dry: f.dryRun}, asked: asked, checks: f.preflightFlags}
	if err := r.open(ctx, f); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reconciled) open(ctx context.Context, f applyFlags) error {
	var err error
	if r.before, err = r.state.Load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.asked.Spec.SSH = merged(f.SSH, r.asked.Spec.SSH)
	if r.before != nil { // how hosts are reached is remembered, as run does
		r.asked.Spec.SSH = merged(r.asked.Spec.SSH, r.before.Spec.SSH)
	}
	members, err := membersOf(ctx, r.env, r.asked.Spec)
	if err != nil {
		return err
	}
	if members, err = r.compare(members); err != nil {
		return err
	}
	r.cluster = &runtime.Cluster{Spec: r.asked.Spec, Name: r.asked.Metadata.Name, Members: members, Others: r.asked.Others}
	r.env.reveals(r.cluster)
	if err := r.means(f.sshFlags); err != nil {
		return err
	}
	if _, err := kindsOf(ctx, r.env, r.asked.Spec.Image); err != nil {
		return err
	}
	if err := r.approach(ctx); err != nil {
		return err
	}
	if err := r.known.open(ctx, r.asked.Spec.Image, nil); err != nil {
		return err
	}
	if err := r.keepApps(); err != nil {
		return err
	}
	if err := r.changeable(r.before); err != nil {
		return err
	}
	return r.measure()
}

// keepApps remembers what the apps of the cluster were told, and those that the
// file does not name: they stay, since only their own way of going takes them
// away.
func (r *reconciled) keepApps() error {
	made, err := loadImages(r.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, m := range made {
		if m.Kind.Type != artifact.TypeApp {
			r.cluster.Images[0].Brought, r.cluster.Voted = m.Brought, r.cluster.Voted || m.Voted
			continue
		}
		n := slices.IndexFunc(r.cluster.Images, func(i runtime.Image) bool { return i.Ref.Name() == m.Ref.Name() })
		if n >= 0 {
			r.cluster.Images[n].Settings, r.cluster.Images[n].Brought = m.Settings, m.Brought
			continue
		}
		r.others = append(r.others, m.image())
		r.env.note("the app %s is not in the file and stays: `sealrt uninstall %s --cluster %s` takes it away", m.Ref.Familiar(), m.Ref.Familiar(), r.cluster.Name)
	}
	r.cluster.Beside = r.others
	return nil
}

// membersOf returns the hosts of a specification, one by one, with the addresses
// by which they reach each other. None at all is this machine.
func membersOf(ctx context.Context, env *environment, spec clusterfile.Spec) ([]runtime.Member, error) {
	members, err := runtime.MembersOf(spec)
	if err != nil {
		return nil, err
	}
	if len(members) == 0 {
		m, err := thisMachine(ctx)
		return []runtime.Member{m}, err
	}
	for i := range members {
		if members[i].NodeIP != "" {
			continue
		}
		found, err := parseMembers(ctx, env, members[i].Address, members[i].Role)
		if err != nil {
			return nil, err
		}
		members[i].NodeIP = found[0].NodeIP
	}
	return members, nil
}

// compare finds the hosts that leave, and refuses what cannot become of a
// cluster that stands. It returns the members with those first that the cluster
// has, in their order: the first master is where a cluster began.
func (r *reconciled) compare(members []runtime.Member) ([]runtime.Member, error) {
	if r.before == nil {
		return members, nil
	}
	name := r.asked.Metadata.Name
	then, err := runtime.MembersOf(r.before.Spec)
	if err != nil {
		return nil, err
	}
	var stay []runtime.Member
	for _, m := range then {
		i := slices.IndexFunc(members, func(n runtime.Member) bool { return n.Name() == m.Name() })
		if i < 0 {
			r.leaving = append(r.leaving, m)
			continue
		}
		if members[i].Role != m.Role {
			return nil, fmt.Errorf("host %s is a %s of the cluster %s, not a %s: take it out of the file, apply it, and add it again", m.Name(), m.Role, name, members[i].Role)
		}
		members[i].Hostname = cmp.Or(members[i].Hostname, m.Hostname)
		stay = append(stay, members[i])
	}
	r.fresh = slices.DeleteFunc(slices.Clone(members), func(m runtime.Member) bool {
		return slices.ContainsFunc(stay, func(s runtime.Member) bool { return s.Name() == m.Name() })
	})
	return slices.Concat(stay, r.fresh), r.immutable(name)
}

// immutable refuses settings that a cluster which stands cannot change, and keeps
// those that the file does not name.
func (r *reconciled) immutable(name string) error {
	if stands, err := r.stands(); err != nil || !stands {
		return err
	}
	was, is := r.before.Spec.Network, &r.asked.Spec.Network
	for _, n := range []struct {
		what string
		was  clusterfile.Strings
		is   *clusterfile.Strings
	}{{"network.podCIDR", was.PodCIDR, &is.PodCIDR}, {"network.serviceCIDR", was.ServiceCIDR, &is.ServiceCIDR}} {
		if len(*n.is) > 0 && !slices.Equal(*n.is, n.was) {
			return fixed(name, n.what, n.was.String())
		}
		*n.is = n.was
	}
	return nil
}

// stands reports whether the cluster was made to its end once.
func (r *reconciled) stands() (bool, error) {
	_, err := os.Stat(r.state.KubeconfigPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// measure keeps what the plan will stand on.
func (r *reconciled) measure() error {
	r.base.Images = map[string]string{}
	for _, i := range r.cluster.Images {
		r.base.Images[i.Ref.String()] = i.Digest
	}
	if r.before == nil {
		return nil
	}
	raw, err := os.ReadFile(r.state.Path("Clusterfile"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	r.base.Known, r.base.Revision = "sha256:"+hex.EncodeToString(sum[:]), r.before.Metadata.Revision
	return nil
}
