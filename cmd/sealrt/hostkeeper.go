package main

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/depot"
	"github.com/sealrt/sealrt/runtime/swarm"
)

// openKeeper opens where this host has its blobs.
func openKeeper(env *environment) (swarm.Keeper, error) {
	d, err := openDepot(env)
	if err != nil {
		return nil, err
	}
	env.opened = append(env.opened, d)
	return depotKeeper{d}, nil
}

// depotKeeper keeps the blobs that travel in this host's depot.
type depotKeeper struct{ *depot.Depot }

// Missing implements swarm.Keeper.
func (k depotKeeper) Missing(ctx context.Context, blobs []v1.Descriptor) ([]swarm.Want, error) {
	list, err := k.Depot.Missing(ctx, blobs)
	wants := make([]swarm.Want, len(list))
	for i, w := range list {
		wants[i] = swarm.Want{Descriptor: w.Descriptor, Offset: w.Offset}
	}
	return wants, err
}
