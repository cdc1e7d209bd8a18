package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
	"github.com/sealrt/sealrt/artifact/convert"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// importFlags are what import is told.
type importFlags struct {
	tag, names, compression, output string
}

func newImport(env *environment) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import [flags] SRC",
		Short: "Make a cluster image of sealos or sealer one of sealrt",
		Long: `Make a cluster image of sealos or sealer one of sealrt, for every platform that
it has: the container images in registry/ move to images/, labels, environment
and commands are translated, the rest of the tree stays. What has no counterpart
is named. SRC is an image of the store, or else of a registry (docker://REF asks
the registry at once), or a file that either tool saved: oci-archive:FILE or
docker-archive:FILE. The digest is printed.`,
		Example: `  sealrt import docker.io/labring/kubernetes:v1.31.0 -t kubernetes:v1.31.0
  sealrt import oci-archive:mysql.tar -t mysql:8.0 -o json`,
		Args: needArgs("an image", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importImage(cmd.Context(), env, f, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.tag, "tag", "t", "", "call the new image `NAME`, not as SRC is called")
	flags.StringVar(&f.names, "image-list", "", "read full names of container images that SRC does not tell from `FILE`")
	flags.Var(newChoice(&f.compression, "zstd", "zstd", "gzip", "none"), "compression", "compression of layers: zstd, gzip or none")
	outputFlag(cmd, &f.output)
	env.registryFlags(flags)
	return cmd
}

// importJSON is what import prints with -o json.
type importJSON struct {
	Ref       string           `json:"ref"`
	Digest    string           `json:"digest"`
	Platforms []convert.Report `json:"platforms"`
}

// importImage converts an image and names the result.
func importImage(ctx context.Context, env *environment, f importFlags, arg string) (err error) {
	o, err := f.options(env)
	if err != nil {
		return err
	}
	to, err := newName(f.tag)
	if err != nil {
		return err
	}
	from, src, closeSrc, err := openForeign(ctx, env, arg, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSrc()) }()
	if to.IsZero() {
		if to, err = ownName(ctx, o.Store, from); err != nil {
			return err
		}
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	d, reports, err := convert.Image(ctx, src, from, o)
	if errors.Is(err, convert.ErrOurs) {
		return fmt.Errorf("%w: `sealrt pull`, `load` and `tag` are for such images", err)
	}
	if err != nil {
		return err
	}
	if err := o.Store.Tag(ctx, to, d); err != nil {
		return err
	}
	tellImport(env, to, reports)
	if f.output == "json" {
		return printJSON(env, importJSON{to.Familiar(), d.Digest.String(), reports})
	}
	_, err = fmt.Fprintln(env.stdout, d.Digest)
	return err
}

// options says how to convert.
func (f importFlags) options(env *environment) (o convert.Options, err error) {
	o.Observe, o.Jobs = env.progress(), env.jobs
	if o.Compression, err = layer.ParseCompression(f.compression); err != nil {
		return o, usageError{err}
	}
	if o.Created, err = env.created(); err != nil {
		return o, err
	}
	if f.names != "" {
		list, err := os.Open(f.names)
		if err != nil {
			return o, fmt.Errorf("--image-list: %w", err)
		}
		defer list.Close()
		if o.Names, err = airgap.ParseList(f.names, list); err != nil {
			return o, err
		}
	}
	o.Store, err = env.openStore()
	return o, err
}

// newName reads -t; none is zero.
func newName(tag string) (artifact.Reference, error) {
	if tag == "" {
		return artifact.Reference{}, nil
	}
	ref, err := artifact.ParseReference(tag)
	if _, pinned := ref.Digest(); err == nil && pinned {
		err = fmt.Errorf("-t %s: the name of a new image cannot have a digest", tag)
	}
	if err != nil {
		return ref, usageError{err}
	}
	return ref, nil
}

// ownName returns the name of the old image for the new one, unless another image has it.
func ownName(ctx context.Context, store *store.Store, from artifact.Reference) (artifact.Reference, error) {
	if _, pinned := from.Digest(); pinned && from.Tag() == "" {
		return from, fmt.Errorf("%s has no tag: give the new image a name with -t", from.Familiar())
	}
	to := from
	var err error
	if _, pinned := from.Digest(); pinned {
		if to, err = from.WithTag(from.Tag()); err != nil {
			return from, err
		}
	}
	foreign, err := isForeign(ctx, store, to)
	if err == nil && foreign {
		err = fmt.Errorf("the store has another image that is called %s: give the new one a name with -t", to.Familiar())
	}
	return to, err
}

// isForeign reports whether the store has an image by that name which sealrt did not make.
func isForeign(ctx context.Context, store *store.Store, ref artifact.Reference) (bool, error) {
	d, err := store.Resolve(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	versions, err := variants(ctx, store, artifact.Named{Ref: ref, Desc: d})
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(versions, func(v variant) bool { return v.config.Config.Labels[artifact.LabelFormat] != "" }), nil
}

// openForeign returns where the image lies that is to be converted. to is what a file without a name in it is about.
func openForeign(ctx context.Context, env *environment, arg string, to artifact.Reference) (artifact.Reference, artifact.Source, func() error, error) {
	nothing := func() error { return nil }
	place, name, err := transport.Split(arg)
	if err != nil {
		return artifact.Reference{}, nil, nil, usageError{err}
	}
	if place != "" {
		return openPlace(ctx, env, place, name, to)
	}
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return ref, nil, nil, usageError{err}
	}
	store, err := env.openStore()
	if err != nil {
		return ref, nil, nil, err
	}
	if !strings.HasPrefix(arg, "docker://") {
		there, err := isForeign(ctx, store, ref)
		if there || err != nil {
			return ref, store, nothing, err
		}
	}
	return ref, env.registry(), nothing, nil
}

// openPlace opens a file, a folder or a docker daemon, and returns the image in it: the only one unless it is named.
func openPlace(ctx context.Context, env *environment, place, name string, to artifact.Reference) (ref artifact.Reference, src artifact.Source, done func() error, err error) {
	o := transport.Options{Adopt: true, DockerHost: env.getenv("DOCKER_HOST"), DockerCerts: env.getenv("DOCKER_CERT_PATH")}
	if o.Dir, err = os.Getwd(); err != nil {
		return ref, nil, nil, err
	}
	p, err := transport.Open(ctx, place, o)
	if err != nil {
		kind, file, _ := strings.Cut(place, ":")
		if kind != "oci-archive" && kind != "docker-archive" {
			return ref, nil, nil, err
		}
		saved, serr := convert.OpenSaved(ctx, file, o)
		switch {
		case serr == nil:
			return saved.Ref(), saved, saved.Close, nil
		case errors.Is(serr, convert.ErrNoSaved):
			return ref, nil, nil, err
		}
		return ref, nil, nil, serr
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if name != "" {
		if ref, err = artifact.ParseReference(name); err != nil {
			return ref, nil, nil, usageError{err}
		}
		return ref, p, p.Close, nil
	}
	refs, err := p.Refs(ctx)
	switch {
	case err != nil && !to.IsZero(): // an image without a name
		return to, p, p.Close, nil
	case err != nil:
		return ref, nil, nil, fmt.Errorf("%w; or name the new image with -t", err)
	case len(refs) != 1:
		return ref, nil, nil, fmt.Errorf("%s holds %d images: name one of them, %s:NAME", place, len(refs), place)
	}
	return refs[0].Ref, p, p.Close, nil
}

// tellImport tells what became of the image, and what did not.
func tellImport(env *environment, to artifact.Reference, reports []convert.Report) {
	count := map[string]int{}
	for _, r := range reports {
		what := strings.TrimSpace(strings.Join([]string{r.Type, r.Distro, r.Version}, " "))
		env.note("%s for %s: %s of %s, %d container images", to.Familiar(), r.Platform, what, r.Maker, len(r.Images))
		for _, u := range r.Unmapped {
			count[u.String()]++
		}
	}
	for _, r := range reports {
		for _, u := range r.Unmapped {
			text := u.String()
			switch n := count[text]; {
			case n == len(reports):
				env.note("not taken over: %s", text)
			case n > 0:
				env.note("not taken over, %s: %s", r.Platform, text)
				continue
			}
			count[text] = 0
		}
	}
}
