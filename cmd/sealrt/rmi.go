package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

func newRmi(env *environment) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rmi [flags] REF...",
		Short: "Remove images from the store",
		Long: `Remove names from the store, and the blobs that no other image needs. The names
removed are printed, a line each. REF may be a digest, or the beginning of one:
an image that has several names is then removed with --force only. What signs or
describes an image goes with its last name.`,
		Example: "  sealrt rmi k3s:v1.25.2\n  sealrt rmi --force 4f2a9c81d0e7",
		Args:    needArgs("an image reference", 1, -1),
		RunE:    func(cmd *cobra.Command, args []string) error { return rmi(cmd.Context(), env, args, force) },
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove all names of an image that is given by its digest")
	return cmd
}

// rmi removes every name that there is, and reports all that there are not.
func rmi(ctx context.Context, env *environment, args []string, force bool) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	var errs []error
	removed := false
	for _, arg := range args {
		names, err := doomedNames(ctx, store, arg, force)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, n := range names {
			if err := store.Untag(ctx, n.Ref); err != nil {
				errs = append(errs, err)
				continue
			}
			removed = true
			if _, err := fmt.Fprintln(env.stdout, n.Ref.Familiar()); err != nil {
				return err
			}
		}
	}
	if !removed {
		return errors.Join(errs...)
	}
	freed, err := store.Sweep(ctx)
	switch {
	case errors.Is(err, artifact.ErrBusy):
		env.note("%v; a later rmi or prune frees the space", err)
	case err != nil:
		errs = append(errs, err)
	default:
		env.note("%s freed", sizeText(freed))
	}
	return errors.Join(errs...)
}

// doomedNames returns the names that an argument of rmi means.
func doomedNames(ctx context.Context, store *store.Store, arg string, force bool) ([]artifact.Named, error) {
	names, err := findNames(ctx, store, arg)
	if err == nil && len(names) > 1 && !force {
		err = fmt.Errorf("%s has %d names, %s: give the one to remove, or --force for all", arg, len(names), listNames(names))
	}
	return names, err
}
