package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newRmi(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:     "rmi REF...",
		Short:   "Remove images from the store",
		Long:    "Remove names from the store, and the blobs that no other image needs. The names\nremoved are printed, a line each.",
		Example: "  sealrt rmi k3s:v1.25.2",
		Args:    needArgs("an image reference", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseRefs(args)
			if err != nil {
				return err
			}
			return rmi(cmd.Context(), env, refs)
		},
	}
}

// rmi removes every name that there is, and reports all that there are not.
func rmi(ctx context.Context, env *environment, refs []artifact.Reference) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		if err := store.Untag(ctx, ref); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := fmt.Fprintln(env.stdout, ref.Familiar()); err != nil {
			return err
		}
	}
	if len(errs) == len(refs) {
		return errors.Join(errs...)
	}
	freed, err := store.Sweep(ctx)
	switch {
	case errors.Is(err, artifact.ErrBusy):
		env.note("another sealrt is at work in the store: the space is freed by a later rmi")
	case err != nil:
		errs = append(errs, err)
	default:
		env.note("%s freed", sizeText(freed))
	}
	return errors.Join(errs...)
}
