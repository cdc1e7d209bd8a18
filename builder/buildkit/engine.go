package buildkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder"
)

// Engine carries out RUN commands on a BuildKit daemon. It implements builder.Runner.
type Engine struct {
	client    *client.Client
	address   string
	store     *store.Store
	observe   func(*client.SolveStatus)
	platforms []v1.Platform // that the daemon runs programs of, its own first
	tools     *tools        // nil: none
}

var _ builder.Runner = (*Engine)(nil)

// Options says what an Engine works with.
type Options struct {
	// Store holds the layers of the trees that commands work on. It stays the caller's.
	Store *store.Store
	// TLS is for daemons at a tcp address.
	TLS TLS
	// Tools names the image whose programs work on trees that have no shell, in Store or else in ToolsFrom. The zero value
	// is none: such a command is an error then.
	Tools artifact.Reference
	// ToolsFrom is where Tools is unless it is in Store: a registry, an archive, a store. May be nil.
	ToolsFrom artifact.Source
	// Observe gets what the daemon says of the work, the log of commands included, for a display. It is called by one
	// goroutine a command and must not keep it waiting. May be nil.
	Observe func(*client.SolveStatus)
}

// Open connects to the daemon at address, which ParseAddress reads, and makes sure that it answers and can run commands.
// The caller closes the engine.
func Open(ctx context.Context, address string, o Options) (*Engine, error) {
	address, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	e, err := open(ctx, address, o)
	if err != nil {
		return nil, fmt.Errorf("BuildKit daemon at %s: %w", address, err)
	}
	return e, nil
}

func open(ctx context.Context, address string, o Options) (_ *Engine, err error) {
	opts, err := o.TLS.clientOptions(address)
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, address, opts...)
	if err != nil {
		return nil, err
	}
	e := &Engine{client: c, address: address, store: o.Store, observe: o.Observe}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	workers, err := c.ListWorkers(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: is it running, and may you talk to it?", err)
	}
	for _, w := range workers {
		for _, p := range w.Platforms {
			e.platforms = append(e.platforms, v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
		}
	}
	if len(e.platforms) == 0 {
		return nil, errors.New("it has no worker that runs commands: start it with --oci-worker=true or --containerd-worker=true")
	}
	if !o.Tools.IsZero() {
		if e.tools, err = findTools(ctx, o.Store, o.ToolsFrom, o.Tools); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Close ends the connection. Commands under way are cancelled.
func (e *Engine) Close() error { return e.client.Close() }

// Platforms returns the platforms whose programs the daemon runs, its own first, emulated ones included.
func (e *Engine) Platforms() []v1.Platform { return slices.Clone(e.platforms) }

// Identity implements builder.Runner. Where the daemon is makes no difference.
func (e *Engine) Identity(_ context.Context, c builder.Command) (string, error) {
	if c.HasShell {
		return "buildkit", nil
	}
	if e.tools == nil {
		return "", errNoTools
	}
	return "buildkit tools@" + e.tools.digest.String(), nil
}

// platform returns the platform of a command, the daemon's own when it names none, or an error when the daemon cannot
// run its programs.
func (e *Engine) platform(p v1.Platform) (ocispecs.Platform, error) {
	if p.OS == "" && p.Architecture == "" {
		p = e.platforms[0]
	}
	var all []string
	for _, have := range e.platforms {
		if artifact.MatchPlatform(have, p) {
			return platforms.Normalize(ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}), nil
		}
		all = append(all, have.String())
	}
	return ocispecs.Platform{}, fmt.Errorf("the BuildKit daemon at %s runs programs for %s, not for %s: "+
		"use a daemon on such a machine, or register an emulator (binfmt_misc) on that one", e.address, strings.Join(all, ", "), p)
}
