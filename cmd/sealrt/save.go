package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newSave(env *environment) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "save [flags] REF... -o FILE",
		Short: "Write images to an archive",
		Long: `Write images of the store to one OCI archive; - is standard output. Blobs that
several images share are in it once, and the same images give the same bytes.`,
		Example: "  sealrt save k3s:v1.25.3 -o k3s.tar\n  sealrt save k3s:v1.25.3 -o - | ssh host sealrt load -",
		Args:    needArgs("an image reference", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usageError{errors.New("save: -o FILE is missing")}
			}
			store, refs, err := env.stored(cmd.Context(), args)
			if err != nil {
				return err
			}
			return saveArchive(cmd.Context(), env, store, refs, file)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the archive, a `FILE` or -")
	return cmd
}

// saveArchive writes images to a file, which appears when it is complete, or to
// standard output.
func saveArchive(ctx context.Context, env *environment, store *artifact.Store, refs []artifact.Reference, file string) error {
	if file == "-" {
		if isTerminal(env.stdout) {
			return usageError{errors.New("save: an archive is nothing for a terminal: name a file, or a pipe")}
		}
		return artifact.WriteArchive(ctx, env.stdout, store, refs, env.copyOptions())
	}
	fi, err := os.Stat(file)
	if err == nil && fi.IsDir() {
		return fmt.Errorf("save to %s: this is a directory: name a file in it", file)
	}
	if err == nil && !fi.Mode().IsRegular() {
		return writeDevice(ctx, env, store, refs, file)
	}
	return artifact.SaveArchive(ctx, file, store, refs, env.copyOptions())
}

// writeDevice writes to what cannot be replaced by a file, such as a pipe.
func writeDevice(ctx context.Context, env *environment, store *artifact.Store, refs []artifact.Reference, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	if err := artifact.WriteArchive(ctx, f, store, refs, env.copyOptions()); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
