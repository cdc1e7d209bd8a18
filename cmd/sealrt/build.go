package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/remote"
	"github.com/sealrt/sealrt/kubefile"
)

// unnamed is the repository of an image that was built without a name.
const unnamed = "localhost/unnamed"

// buildFlags are what build is told.
type buildFlags struct {
	file         string
	tags         []string
	platforms    []string
	args         []string
	secrets      []string
	signedBy     []string
	target       string
	noCache      bool
	cacheFrom    []string
	cacheTo      []string
	lock, frozen bool
	check        bool
	compression  string
	engine       engineFlags
	addHosts     []string
	imageSources []string
	timeout      time.Duration
	push         bool
	output       string
	withHelper   bool
	helperDir    string
}

func newBuild(env *environment) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [flags] [CONTEXT]",
		Short: "Build a cluster image from a Kubefile",
		Long: `Build a cluster image from a Kubefile and the files in CONTEXT, the working
directory unless given. The same inputs give the same digest, which is printed.
With --lock every name is asked anew, and what it meant is written to
Kubefile.lock beside the Kubefile; what that says of other platforms is kept.
With --frozen it is all that is used. On a terminal the build is shown as
BuildKit does.`,
		Example: `  sealrt build -t k3s:v1.25.3 .
  sealrt build -f Kubefile -t registry.example.com/k3s:v1.25.3 --platform linux/amd64,linux/arm64 --push .
  sealrt build -t k3s:v1.25.3 --lock . && sealrt build -t k3s:v1.25.3 --frozen .
  sealrt build -t k3s:v1.25.3 --secret id=token,src=token.txt --builder buildkit://tcp://farm.example.com:1234 .`,
		Args: needArgs("", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return build(cmd.Context(), env, f, dir)
		},
	}
	f.define(cmd.Flags())
	env.registryFlags(cmd.Flags())
	return cmd
}

func (f *buildFlags) define(flags *pflag.FlagSet) {
	flags.StringVarP(&f.file, "file", "f", "", "read the Kubefile from `FILE`, - for standard input (default CONTEXT/Kubefile)")
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "call the image `NAME:TAG`; repeatable")
	flags.StringSliceVar(&f.platforms, "platform", nil, "build for these `PLATFORMS`, like linux/amd64,linux/arm64")
	flags.StringArrayVar(&f.args, "build-arg", nil, "set an ARG, `NAME=VALUE`; NAME alone takes it from the environment; repeatable")
	flags.StringArrayVar(&f.secrets, "secret", nil, "let RUN --mount=type=secret see `id=ID,src=FILE`, or id=ID,env=NAME; repeatable")
	flags.StringArrayVar(&f.signedBy, "require-signed", nil, "fail unless the key in `FILE`, such as cosign.pub, signed every container image; repeatable: one of the keys is enough")
	flags.StringVar(&f.target, "target", "", "build this `STAGE` instead of the last")
	flags.BoolVar(&f.noCache, "no-cache", false, "make every layer anew")
	flags.StringArrayVar(&f.cacheFrom, "cache-from", nil, "take layers that others made from the cache at `REF` in a registry; repeatable")
	flags.StringArrayVar(&f.cacheTo, "cache-to", nil, "write the cache of this build to `REF` in a registry; repeatable")
	flags.BoolVar(&f.lock, "lock", false, "write to Kubefile.lock, or FILE.lock with -f FILE, what tags, bases and remote files are")
	flags.BoolVar(&f.frozen, "frozen", false, "take from Kubefile.lock, or FILE.lock, what tags, bases and remote files are, and fail on any other")
	flags.BoolVar(&f.check, "check", false, "report all mistakes of the Kubefile, and build nothing")
	flags.Var(newChoice(&f.compression, "zstd", "zstd", "gzip", "none"), "compression", "compression of layers: zstd, gzip or none")
	f.engine.define(flags)
	flags.StringArrayVar(&f.imageSources, "image-source", nil, "look for container images in `PLACE` before their registry: docker-daemon:, docker-archive:FILE, oci-archive:FILE, oci:DIR, or a cluster image; repeatable")
	flags.StringArrayVar(&f.addHosts, "add-host", nil, "let RUN find `HOST:IP`; repeatable")
	flags.DurationVar(&f.timeout, "timeout", 0, "end a RUN that takes longer than `DURATION`, like 10m; 0 waits for ever")
	flags.BoolVar(&f.withHelper, "with-helper", false, "put sealrt for the image's platform into the image: clients of another platform send it to the hosts")
	flags.StringVar(&f.helperDir, "helper-dir", "", "for another platform, look in `DIR` for sealrt-linux-arm64 and its like")
	flags.BoolVar(&f.push, "push", false, "push the image under every tag; layers are sent while others are made")
	flags.StringVarP(&f.output, "output", "o", "", "write the image to an archive too, `oci-archive:FILE`")
}

// build reads the Kubefile, builds, and hands the image on where it was asked.
func build(ctx context.Context, env *environment, f buildFlags, dir string) (err error) {
	o, err := f.options(env)
	if err != nil {
		return err
	}
	lock, err := f.lockName(dir)
	if err != nil {
		return err
	}
	o.Context = dir
	o.File, err = readKubefile(env, f.file, dir)
	var mistakes kubefile.Errors
	if err != nil && !errors.As(err, &mistakes) {
		return err
	}
	if f.check || len(mistakes) > 0 {
		return builder.Check(ctx, o, mistakes)
	}
	var old *remote.Lock
	if lock != "" {
		if o.Lock, err = readLock(lock, f.frozen); err != nil {
			return err
		}
		if f.lock { // everything is asked anew
			old = o.Lock
			o.Lock = &remote.Lock{}
		}
	}
	if o.Store, err = env.openStore(); err != nil {
		return err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	d, err := f.run(ctx, env, o)
	if err != nil {
		return err
	}
	if f.lock {
		o.Lock.Keep(old)
		if err = writeLock(lock, o.Lock); err != nil {
			return err
		}
	}
	if err = f.deliver(ctx, env, o, d); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, d.Digest)
	return err
}

// run builds, with the story told, and layers on their way to registries
// meanwhile if the image is to be pushed.
func (f *buildFlags) run(ctx context.Context, env *environment, o builder.Options) (d v1.Descriptor, err error) {
	var done func() error
	if o.Runner, done, err = f.engine.open(ctx, o.Store, env.registry()); err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, done()) }()
	o.Source, o.CacheSink = env.registry(), env.registry()
	p := newBuildProgress(ctx, env.render())
	o.Observe = p.observe
	var u *uploads
	if f.push {
		u = newUploads(ctx, o.Store, env.registry(), o.Tags, env.jobs, p.upload)
		o.OnLayer = u.send
	}
	d, err = builder.Build(ctx, o)
	u.end(err)
	return d, p.end(err)
}

// options translates the flags.
func (f *buildFlags) options(env *environment) (o builder.Options, err error) {
	if _, _, err := f.engine.address(); err != nil {
		return o, err
	}
	if err := f.contradictions(); err != nil {
		return o, usageError{err}
	}
	o = builder.Options{
		Target: f.target, NoCache: f.noCache, AddHosts: f.addHosts, Jobs: env.jobs, CAFile: env.access.CAFile,
		Frozen: f.frozen, Timeout: f.timeout, Proxy: env.getenv,
		ImageSources: f.imageSources, DockerHost: env.getenv("DOCKER_HOST"), DockerCerts: env.getenv("DOCKER_CERT_PATH"),
	}
	for _, list := range []struct {
		into *[]artifact.Reference
		from []string
	}{{&o.Tags, f.tags}, {&o.CacheFrom, f.cacheFrom}, {&o.CacheTo, f.cacheTo}} {
		if *list.into, err = parseRefs(list.from); err != nil {
			return o, err
		}
	}
	if o.Platforms, err = parsePlatforms(f.platforms); err != nil {
		return o, err
	}
	if o.BuildArgs, err = parseBuildArgs(f.args, env.getenv); err != nil {
		return o, err
	}
	if o.Secrets, err = parseSecrets(f.secrets, env.getenv); err != nil {
		return o, err
	}
	if o.Check, err = signedBy(f.signedBy); err != nil {
		return o, err
	}
	if o.Compression, err = layer.ParseCompression(f.compression); err != nil {
		return o, usageError{err}
	}
	if f.withHelper {
		o.Helper = func(p v1.Platform) (string, error) { return helperFile(f.helperDir, p.OS, p.Architecture) }
	}
	o.Created, err = env.created()
	return o, err
}

// contradictions refuses flags that cannot be meant.
func (f *buildFlags) contradictions() error {
	kind, file, _ := strings.Cut(f.output, ":")
	switch {
	case f.push && len(f.tags) == 0:
		return errors.New("--push needs a name to push to: add -t NAME:TAG")
	case f.output != "" && (kind != "oci-archive" || file == ""):
		return fmt.Errorf("-o %s: write oci-archive:FILE", f.output)
	case f.lock && f.frozen:
		return errors.New("--lock writes what --frozen only reads: give one of them")
	case f.noCache && len(f.cacheFrom) > 0:
		return errors.New("--no-cache makes every layer anew, --cache-from takes layers from others: give one of them")
	case f.timeout < 0:
		return errors.New("--timeout cannot be negative")
	}
	return nil
}

// lockName returns the name of the lock to use, "" for none.
func (f *buildFlags) lockName(dir string) (string, error) {
	if !f.lock && !f.frozen {
		return "", nil
	}
	return lockName(f.file, dir)
}

// parseBuildArgs reads --build-arg; a name alone has the environment's value,
// and is left out when the environment has none.
func parseBuildArgs(list []string, getenv func(string) string) (map[string]string, error) {
	args := map[string]string{}
	for _, text := range list {
		name, value, given := strings.Cut(text, "=")
		if name == "" {
			return nil, usageError{fmt.Errorf("--build-arg %q: write NAME=VALUE", text)}
		}
		if !given {
			value = getenv(name)
		}
		if given || value != "" {
			args[name] = value
		}
	}
	return args, nil
}

// deliver pushes the image and writes it to an archive, as asked.
func (f *buildFlags) deliver(ctx context.Context, env *environment, o builder.Options, d v1.Descriptor) error {
	if f.push {
		for _, tag := range o.Tags {
			if _, err := artifact.Copy(ctx, env.registry(), tag, o.Store, tag, env.copyOptions()); err != nil {
				return err
			}
		}
	}
	_, file, ok := strings.Cut(f.output, ":")
	if !ok {
		return nil
	}
	refs := o.Tags
	if len(refs) == 0 {
		ref, err := artifact.ParseReference(unnamed + "@" + d.Digest.String())
		if err != nil {
			return err
		}
		refs = []artifact.Reference{ref}
	}
	return saveArchive(ctx, env, o.Store, refs, file, archive.Options{Observe: env.progress()})
}
