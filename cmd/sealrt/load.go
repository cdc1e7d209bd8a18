package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/artifact/store"
)

func newLoad(env *environment) *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use:   "load [flags] FILE...",
		Short: "Read images from archives",
		Long: `Read the images of OCI archives into the store, compressed or not; - is standard
input. Everything is verified. The references loaded are printed, a line each.
A file of docker save that is not compressed is taken too.

Volumes that sealrt save --split wrote load in any order: all at once, as FILE or
FILE.001 FILE.002, or one disc after the other. Of a delta that lacks what it
adds to, the message names that.

With --list nothing is loaded: what the archives hold and presume is printed.`,
		Example: `  sealrt load k3s.tar
  ssh host sealrt save k3s:v1.25.3 -o - | sealrt load -
  sealrt load /media/k3s.tar.001`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && (list || isTerminal(env.stdin)) {
				return errors.New("load: a file is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return listArchives(cmd.Context(), env, args)
			}
			if len(args) == 0 {
				args = []string{"-"}
			}
			return loadAll(cmd.Context(), env, args)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "load nothing, print what is in the archives and what they presume")
	return cmd
}

// loadAll reads archives, in their order, and then the volumes among them.
func loadAll(ctx context.Context, env *environment, args []string) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	var volumes []string
	for _, file := range args {
		more, err := volumesOf(file)
		if err != nil {
			return err
		}
		if volumes = append(volumes, more...); len(more) > 0 {
			continue
		}
		loaded, err := load(ctx, env, store, file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := printLoaded(env, loaded); err != nil {
			return err
		}
	}
	if len(volumes) == 0 {
		return nil
	}
	loaded, err := archive.LoadVolumes(ctx, store, volumes, env.progress())
	if err != nil {
		return err
	}
	return printLoaded(env, loaded)
}

// volumesOf returns the volumes that an argument means: itself, or all that have
// its name.
func volumesOf(file string) ([]string, error) {
	if archive.IsVolume(file) {
		return []string{file}, nil
	}
	return archive.Volumes(file)
}

func printLoaded(env *environment, loaded []artifact.Named) error {
	for _, n := range loaded {
		if _, err := fmt.Fprintln(env.stdout, n.Ref.Familiar()); err != nil {
			return err
		}
	}
	return nil
}

// load reads one archive.
func load(ctx context.Context, env *environment, store *store.Store, file string) ([]artifact.Named, error) {
	r, err := openInput(ctx, env, file)
	if err != nil {
		return nil, fmt.Errorf("load archive: %w", err)
	}
	defer r.Close()
	loaded, err := archive.Load(ctx, store, r, env.progress())
	if errors.Is(err, archive.ErrDocker) && file != "-" {
		return loadDocker(ctx, env, store, file)
	}
	return loaded, err
}

// loadDocker reads an archive of docker's own kind.
func loadDocker(ctx context.Context, env *environment, store *store.Store, file string) ([]artifact.Named, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	place, err := transport.Open(ctx, "docker-archive:"+file, transport.Options{TempDir: filepath.Join(store.Root(), "ingest")})
	if err != nil {
		return nil, fmt.Errorf("load archive: %w", err)
	}
	defer place.Close()
	list, err := place.Refs(ctx)
	if err != nil {
		return nil, fmt.Errorf("load archive: %w", err)
	}
	for _, n := range list {
		if _, err := artifact.Copy(ctx, store, n.Ref, place, n.Ref, env.copyOptions()); err != nil {
			return nil, fmt.Errorf("load archive: %w", err)
		}
	}
	return list, nil
}

// listArchives prints what archives hold, and what they presume.
func listArchives(ctx context.Context, env *environment, args []string) error {
	for _, file := range args {
		a, err := archive.Look(file)
		if err != nil {
			return err
		}
		defer a.Close()
		for _, n := range a.Refs() {
			fmt.Fprintf(env.stdout, "%s  %s  %s\n", n.Ref.Familiar(), n.Desc.Digest, sizeText(sizeIn(ctx, a, n)))
		}
		if v := a.Volumes(); v != "" {
			fmt.Fprintf(env.stdout, "volumes %s\n", v)
		}
		p := a.Presumes()
		if p == nil {
			continue
		}
		var sum int64
		for _, b := range p.Blobs {
			sum += b.Size
		}
		word := "blobs"
		if len(p.Blobs) == 1 {
			word = "blob"
		}
		fmt.Fprintf(env.stdout, "presumes %d %s, %s\n", len(p.Blobs), word, sizeText(sum))
		for _, i := range p.Images {
			fmt.Fprintf(env.stdout, "  of %s  %s\n", i.Name.Familiar(), i.Digest)
		}
	}
	return nil
}

// sizeIn returns the bytes of an image that are in an archive.
func sizeIn(ctx context.Context, a *archive.Archive, n artifact.Named) (sum int64) {
	list, _, err := artifact.Contents(ctx, a, n.Ref, n.Desc)
	if err != nil {
		return 0
	}
	for _, p := range list {
		if has, err := a.Has(ctx, n.Ref, p.Descriptor); err == nil && has {
			sum += p.Size
		}
	}
	return sum
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
