package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/grpcerrors"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// Run implements builder.Runner. When ctx ends, the daemon kills the command. A network that is "" is the one that the
// daemon gives commands; sandbox.NetworkHost is that of its machine, which it has to allow.
func (e *Engine) Run(ctx context.Context, c builder.Command) (*builder.Changes, error) {
	d, err := e.define(ctx, c)
	if err != nil {
		return nil, err
	}
	received := newReceiver(e.store)
	defer received.close()
	for _, l := range c.Layers {
		received.known[digest.Digest(l.Digest.String())] = l.Size
	}
	manifest, err := e.solve(ctx, c, d, received)
	if err != nil {
		return nil, e.explain(ctx, err)
	}
	archive, err := received.newLayer(ctx, manifest, c)
	if err != nil {
		return nil, fmt.Errorf("BuildKit daemon at %s: %w", e.address, err)
	}
	if archive == nil {
		return &builder.Changes{Close: func() error { return nil }}, nil
	}
	entries, err := readEntries(ctx, archive)
	if err == nil {
		entries, err = withoutStubs(ctx, e.store, c, d.targets, entries)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("result of BuildKit daemon at %s: %w", e.address, err), archive.Close())
	}
	return &builder.Changes{Entries: entries, Close: archive.Close}, nil
}

// solve has the daemon carry the command out and send its result, and returns the digest of the result's manifest.
func (e *Engine) solve(ctx context.Context, c builder.Command, d *definition, to *receiver) (digest.Digest, error) {
	o := client.SolveOpt{
		OCIStores: map[string]content.Store{storeID: d.offer},
		Session:   []session.Attachable{secretsprovider.FromMap(d.secrets)},
		Exports: []client.ExportEntry{{
			Type:        client.ExporterOCI,
			OutputStore: to,
			Attrs: map[string]string{
				"tar":                                   "false",
				string(exptypes.OptKeyLayerCompression): "uncompressed", // it would be undone here at once
				string(exptypes.OptKeyForceCompression): "false",        // or the layers below would be sent, too
				string(exptypes.OptKeyOCITypes):         "true",
			},
		}},
	}
	if c.Network == sandbox.NetworkHost {
		o.AllowedEntitlements = []string{string(entitlements.EntitlementNetworkHost)}
	}
	statuses, logged := make(chan *client.SolveStatus), make(chan error, 1)
	go func() { logged <- e.follow(statuses, d.name, c.Log) }()
	resp, err := e.client.Solve(ctx, d.llb, o, statuses) // closes statuses
	logErr := <-logged
	if err != nil {
		return "", err
	}
	if logErr != nil {
		return "", fmt.Errorf("write the log: %w", logErr)
	}
	return digest.Parse(resp.ExporterResponse[exptypes.ExporterImageDigestKey])
}

// follow passes on what the daemon says of the work until statuses is closed, and what the vertex called name says to
// log. It returns the first error of log.
func (e *Engine) follow(statuses <-chan *client.SolveStatus, name string, log io.Writer) error {
	var vertexes []digest.Digest
	var failed error
	for s := range statuses {
		if e.observe != nil {
			e.observe(s)
		}
		for _, v := range s.Vertexes {
			if v.Name == name && !slices.Contains(vertexes, v.Digest) {
				vertexes = append(vertexes, v.Digest)
			}
		}
		for _, l := range s.Logs {
			if log == nil || failed != nil || !slices.Contains(vertexes, l.Vertex) {
				continue
			}
			_, failed = log.Write(l.Data)
		}
	}
	return failed
}

// explain turns the error of a solve into one of ours.
func (e *Engine) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *gateway.ExitError
	if errors.As(err, &exit) {
		return &sandbox.ExitError{Code: int(exit.ExitCode)}
	}
	// The daemon has no type for it.
	if text := err.Error(); strings.Contains(text, "network.host") && strings.Contains(text, "not allowed") {
		return fmt.Errorf("BuildKit daemon at %s refuses the host's network: leave out --network=host, "+
			"or start the daemon with --allow-insecure-entitlement network.host: %w", e.address, err)
	}
	if grpcerrors.Code(err) == codes.Unavailable {
		return fmt.Errorf("BuildKit daemon at %s: %w: see that it is running, and build again: what was finished is kept", e.address, err)
	}
	return fmt.Errorf("BuildKit daemon at %s: %w", e.address, err)
}
