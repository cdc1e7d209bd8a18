package runtime

import (
	"context"
	"fmt"
)

// Withdraw takes an image that was loaded away from the host: its tree, what its
// templates became, and the blobs that none of the images which stay needs.
type Withdraw struct {
	Ref      string
	Digest   string
	Rootfs   string
	Rendered string
	Files    []string `json:",omitempty"` // archives of its container images, where the distribution reads them
	Stay     []string // digests of the manifests of the other images
	// Forget are the IDs of the steps that were done for the image: when it comes
	// again, they are done again.
	Forget []string
}

func (a Withdraw) String() string {
	return fmt.Sprintf("drop %s (%s) and %s", a.Ref, short(a.Digest), a.Rootfs)
}

func (Withdraw) footprint() footprint { return footprint{} }

// holds: without a tree there is nothing of the image, since it goes last.
func (a Withdraw) holds(ctx context.Context, t *target) (bool, error) {
	there, err := t.exists(ctx, a.Rootfs)
	return !there, err
}

func (a Withdraw) apply(ctx context.Context, t *target) error {
	var forgotten []entry
	for _, id := range a.Forget {
		if t.ledger.knows(id) && !t.ledger.broken(id) {
			forgotten = append(forgotten, entry{Cluster: t.engine.Cluster, Step: id, State: stateDrifted})
		}
	}
	if err := t.ledger.write(ctx, t.Host, forgotten...); err != nil {
		return err
	}
	if err := (Remove{Paths: append([]string{a.Rendered}, a.Files...)}).apply(ctx, t); err != nil {
		return err
	}
	return Drop{Images: a.Stay}.apply(ctx, t)
}
