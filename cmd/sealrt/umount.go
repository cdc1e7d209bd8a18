package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/mount"
	"github.com/sealrt/sealrt/artifact/store"
)

func newUmount(env *environment) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "umount [flags] REF|DIR...",
		Aliases: []string{"unmount"},
		Short:   "End what mount began",
		Long: `Unmount images, each named as mount was told or by the directory that it printed.
The directories are printed. The unpacked layers stay for the next mount, until
prune.`,
		Example: "  sealrt umount k3s:v1.25.3\n  sealrt umount --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usageError{errors.New("umount: name images or directories, or --all")}
			}
			return umount(cmd.Context(), env, args)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "unmount all images of the store")
	return cmd
}

// umount ends the mounts that args name, or all; one that cannot be ended does
// not keep the others.
func umount(ctx context.Context, env *environment, args []string) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	mounts := mount.Of(store)
	mounted, err := mounts.List(ctx)
	if err != nil {
		return err
	}
	var dirs []string
	var errs []error
	for _, arg := range args {
		found, err := mountsOf(ctx, store, mounted, arg)
		dirs, errs = append(dirs, found...), append(errs, err)
	}
	for _, i := range mounted {
		if len(args) == 0 && !i.Elsewhere {
			dirs = append(dirs, i.Dir)
		}
	}
	for _, dir := range dirs {
		if err := mounts.Unmount(ctx, dir); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := fmt.Fprintln(env.stdout, dir); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// mountsOf returns the directories that a user means: one, or those of an image
// for all platforms.
func mountsOf(ctx context.Context, store *store.Store, mounted []mount.Mounted, arg string) ([]string, error) {
	if info, err := os.Stat(arg); err == nil {
		for _, i := range mounted {
			if at, err := os.Stat(i.Dir); err == nil && os.SameFile(info, at) {
				return []string{i.Dir}, nil
			}
		}
	}
	ref, err := artifact.ParseReference(arg)
	if err != nil {
		return nil, notMounted(arg)
	}
	digests := map[v1.Hash]bool{}
	if d, err := store.Resolve(ctx, ref); err == nil { // by another name
		digests[d.Digest] = true
	}
	var dirs []string
	for _, i := range mounted {
		if i.Ref == ref || digests[i.Digest] {
			dirs = append(dirs, i.Dir)
		}
	}
	if len(dirs) == 0 {
		return nil, notMounted(arg)
	}
	return dirs, nil
}

func notMounted(arg string) error {
	return fmt.Errorf("umount %s: %w: `sealrt mount` lists what is", arg, mount.ErrNotMounted)
}
