package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// kindsOf tells what images are, and refuses those that are nowhere or make no
// cluster, before a host is asked for anything. They are fetched when the platform
// of the hosts is known.
func kindsOf(ctx context.Context, env *environment, args []string) ([]runtime.Image, error) {
	var out []runtime.Image
	for _, arg := range args {
		ref, src, err := whereIs(ctx, env, arg, false)
		if err != nil {
			return nil, err
		}
		versions, err := versionsOf(ctx, src, ref, "")
		if err != nil {
			return nil, err
		}
		out = append(out, runtime.Image{Ref: ref, Kind: artifact.KindOf(versions[0].config)})
	}
	return out, runtime.CheckOrder(out)
}

// appsAlone reports whether there are app images only.
func appsAlone(images []runtime.Image) bool {
	return !slices.ContainsFunc(images, func(i runtime.Image) bool { return i.Kind.Type != artifact.TypeApp })
}

// runApps puts app images on a cluster that stands.
func runApps(ctx context.Context, env *environment, f runFlags, args []string, approved judged) error {
	if len(f.podCIDR)+len(f.serviceCIDR) > 0 {
		return usageError{fmt.Errorf("%s is an app image: its cluster has its networks already; name the cluster with --cluster, or a rootfs image in front to make one", args[0])}
	}
	settings, err := parseSettings(f.env)
	if err != nil {
		return err
	}
	there, err := state.Exists(env.clusters(), f.cluster)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%s is an app image, and no cluster %q is known here to put it on: name a rootfs image in front of it to make one, the cluster with --cluster, or one that sealrt did not make with --kubeconfig and --registry", args[0], f.cluster)
	}
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes = "run", f.output, f.yes
	if err := k.reachLiving(ctx, "is given it when the same command is run again"); err != nil {
		return err
	}
	acting := k.cluster.ActingMaster()
	platform, err := runtime.HostPlatform(ctx, k.hosts[acting.Address])
	if err != nil {
		return fmt.Errorf("host %s: %w", acting.Name(), err)
	}
	apps, source, err := openImages(ctx, env, args, platform, approved)
	if err != nil {
		return err
	}
	if _, err := judge(ctx, env, f.policy, args); err != nil {
		return err
	}
	if err := knownSettings(apps, settings); err != nil {
		return err
	}
	k.source = source
	return k.install(ctx, f, apps, settings)
}

// reachLiving connects to the hosts that answer, and finds the master that
// commands run on. later says what is with a host that does not answer.
func (k *known) reachLiving(ctx context.Context, later string) error {
	k.warn(k.reach(ctx, k.cluster.Members))
	if err := k.act(ctx, nil); err != nil {
		return err
	}
	for _, m := range k.cluster.Members {
		if k.cluster.Down[m.Address] {
			k.env.note("warning: host %s is left out, and %s", m.Name(), later)
		}
	}
	return nil
}

// install carries out the plan for app images, which the state knows from the
// moment that the first step begins.
func (k *known) install(ctx context.Context, f runFlags, apps []runtime.Image, settings map[string]string) error {
	list := make([]runtime.Replacement, len(apps))
	for n, app := range apps {
		list[n] = k.replaces(app, settings)
		k.cluster.Images = append(slices.DeleteFunc(k.cluster.Images, func(i runtime.Image) bool { return i.Digest == app.Digest && i.Ref.Name() == app.Ref.Name() }), list[n].App)
	}
	life, err := k.life()
	if err != nil {
		return err
	}
	plan, err := life.Install(list...)
	if err != nil {
		return err
	}
	if k.cluster.Images, err = life.Bringing(k.cluster.Images); err != nil {
		return err
	}
	for _, r := range list {
		tellRetired(k.env, slices.DeleteFunc(slices.Clone(k.cluster.Images), func(i runtime.Image) bool { return i.Digest != r.App.Digest || i.Ref != r.App.Ref })...)
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	after := *k.cluster
	for _, r := range list {
		after.Images = without(after.Images, r.Before, r.App.Digest)
	}
	if err := k.change(ctx, plan, &after); err != nil {
		return advised(fmt.Errorf("run %s: %w", apps[0].Ref.Familiar(), err), fmt.Sprintf("mend the cause and run the same command again; or take it away with: sealrt uninstall %s --cluster %s", apps[0].Ref.Familiar(), f.cluster))
	}
	_, err = fmt.Fprintln(k.env.stdout, k.state.KubeconfigPath())
	return err
}

// replaces says which version of an app is there. What that one was told is
// remembered.
func (k *known) replaces(app runtime.Image, settings map[string]string) runtime.Replacement {
	r := runtime.Replacement{App: app}
	for _, i := range k.cluster.Apps() {
		if i.Ref.Name() == app.Ref.Name() && (r.Before.Digest == "" || i.Digest != app.Digest) {
			r.Before = i
		}
	}
	r.App.Settings = map[string]string{}
	maps.Copy(r.App.Settings, r.Before.Settings)
	maps.Copy(r.App.Settings, settings)
	r.App.Brought = r.Before.Brought
	return r
}

// tellRetired tells of what the images do not bring any more and is left in the
// cluster.
func tellRetired(env *environment, images ...runtime.Image) {
	for _, i := range images {
		if i.Brings != nil {
			_, left := runtime.Retired(i.Brought, i.Brings, nil)
			tellLeft(env, i, left)
		}
	}
}

// tellLeft tells of objects that an image does not bring any more, and that stay.
func tellLeft(env *environment, i runtime.Image, left []runtime.Object) {
	for _, o := range left {
		env.note("%s has no %s any more, which stays: more would go with it; kubectl delete takes it away", i.Ref.Familiar(), o)
	}
}

// settled returns images whose plan was carried out.
func settled(images []runtime.Image) []runtime.Image {
	out := make([]runtime.Image, len(images))
	for n, i := range images {
		out[n] = i.Settled()
	}
	return out
}

// rememberApps completes the images that a cluster is to be made of with what is
// known of its apps: what they were told, and those that are not named this time.
// Another version of an app is not put on a cluster by the way.
func (k *known) rememberApps() error {
	made, err := loadImages(k.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range made {
		if m.Kind.Type != artifact.TypeApp {
			k.cluster.Voted = k.cluster.Voted || m.Voted
			if m.Digest == k.cluster.Image().Digest {
				k.cluster.Images[0].Brought = m.Brought
			}
			continue
		}
		n := slices.IndexFunc(k.cluster.Images, func(i runtime.Image) bool { return i.Ref.Name() == m.Ref.Name() })
		switch {
		case n < 0:
			k.others = append(k.others, m.image())
		case k.cluster.Images[n].Digest == m.Digest:
			k.cluster.Images[n].Settings, k.cluster.Images[n].Brought = m.Settings, m.Brought
		default:
			return fmt.Errorf("the cluster %s has %s (%s), not this %s (%s): upgrade it with `sealrt run %s --cluster %s`", k.cluster.Name, m.Ref.Familiar(), m.Digest, k.cluster.Images[n].Ref.Familiar(), k.cluster.Images[n].Digest, k.cluster.Images[n].Ref.Familiar(), k.cluster.Name)
		}
	}
	k.cluster.Beside = k.others
	return nil
}

// without returns the images without the version of an app that another one has
// replaced, the one with the digest counts.
func without(images []runtime.Image, old runtime.Image, counts string) []runtime.Image {
	return slices.DeleteFunc(slices.Clone(images), func(i runtime.Image) bool {
		return old.Digest != "" && old.Digest != counts && i.Digest == old.Digest && i.Ref == old.Ref
	})
}

// appCalled returns the app of a cluster that a user means by a reference, or by
// a repository alone.
func appCalled(apps []runtime.Image, name string) (runtime.Image, error) {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return runtime.Image{}, usageError{err}
	}
	var found []runtime.Image
	var have []string
	for _, i := range apps {
		have = append(have, i.Ref.Familiar())
		bare := !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") && !strings.Contains(name, "@")
		if i.Ref == ref || bare && (i.Ref.Name() == ref.Name() || i.Ref.Path() == name || i.Ref.Path()[strings.LastIndexByte(i.Ref.Path(), '/')+1:] == name) {
			found = append(found, i)
		}
	}
	switch {
	case len(have) == 0:
		return runtime.Image{}, errors.New("no app is installed there")
	case len(found) == 0:
		return runtime.Image{}, fmt.Errorf("no app is called %s: there are %s", name, strings.Join(have, ", "))
	case len(found) > 1 && found[0].Ref.Name() != found[len(found)-1].Ref.Name():
		return runtime.Image{}, fmt.Errorf("%s means several apps: name one of %s", name, strings.Join(have, ", "))
	}
	return found[len(found)-1], nil
}
