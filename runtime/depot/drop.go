package depot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// Keeping says what a host needs once it is installed.
type Keeping struct {
	Images []v1.Hash // manifests of the cluster images in use
	// Handed says that the container runtime has the container images, and that
	// other hosts have them too: their blobs go.
	Handed bool
}

// busyTime is how long Drop waits for who is adding blobs.
const busyTime = time.Minute

// Drop removes what is not needed any more, and returns the bytes freed: images
// that are not in use, with what they alone needed; of the others the layers,
// which are unpacked, and if k says so the container images. What is not part
// of a cluster image, and has a name in the store, stays. An image in use that
// is not adopted is an error.
func (d *Depot) Drop(ctx context.Context, k Keeping) (freed int64, err error) {
	err = d.alone(ctx, func() error {
		freed, err = d.drop(ctx, k)
		return err
	})
	if err != nil {
		return freed, fmt.Errorf("drop what is not needed any more: %w", err)
	}
	return freed, nil
}

// split returns the records in use and the others.
func (d *Depot) split(k Keeping) (used, others []record, err error) {
	all, err := d.records()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		if slices.Contains(k.Images, r.Manifest.Digest) {
			used = append(used, r)
		} else {
			others = append(others, r)
		}
	}
	for _, h := range k.Images {
		i := slices.IndexFunc(used, func(r record) bool { return r.Manifest.Digest == h })
		if i < 0 || !d.shows(used[i]) {
			return nil, nil, fmt.Errorf("image %s is not adopted: %w", h, artifact.ErrNotFound)
		}
	}
	return used, others, nil
}

// Superfluous reports whether Drop would find something to remove.
func (d *Depot) Superfluous(ctx context.Context, k Keeping) (bool, error) {
	used, others, err := d.split(k)
	if errors.Is(err, artifact.ErrNotFound) {
		return true, nil // it is about to be adopted
	}
	if err != nil || len(others) > 0 {
		return true, err
	}
	for _, r := range used {
		if k.Handed && !r.Handed && len(r.Images) > 0 {
			return true, nil
		}
	}
	blobs, err := d.store.Inventory(ctx)
	if err != nil {
		return false, err
	}
	needed := needed(used, k)
	for _, r := range used {
		for _, l := range r.Layers {
			if slices.Contains(blobs, l.Digest) && !needed[l.Digest] {
				return true, nil
			}
		}
	}
	return false, nil
}

// needed are the blobs that the images in use cannot do without.
func needed(used []record, k Keeping) map[v1.Hash]bool {
	keep := map[v1.Hash]bool{}
	for _, r := range used {
		keep[r.Manifest.Digest], keep[r.Config.Digest] = true, true
		for _, b := range r.Images {
			keep[b.Digest] = keep[b.Digest] || !k.Handed
		}
	}
	return keep
}

func (d *Depot) drop(ctx context.Context, k Keeping) (freed int64, err error) {
	used, others, err := d.split(k)
	if err != nil {
		return 0, err
	}
	for _, r := range used {
		if !k.Handed || r.Handed || len(r.Images) == 0 {
			continue
		}
		r.Handed = true // before the blobs go
		if err := d.keep(r); err != nil {
			return 0, err
		}
	}
	d.reach("handed")
	for _, r := range others {
		if err := d.disown(ctx, r); err != nil {
			return 0, err
		}
	}
	layers, err := d.mounts().Prune(ctx)
	if err != nil {
		return 0, err
	}
	if err := d.unlink(); err != nil {
		return 0, err
	}
	keep := needed(used, k)
	for give := time.Now().Add(busyTime); ; {
		blobs, err := d.store.SweepBut(ctx, func(h v1.Hash) bool { return keep[h] })
		if !errors.Is(err, artifact.ErrBusy) || time.Now().After(give) {
			return layers + blobs, err
		}
		select {
		case <-ctx.Done():
			return layers, context.Cause(ctx)
		case <-time.After(disk.LockPoll):
		}
	}
}

// disown takes an image's tree away. Its record goes last.
func (d *Depot) disown(ctx context.Context, r record) error {
	h := r.Manifest.Digest
	if err := d.unmount(ctx, h); err != nil {
		return err
	}
	if err := disk.RemoveTree(d.Rootfs(h)); err != nil {
		return err
	}
	return os.Remove(d.recordPath(h))
}
