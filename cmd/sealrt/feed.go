package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/sealrt/sealrt/artifact/airgap/layout"

	"github.com/spf13/cobra"
)

// exitError is the exit code of a command that was run for the user.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// newFeed makes the command that hosts run to import container images.
func newFeed(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:    "feed LAYOUT -- COMMAND [ARG...]",
		Short:  "Stream container images into the standard input of a command",
		Hidden: true,
		Long: `Stream the images/ directory of an unpacked cluster image, as an OCI archive, into
the standard input of a command. Its output is passed on and its exit code
obeyed.`,
		Example: "  sealrt feed /var/lib/sealrt/rootfs/images -- ctr -n k8s.io images import -",
		Args:    needArgs("a directory and a command", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return feed(cmd.Context(), env, args[0], args[1:])
		},
	}
}

// feed runs argv with the archive of the layout dir as its standard input.
func feed(ctx context.Context, env *environment, dir string, argv []string) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdout, c.Stderr = env.stdout, env.stderr
	in, err := c.StdinPipe()
	if err != nil {
		return fmt.Errorf("feed %s: %w", argv[0], err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	written := layout.WriteArchive(ctx, in, dir, nil)
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
