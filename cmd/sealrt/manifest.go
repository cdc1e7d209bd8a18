package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/platforms"
)

// newManifest makes the command whose commands are about images for several
// platforms.
func newManifest(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest COMMAND",
		Short: "Make one image for several platforms of several images",
		Long: `Make one image for several platforms, an image index, of images for one each, as
they come from builders for each platform. build --platform with several platforms
makes such an image at once.`,
		Example: "  sealrt manifest create k3s:v1.25.3 k3s:v1.25.3-amd64 k3s:v1.25.3-arm64\n  sealrt manifest push k3s:v1.25.3 registry.example.com/k3s:v1.25.3",
		Args:    knownCommand,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("manifest: a command is missing")}
		},
	}
	cmd.AddCommand(newManifestCreate(env), newManifestAdd(env), newManifestInspect(env), newManifestPush(env), newManifestRm(env))
	return cmd
}

func newManifestCreate(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME REF...",
		Short: "Make an index of images of the store",
		Long: `Make NAME an index of images of the store, one for each platform, and print its
digest. Of a REF that is an index, all images are taken. The same images give the
same digest, in whatever order; what was called NAME before keeps no name, as with
tag. For which platform an image is, it states itself.`,
		Example: "  sealrt manifest create k3s:v1.25.3 k3s:v1.25.3-amd64 k3s:v1.25.3-arm64",
		Args:    needArgs("a name for the index and an image reference", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := indexName("create", args[0])
			if err != nil {
				return err
			}
			store, refs, err := env.stored(cmd.Context(), args[1:])
			if err != nil {
				return err
			}
			d, err := platforms.Create(cmd.Context(), store, name, refs)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, d.Digest)
			return err
		},
	}
}

func newManifestAdd(env *environment) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "add [flags] NAME REF...",
		Short: "Add images to an index",
		Long: `Add images of the store to the index NAME of the store, and print its new digest.
An image for a platform that NAME has already is refused, unless --replace puts it
in the place of that one.`,
		Example: "  sealrt manifest add k3s:v1.25.3 k3s:v1.25.3-riscv64",
		Args:    needArgs("the name of an index and an image reference", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := indexName("add", args[0]); err != nil {
				return err
			}
			store, refs, err := env.stored(cmd.Context(), args)
			if err != nil {
				return err
			}
			d, err := platforms.Add(cmd.Context(), store, refs[0], refs[1:], replace)
			if errors.Is(err, platforms.ErrNoIndex) {
				return fmt.Errorf("%w: `sealrt manifest create NAME %s ...` makes one", err, refs[0].Familiar())
			}
			if errors.Is(err, platforms.ErrRivals) {
				return fmt.Errorf("%w, or pass --replace", err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, d.Digest)
			return err
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the images for the same platforms")
	return cmd
}

// indexName reads the name that an index is to have.
func indexName(verb, arg string) (artifact.Reference, error) {
	refs, err := parseRefs([]string{arg})
	if err != nil {
		return artifact.Reference{}, err
	}
	if _, pinned := refs[0].Digest(); pinned {
		return refs[0], usageError{fmt.Errorf("manifest %s: the name %s cannot have a digest: what it names changes", verb, arg)}
	}
	return refs[0], nil
}

func newManifestInspect(env *environment) *cobra.Command {
	var remote, raw bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] REF",
		Short: "Print an index or manifest as it is",
		Long: `Print the index of an image, or the manifest of one for a single platform, as JSON.
REF is in the store, an archive (oci-archive:FILE), or with --remote in its
registry.`,
		Example: "  sealrt manifest inspect k3s:v1.25.3\n  sealrt manifest inspect --remote --raw registry.example.com/k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := inspectFlags{remote: remote}
			return printManifest(cmd.Context(), env, o, args[0], raw)
		},
	}
	cmd.Flags().BoolVar(&remote, "remote", false, "read it in its registry")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the very bytes that the digest is of")
	env.registryFlags(cmd.Flags())
	return cmd
}

func printManifest(ctx context.Context, env *environment, o inspectFlags, arg string, raw bool) error {
	ref, src, err := o.find(ctx, env, arg)
	if err != nil {
		return err
	}
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	text, err := artifact.ReadManifest(ctx, src, ref, d)
	if err != nil {
		return err
	}
	if !raw {
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil {
			return fmt.Errorf("%s: manifest %s: %w", ref.Familiar(), d.Digest, err)
		}
		text = append(b.Bytes(), '\n')
	}
	_, err = env.stdout.Write(text)
	return err
}

func newManifestPush(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push [flags] NAME [DEST]",
		Short: "Send an index and all its images to a registry",
		Long: `Send an index of the store and all its images to its registry, or to DEST, as push
does. The digest is printed.`,
		Example: "  sealrt manifest push k3s:v1.25.3 registry.example.com/k3s:v1.25.3",
		Args:    needArgs("the name of an index", 1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, refs, err := env.stored(cmd.Context(), args[:1])
			if err != nil {
				return err
			}
			if err := platforms.Require(cmd.Context(), store, refs[0]); errors.Is(err, platforms.ErrNoIndex) {
				return fmt.Errorf("manifest push: %w: `sealrt push` sends it", err)
			} else if err != nil {
				return err
			}
			return push(cmd.Context(), env, args)
		},
	}
	env.registryFlags(cmd.Flags())
	return cmd
}

func newManifestRm(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove indexes from the store",
		Long: `Remove the names of indexes from the store, and the blobs that no other image
needs. Images of theirs that have a name of their own stay. The names removed are
printed, a line each.`,
		Example: "  sealrt manifest rm k3s:v1.25.3",
		Args:    needArgs("the name of an index", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requireIndexes(cmd.Context(), env, args); err != nil {
				return err
			}
			return rmi(cmd.Context(), env, args, false)
		},
	}
}

// requireIndexes refuses names of what is no index. When it returns, the store is
// not held any more: this process would be in the way of its own rmi.
func requireIndexes(ctx context.Context, env *environment, args []string) (err error) {
	refs, err := parseRefs(args)
	if err != nil {
		return err
	}
	store, err := env.openStore()
	if err != nil {
		return err
	}
	release, err := store.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, ref := range refs {
		err := platforms.Require(ctx, store, ref)
		switch {
		case errors.Is(err, platforms.ErrNoIndex):
			return fmt.Errorf("manifest rm: %w: `sealrt rmi` removes it", err)
		case errors.Is(err, artifact.ErrNotFound):
			return fmt.Errorf("%w: `sealrt images` lists what is there", err)
		case err != nil:
			return err
		}
	}
	return nil
}
