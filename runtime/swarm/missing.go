package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Missing reads descriptors, a JSON value each, and writes which of the blobs
// the host lacks and from which byte on.
func Missing(ctx context.Context, in io.Reader, out io.Writer, k Keeper) error {
	var blobs []v1.Descriptor
	dec := json.NewDecoder(in)
	for {
		var d v1.Descriptor
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the list of blobs: %w", err)
		}
		blobs = append(blobs, d)
	}
	wants, err := k.Missing(ctx, blobs)
	if err != nil {
		return err
	}
	say := answers{w: out}
	lacks := map[v1.Hash]bool{}
	for _, w := range wants {
		lacks[w.Descriptor.Digest] = true
		if err := say.say(wantLine{Digest: w.Descriptor.Digest, Offset: w.Offset}); err != nil {
			return err
		}
	}
	for _, d := range blobs {
		if lacks[d.Digest] {
			continue
		}
		blob, _, err := k.Blob(ctx, d.Digest)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = say.say(wantLine{Digest: d.Digest, Spent: true})
		case err == nil:
			err = blob.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
