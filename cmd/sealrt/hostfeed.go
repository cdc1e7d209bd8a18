package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/runtime/depot"
)

// exitError is the exit code of a command that was run for the user.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// feeding is what the command is told.
type feeding struct {
	file   string
	format string
	names  []string
}

// newHostFeed makes the command that hosts run to import container images.
func newHostFeed(env *environment) *cobra.Command {
	var f feeding
	cmd := &cobra.Command{
		Use:   "feed IMAGE [--file FILE] [-- COMMAND [ARG...]]",
		Short: "Hand container images to a container runtime",
		Long: `Stream the container images of an adopted cluster image, which the digest of its
manifest names, or those of an images/ directory, as an archive into the standard
input of a command. Its output is passed on and its exit code obeyed. Archives that
the author of the image left in images/ follow, each into a command of its own.

With --file the archive becomes FILE, and the others lie beside it. A file appears
there when it is whole.`,
		Example: "  sealrt host feed sha256:0d5f… -- ctr -n k8s.io images import -",
		Args:    needArgs("an image and a command", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch argv := args[1:]; {
			case (f.file == "") == (len(argv) == 0):
				return usageError{errors.New("give either --file or a command")}
			case f.file != "" && !filepath.IsAbs(f.file):
				return usageError{errors.New("--file has to be an absolute path")}
			case strings.Contains(args[0], "/"):
				return f.directory(cmd.Context(), env, args[0], argv)
			default:
				return f.image(cmd.Context(), env, args[0], argv)
			}
		},
	}
	cmd.Flags().StringVar(&f.file, "file", "", "write the archive to `FILE`")
	cmd.Flags().Var(newChoice(&f.format, string(depot.FormatOCI), string(depot.FormatOCI), string(depot.FormatDocker)), "format", "what is written: an oci or docker archive")
	cmd.Flags().StringArrayVar(&f.names, "name", nil, "only the image with this full `NAME`; may be repeated")
	return cmd
}

// directory hands on the images of a directory.
func (f feeding) directory(ctx context.Context, env *environment, dir string, argv []string) error {
	return f.hand(ctx, env, argv, f.file, func(w io.Writer) error { return layout.WriteArchive(ctx, w, dir, f.names) })
}

// image hands on the images of an adopted cluster image.
func (f feeding) image(ctx context.Context, env *environment, digest string, argv []string) (err error) {
	list, err := hashes([]string{digest})
	if err != nil {
		return err
	}
	d, err := openDepot(env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	has, err := d.HasImages(list[0])
	if err != nil {
		return err
	}
	tarballs, err := d.Tarballs(list[0])
	if err != nil {
		return err
	}
	if has {
		platform := v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}
		err := f.hand(ctx, env, argv, f.file, func(w io.Writer) error {
			return d.WriteArchive(ctx, w, list[0], depot.Format(f.format), platform, f.names)
		})
		if there := errors.Is(err, depot.ErrHanded) && f.file != "" && isFile(f.file); err != nil && !there {
			return err // a file that is there is whole, and holds them
		}
	}
	for _, t := range tarballs {
		err := f.hand(ctx, env, argv, depot.Beside(f.file, t), func(w io.Writer) error { return copyTarball(w, t) })
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return nil
}

func isFile(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Mode().IsRegular()
}

func copyTarball(w io.Writer, path string) (err error) {
	r, err := depot.OpenTarball(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = io.Copy(w, r)
	return err
}

// hand makes a file, or the standard input of a command, of what write writes.
func (f feeding) hand(ctx context.Context, env *environment, argv []string, file string, write func(w io.Writer) error) error {
	if len(argv) == 0 {
		return depot.WriteFile(file, write)
	}
	return feed(ctx, env, argv, write)
}

// feed runs argv with what write writes as its standard input.
func feed(ctx context.Context, env *environment, argv []string, write func(w io.Writer) error) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdout, c.Stderr = env.stdout, env.stderr
	in, err := c.StdinPipe()
	if err != nil {
		return fmt.Errorf("feed %s: %w", argv[0], err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	written := write(in)
	if written != nil && !errors.Is(written, syscall.EPIPE) {
		// before its input ends: half an archive looks like a whole one. A
		// command that is gone already needs no killing.
		_ = c.Process.Kill()
	}
	in.Close()
	return fed(argv[0], written, c.Wait())
}

// fed tells the outcome. A command that ended by itself knows best why; it may
// have closed its input because of that.
func fed(name string, written, ended error) error {
	var exit *exec.ExitError
	switch {
	case errors.As(ended, &exit) && exit.ExitCode() > 0:
		return fmt.Errorf("feed %s: %w", name, exitError(exit.ExitCode()))
	case written != nil:
		return fmt.Errorf("feed %s: %w", name, written)
	case ended != nil:
		return fmt.Errorf("feed %s: %w", name, ended)
	}
	return nil
}
