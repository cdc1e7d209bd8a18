package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newLoad(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "load [flags] FILE...",
		Short: "Read images from archives",
		Long: `Read the images of OCI archives into the store, compressed or not; - is standard
input. Everything is verified. The references loaded are printed, a line each.`,
		Example: "  sealrt load k3s.tar\n  ssh host sealrt save k3s:v1.25.3 -o - | sealrt load -",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && isTerminal(env.stdin) {
				return errors.New("load: a file is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"-"}
			}
			store, err := env.openStore()
			if err != nil {
				return err
			}
			for _, file := range args {
				if err := load(cmd.Context(), env, store, file); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// load reads one archive.
func load(ctx context.Context, env *environment, store *artifact.Store, file string) error {
	r, err := openInput(ctx, env, file)
	if err != nil {
		return fmt.Errorf("load archive: %w", err)
	}
	defer r.Close()
	loaded, err := artifact.Receive(ctx, store, r, env.progress())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, n := range loaded {
		if _, err := fmt.Fprintln(env.stdout, n.Ref.Familiar()); err != nil {
			return err
		}
	}
	return nil
}

// openInput opens a file, or standard input for -. Waiting for the other end of
// standard input stops with ctx.
func openInput(ctx context.Context, env *environment, file string) (io.ReadCloser, error) {
	if file != "-" {
		return os.Open(file)
	}
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() { // a read that blocks cannot be stopped; this one ends with the process
		_, err := io.CopyBuffer(w, struct{ io.Reader }{env.stdin}, make([]byte, 256<<10))
		w.CloseWithError(err)
	}()
	return r, nil
}
