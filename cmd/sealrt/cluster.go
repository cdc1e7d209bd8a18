package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// known is a cluster while a command works on it.
type known struct {
	env       *environment
	state     *state.Folder
	cluster   *runtime.Cluster
	driver    runtime.Driver
	dial      *dialer
	hosts     connections
	unreached map[string]error // why members have no connection, by their addresses
	source    artifact.Source  // of the images' blobs; nil where no host is to get any
	leaving   []runtime.Member // hosts that are no members any more when the plan is carried out
	others    []runtime.Image  // apps of the cluster that this command does not name
	later     []runtime.Member // hosts that join after an upgrade: until that is done they are none of the cluster's
	labelled  []runtime.Member // with the labels and taints that members have until a plan is done
	until     []runtime.Image  // what the cluster is made of until an upgrade is done; nil: there is none
	limits    runtime.Limits
	upgrade   *upgradeRecord // of the plan, for a rollback; nil: it is no upgrade

	command string // that works on the cluster, for the journal
	output  string // how plans are printed: "" or json
	yes     bool   // nothing is asked
	dry     bool   // nothing is changed
	carrier *runtime.Engine
	held    *state.Hold      // nil until it is locked
	helpers *runtime.Helpers // nil until a master gets sealrt before there is a plan
	ending  bool             // the journal is kept here alone
	looking bool             // nothing is changed, and nobody kept from changing it
	made    state.Files      // secrets that are not kept yet
	named   state.Files      // what files have that the Clusterfile names; nil: they were not read

	inImage func(system, arch string) (io.ReadCloser, error) // opens the sealrt that an image was built with; nil: none is at hand
}

// life is the life cycle of the cluster, for plans that bring hosts what they
// need: the user's hooks, and certificates of the image service. What is made for
// it is kept when a plan is carried out. The members' host names are known.
func (k *known) life() (*runtime.Runtime, error) {
	var err error
	k.named = state.Files{}
	k.cluster.ReadFile = k.readNamed
	if k.cluster.Scripts, err = readHooks(k.cluster.Hooks, k.readNamed); err != nil {
		return nil, err
	}
	if err := k.cluster.PrepareImageService(k, time.Now(), false); err != nil {
		return nil, err
	}
	return runtime.New(k.cluster, k.driver)
}

// engine returns what carries plans out on the hosts that are connected, always
// the same one: what it has learnt of the hosts it knows.
func (k *known) engine() *runtime.Engine {
	if k.carrier == nil {
		k.carrier = &runtime.Engine{
			Cluster: k.cluster.Name, Helper: k.helper, Observe: k.env.story(), Journal: k,
			Operation: k.env.operation(k.command), Limits: k.limits, Blobs: k.cluster.Blobs, Peers: !k.cluster.Blobs.SSHOnly,
		}
	}
	k.carrier.Hosts, k.carrier.Images = k.hosts, k.source // more of them may have come
	k.carrier.Hidden = k.cluster.Hidden()
	k.carrier.Standing = slices.DeleteFunc(slices.Clone(k.cluster.Members), func(m runtime.Member) bool { return k.hosts[m.Address] == nil })
	return k.carrier
}

// print prints, as a dry run does, what of the plan is to be done on the hosts
// as they are.
func (k *known) print(ctx context.Context, plan runtime.Plan) error {
	f, err := k.engine().Forecast(ctx, plan)
	if err != nil {
		return err
	}
	return k.show(f)
}

// show prints a forecast on stdout.
func (k *known) show(f *runtime.Forecast) error {
	if k.output == "json" {
		return printJSON(k.env, f)
	}
	for _, h := range f.Hosts {
		for _, what := range h.Unapplied {
			k.env.note("host %s: the %s would be another now, and is not changed on a host that has joined", h.Host, what)
		}
	}
	if f.Steps == 0 {
		k.env.note("nothing to do: the cluster %s stands as asked", k.cluster.Name)
		return nil
	}
	if err := printForecast(k.env.stdout, f); err != nil {
		return err
	}
	return f.Pending.WriteRendered(k.env.stdout, k.cluster.Secrets())
}

// carryOut runs the plan and keeps the administrator's kubeconfig.
func (k *known) carryOut(ctx context.Context, plan runtime.Plan) error {
	f, err := k.engine().Forecast(ctx, plan)
	if err != nil {
		return err
	}
	return k.decide(ctx, f)
}

// decide carries out what a forecast says. Where the users of the cluster will
// notice, and somebody is there to be asked, it is shown first: what runs is
// what was shown.
func (k *known) decide(ctx context.Context, f *runtime.Forecast) error {
	if f.Disturbs() && !k.yes && k.env.interactive() {
		if err := printForecast(k.env.stderr, f); err != nil {
			return err
		}
		if err := confirm(k.env, k.yes, "change the cluster "+k.cluster.Name+" as shown"); err != nil {
			return err
		}
	}
	after := *k.cluster
	after.Images = slices.Concat(k.cluster.Images, k.others)
	return k.execute(ctx, f, k.meanwhile(&after), &after)
}

// meanwhile is the cluster while it becomes what it is to be. What the state
// calls done too early, the same command again would not do.
func (k *known) meanwhile(after *runtime.Cluster) *runtime.Cluster {
	c := *after
	c.Members = slices.Concat(after.Without(k.later).Members, k.leaving)
	if k.until != nil {
		c.Images = slices.Concat(k.until, k.others)
	}
	for i, m := range c.Members {
		for _, was := range k.labelled {
			if was.Name() == m.Name() {
				c.Members[i].Labels, c.Members[i].Taints = was.Labels, was.Taints
			}
		}
	}
	if k.labelled != nil {
		c.Labels, c.Taints = nil, nil // each host has its own
	}
	return &c
}

// change carries out a plan that was agreed to; after is the cluster that comes
// of it.
func (k *known) change(ctx context.Context, plan runtime.Plan, after *runtime.Cluster) error {
	f, err := k.engine().Forecast(ctx, plan)
	if err != nil {
		return err
	}
	return k.execute(ctx, f, k.cluster, after)
}

// execute does what a forecast says, step for step, and keeps the cluster as it
// is meanwhile and after, with the administrator's kubeconfig: also when other
// hosts than the first master failed, since the cluster stands then.
func (k *known) execute(ctx context.Context, f *runtime.Forecast, meanwhile, after *runtime.Cluster) error {
	if err := k.hold(ctx, k.command); err != nil {
		return err
	}
	if err := k.makeSecrets(); err != nil {
		return err
	}
	if err := k.keepUpgrade(); err != nil {
		return err
	}
	if err := k.save(ctx, meanwhile, nil); err != nil {
		return err
	}
	failed := k.engine().Execute(ctx, f)
	k.env.render().finish() // what is printed on stdout would be lost in a table that is drawn again
	for _, m := range meanwhile.Masters() {
		if failed == nil && !slices.ContainsFunc(after.Members, func(o runtime.Member) bool { return o.Address == m.Address }) {
			k.held.Release(m.Name())
		}
	}
	var report *runtime.RunError
	if failed != nil && !(errors.As(failed, &report) && slices.Contains(report.Done, k.cluster.ActingMaster().Name())) {
		return failed
	}
	kubeconfig, err := k.kubeconfig(ctx)
	if err != nil {
		return cmp.Or(failed, err)
	}
	if failed != nil {
		after = meanwhile
	} else {
		after.Images = settled(after.Images)
	}
	err = k.save(ctx, after, kubeconfig)
	return cmp.Or(failed, err)
}

// makeSecrets makes the secrets that a plan is about to bring to hosts, and gives
// the engine those which plans only name.
func (k *known) makeSecrets() error {
	if err := k.cluster.KeepImageService(k); err != nil {
		return err
	}
	var err error
	k.engine().Secrets, err = k.secrets()
	return err
}

// openCluster reads a cluster's state and keeps others from changing it. No
// host is asked yet. Flags win over what the state says of SSH.
func openCluster(env *environment, name string, ssh sshFlags) (*known, error) {
	return open(env, name, ssh, env.openFolder)
}

// lookAt is openCluster for who only looks: others may work on the cluster
// meanwhile.
func lookAt(env *environment, name string, ssh sshFlags) (*known, error) {
	k, err := open(env, name, ssh, state.Read)
	if err == nil {
		k.looking = true
	}
	return k, err
}

func open(env *environment, name string, ssh sshFlags, openState func(clusters, name string) (*state.Folder, error)) (*known, error) {
	there, err := state.Exists(env.clusters(), name)
	if err != nil || !there {
		return nil, unknownCluster(env, name, err)
	}
	folder, err := openState(env.clusters(), name)
	if err != nil {
		return nil, err
	}
	k := &known{env: env, state: folder}
	if err := k.read(name, ssh); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *known) read(name string, ssh sshFlags) error {
	if err := k.load(name); err != nil {
		return err
	}
	return k.means(ssh)
}

// load reads what is known of the cluster.
func (k *known) load(name string) error {
	file, err := k.state.Load()
	if err != nil {
		return err
	}
	made, err := loadImages(k.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	members, err := runtime.MembersOf(file.Spec)
	if err != nil {
		return err
	}
	k.cluster = &runtime.Cluster{Spec: file.Spec, Name: name, Members: members, Others: file.Others}
	k.env.reveals(k.cluster)
	for _, m := range made {
		k.cluster.Images = append(k.cluster.Images, m.image())
	}
	if len(k.cluster.Images) == 0 {
		return fmt.Errorf("%s does not say what the cluster was made of", k.state.Path(imagesFile))
	}
	k.cluster.Voted = made[0].Voted
	k.driver, err = distros.New(k.cluster.Image())
	return err
}

// means says how the hosts are reached, and how long things may take there.
func (k *known) means(ssh sshFlags) error {
	var err error
	if k.limits, err = runtime.LimitsOf(k.cluster.Timeouts); err != nil {
		return err
	}
	if k.dial, err = newDialer(k.env, ssh, k.state); err == nil {
		k.dial.timeout, k.dial.silence = k.limits.Connect, k.limits.Silence
	}
	return err
}

// connect reaches the hosts; those that answer are in k.hosts even when the
// error names others.
func (k *known) connect(ctx context.Context) error {
	k.hosts = nil
	return k.connectTo(ctx, slices.Concat(k.cluster.Members, k.leaving))
}

// connectTo reaches those members that there is no connection to yet.
func (k *known) connectTo(ctx context.Context, members []runtime.Member) error {
	members = slices.DeleteFunc(slices.Clone(members), func(m runtime.Member) bool { return k.hosts[m.Address] != nil })
	open, err := k.dial.connect(ctx, members)
	if k.hosts == nil {
		k.hosts = connections{}
	}
	maps.Copy(k.hosts, open)
	return err
}

func (k *known) close() {
	if k.held != nil {
		k.held.Close()
	}
	if k.helpers != nil {
		k.helpers.Close()
	}
	k.hosts.Close()
	k.state.Close()
}

// unknownCluster says that nothing is known of a cluster, and why.
func unknownCluster(env *environment, name string, err error) error {
	if err != nil {
		return err
	}
	others := ""
	if found, err := filepath.Glob(filepath.Join(env.clusters(), "*", state.Clusterfile)); err == nil && len(found) > 0 {
		for i, f := range found {
			found[i] = filepath.Base(filepath.Dir(f))
		}
		others = " (there is " + strings.Join(found, ", ") + ": --cluster chooses)"
	}
	return fmt.Errorf("no cluster %q is known in %s%s: `sealrt run --cluster %s` makes one, `sealrt recover --from HOST` takes it from a master", name, env.clusters(), others, name)
}
