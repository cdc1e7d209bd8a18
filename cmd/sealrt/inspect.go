package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/store"
)

// inspectFlags are the flags of inspect.
type inspectFlags struct {
	output, platform      string
	airgap, files, remote bool
}

func newInspect(env *environment) *cobra.Command {
	var o inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect [flags] REF",
		Short: "Show what an image is",
		Long: `Show what an image is, for every platform that is there or the one that is named:
digests, labels and settings; the layers, each with the instruction that made it;
the container images inside; what signs or describes it; and, in the store, how
many bytes other images share and how many are its own, which rmi would free.

The components of a rootfs image and their versions are read from its program and
from the names of the container images; "unknown" where neither tells. They are not
shown with --remote, since the program is large.

REF is an image of the store. Nothing is asked of a network for it; with --remote
it is read in its registry instead, and not pulled. It may also be an archive,
which is read where it lies: oci-archive:FILE.

With --files list the files of the tree instead: mode, owner, size, the layer that
each comes from, and the path. Layers are read and verified for that.

With --airgap prove instead that an image of the store or an archive is whole:
every container image inside is read and compared with its digests, each of them
has all its content, and what the tree asks for is inside. All that is not so is
listed, and the command fails.`,
		Example: "  sealrt inspect k3s:v1.25.3\n  sealrt inspect -o json --platform linux/arm64 k3s:v1.25.3\n  sealrt inspect --files oci-archive:k3s.tar\n" +
			"  sealrt inspect --remote registry.example.com/k3s:v1.25.3\n  sealrt inspect --airgap k3s:v1.25.3",
		Args: needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), env, args[0]) },
	}
	outputFlag(cmd, &o.output)
	cmd.Flags().StringVar(&o.platform, "platform", "", "show the image for `OS/ARCH` only")
	cmd.Flags().BoolVar(&o.files, "files", false, "list the files of the tree")
	cmd.Flags().BoolVar(&o.remote, "remote", false, "read the image in its registry, and pull nothing")
	cmd.Flags().BoolVar(&o.airgap, "airgap", false, "prove that all container images inside are whole, and all that are needed")
	env.registryFlags(cmd.Flags())
	return cmd
}

func (o *inspectFlags) run(ctx context.Context, env *environment, arg string) error {
	asJSON := o.output == "json"
	switch {
	case o.airgap && (o.files || o.remote || o.platform != ""):
		return usageError{errors.New("inspect: --airgap proves all of an image that is here: leave out --files, --remote and --platform")}
	case o.remote && strings.HasPrefix(arg, archivePrefix):
		return usageError{errors.New("inspect: an archive is not in a registry: leave out --remote")}
	case o.airgap:
		return inspectAirgap(ctx, env, arg, asJSON)
	}
	ref, src, err := o.find(ctx, env, arg)
	if err != nil {
		return err
	}
	d, versions, err := o.read(ctx, src, ref)
	if err != nil {
		return err
	}
	if o.files {
		return inspectFiles(ctx, env, src, ref, forThisMachine(versions), asJSON)
	}
	report, err := inspect(ctx, env, src, artifact.Named{Ref: ref, Desc: d}, versions)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(env, report)
	}
	return report.print(env.stdout)
}

// find returns where the image lies.
func (o *inspectFlags) find(ctx context.Context, env *environment, arg string) (artifact.Reference, artifact.Source, error) {
	if o.remote {
		refs, err := parseRefs([]string{arg})
		if err != nil {
			return artifact.Reference{}, nil, err
		}
		return refs[0], env.registry(), nil
	}
	ref, src, err := openImage(ctx, env, arg)
	if errors.Is(err, artifact.ErrNotFound) && !isArchive(arg) {
		err = fmt.Errorf("%w, `sealrt inspect --remote` looks in the registry", err)
	}
	return ref, src, err
}

// read returns the image for the platforms that are asked for; there is one at
// least.
func (o *inspectFlags) read(ctx context.Context, src artifact.Source, ref artifact.Reference) (v1.Descriptor, []variant, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return d, nil, err
	}
	versions, err := variants(ctx, src, artifact.Named{Ref: ref, Desc: d})
	switch {
	case err != nil:
		return d, nil, err
	case len(versions) == 0:
		return d, nil, fmt.Errorf("%s: the index is here, and the image for none of its platforms: pull or load it again", ref.Familiar())
	case o.platform == "":
		return d, versions, nil
	}
	want, err := parsePlatforms([]string{o.platform})
	if err != nil {
		return d, nil, err
	}
	versions, err = matching(ref, versions, want[0])
	return d, versions, err
}

// reportJSON is what inspect prints.
type reportJSON struct {
	Ref          string           `json:"ref"`
	Digest       string           `json:"digest"`
	MediaType    string           `json:"mediaType"`
	Size         int64            `json:"size"` // bytes of all different blobs, for the platforms shown
	*overlapJSON                  // in the store
	Platforms    []variantJSON    `json:"platforms"`
	Attachments  []attachmentJSON `json:"attachments"`
}

// overlapJSON divides the bytes of an image.
type overlapJSON struct {
	Shared int64 `json:"sharedSize"` // other images of the store have these blobs too
	Own    int64 `json:"ownSize"`    // only this one has these
}

// variantJSON is the image of one platform.
type variantJSON struct {
	Platform     string            `json:"platform"`
	Digest       string            `json:"digest"`
	Type         string            `json:"type"`
	Distro       string            `json:"distro,omitempty"`
	Version      string            `json:"version,omitempty"`
	Images       string            `json:"imagesDigest,omitempty"` // of images/index.json
	Created      time.Time         `json:"created"`
	Size         int64             `json:"size"` // bytes of config and layers
	*overlapJSON                   // in the store
	Labels       map[string]string `json:"labels,omitempty"`
	User         string            `json:"user,omitempty"`
	WorkingDir   string            `json:"workingDir,omitempty"`
	Env          []string          `json:"env,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Layers       []layerJSON       `json:"layers"`
	Inside       []insideJSON      `json:"containerImages,omitempty"` // that are inside
	Components   []componentJSON   `json:"components,omitempty"`      // of the distribution, as the image tells; not asked of a registry
	Problem      string            `json:"problem,omitempty"`         // why those inside cannot be read
}

// inspect describes an image.
func inspect(ctx context.Context, env *environment, src artifact.Source, n artifact.Named, versions []variant) (*reportJSON, error) {
	blobs := allBlobs(n.Desc, versions)
	report := &reportJSON{Ref: n.Ref.Familiar(), Digest: n.Desc.Digest.String(), MediaType: string(n.Desc.MediaType)}
	for _, size := range blobs {
		report.Size += size
	}
	overlap := func(map[v1.Hash]int64) *overlapJSON { return nil }
	if store, ok := src.(*store.Store); ok {
		u, err := usageOf(ctx, store)
		if err != nil {
			return nil, err
		}
		overlap = func(blobs map[v1.Hash]int64) *overlapJSON {
			shared, own := u.split(blobs)
			return &overlapJSON{shared, own}
		}
	}
	report.overlapJSON = overlap(blobs)
	digests := []v1.Hash{n.Desc.Digest}
	for _, v := range versions {
		j := describe(v)
		j.overlapJSON = overlap(blobsOf(v))
		if err := j.lookInside(ctx, env, src, n.Ref, v); err != nil {
			return nil, err
		}
		if err := j.lookAtParts(ctx, env, src, n.Ref, v); err != nil {
			return nil, err
		}
		report.Platforms = append(report.Platforms, j)
		if v.desc.Digest != n.Desc.Digest {
			digests = append(digests, v.desc.Digest)
		}
	}
	var err error
	report.Attachments, err = attachments(ctx, src, n.Ref, digests)
	return report, err
}

// describe says what manifest and config say.
func describe(v variant) variantJSON {
	kind, c := artifact.KindOf(v.config), v.config.Config
	j := variantJSON{
		Platform: v.platform(), Digest: v.desc.Digest.String(), Type: kind.Type, Distro: kind.Distro, Version: kind.Version,
		Images: c.Labels[artifact.LabelImagesDigest], Created: v.config.Created.Time, Size: artifact.Size(v.manifest),
		Labels: c.Labels, User: c.User, WorkingDir: c.WorkingDir, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Layers: []layerJSON{},
	}
	for _, l := range layersOf(v) {
		if l.Digest != "" {
			j.Layers = append(j.Layers, l)
		}
	}
	return j
}

// lookInside lists the container images of an image whose label says that it has
// some: others may have to be read from end to end to know.
func (j *variantJSON) lookInside(ctx context.Context, env *environment, src artifact.Source, ref artifact.Reference, v variant) error {
	if j.Images == "" {
		return nil
	}
	var err error
	in := inside{variant: v, ref: ref}
	if in.images, err = layout.OpenContents(ctx, src, ref, v.manifest); err == nil {
		j.Inside, err = in.list(ctx)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s says that they are inside", err, artifact.LabelImagesDigest)
	}
	if err != nil && ctx.Err() == nil {
		j.Problem = err.Error()
		env.note("%s: %v", j.Platform, err)
		return nil
	}
	return err
}
