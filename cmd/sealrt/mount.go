package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/mount"
)

func newMount(env *environment) *cobra.Command {
	var output, platform string
	cmd := &cobra.Command{
		Use:   "mount [flags] [REF]",
		Short: "Show the tree of an image as a directory, without a copy",
		Long: `Mount the tree of an image of the store, read-only, and print the directory. Its
layers are unpacked once, beside the store, and shared by all images that have
them: what is mounted again is there at once. The directory stays until umount,
or until the machine is restarted; prune removes the unpacked layers that
nobody uses. Without REF, list what is mounted.

It takes Linux, and root or a user namespace; anybody can unpack an image.`,
		Example: "  sealrt mount k3s:v1.25.3\n  ls $(sealrt mount k3s:v1.25.3)/bin",
		Args:    needArgs("an image reference", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return mountImage(cmd.Context(), env, args[0], platform)
			}
			return listMounts(cmd.Context(), env, output == "json")
		},
	}
	onPlatform(cmd, &platform)
	outputFlag(cmd, &output)
	return cmd
}

func mountImage(ctx context.Context, env *environment, arg, platform string) error {
	n, v, err := storedVariant(ctx, env, arg, platform)
	if err != nil {
		return err
	}
	store, err := env.openStore()
	if err != nil {
		return err
	}
	dir, err := mount.Of(store).Mount(ctx, n.Ref, v.desc.Digest, v.manifest)
	if errors.Is(err, mount.ErrPermission) {
		return fmt.Errorf("%w; `sealrt unpack %s DIR` writes the same tree", err, n.Ref.Familiar())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, dir)
	return err
}

// storedVariant reads an image of the store for one platform: the one that is
// named, or this machine's.
func storedVariant(ctx context.Context, env *environment, arg, platform string) (artifact.Named, variant, error) {
	n, versions, err := storedImage(ctx, env, arg)
	if err != nil {
		return n, variant{}, err
	}
	if platform == "" {
		return n, forThisMachine(versions), nil
	}
	want, err := parsePlatforms([]string{platform})
	if err != nil {
		return n, variant{}, err
	}
	fit, err := matching(n.Ref, versions, want[0])
	if err != nil {
		return n, variant{}, err
	}
	return n, fit[0], nil
}

// mountJSON is one line of mount.
type mountJSON struct {
	Ref       string `json:"ref"`
	Digest    string `json:"digest"` // of the manifest
	Dir       string `json:"dir"`
	Elsewhere bool   `json:"elsewhere,omitempty"` // in another mount namespace, where dir has the tree
}

func listMounts(ctx context.Context, env *environment, asJSON bool) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	mounted, err := mount.Of(store).List(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		list := []mountJSON{}
		for _, i := range mounted {
			list = append(list, mountJSON{i.Ref.Familiar(), i.Digest.String(), i.Dir, i.Elsewhere})
		}
		return printJSON(env, list)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tDIRECTORY")
	for _, i := range mounted {
		dir := i.Dir
		if i.Elsewhere {
			dir += " (in another mount namespace)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", i.Ref.Familiar(), shortDigest(i.Digest), dir)
	}
	return w.Flush()
}
