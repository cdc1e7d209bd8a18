// Command sandboxtest runs one command in the build sandbox of this machine: the sandbox.Config comes as JSON on standard
// input. Tests build it without cgo, as sealrt is built, so that it can run inside any tree.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealrt/sealrt/builder/sandbox"
)

func main() {
	if handled, code := sandbox.Main(); handled {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.Code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var c sandbox.Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	return sandbox.Run(ctx, c)
}
