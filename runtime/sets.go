package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime/depot"
	"github.com/sealrt/sealrt/runtime/host"
)

// imageSets are the lists of blobs of images, each read once however many hosts
// get the image.
type imageSets struct {
	mu   sync.Mutex
	sets map[string]*depot.Set
}

func (s *imageSets) of(ctx context.Context, src artifact.Source, name, digest string) (*depot.Set, error) {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, err
	}
	h, err := v1.NewHash(digest)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.sets[digest]; set != nil {
		return set, nil
	}
	set, err := depot.SetOf(ctx, src, ref.WithDigest(h))
	if err != nil {
		return nil, err
	}
	if s.sets == nil {
		s.sets = map[string]*depot.Set{}
	}
	s.sets[digest] = set
	return set, nil
}

// Measure returns the images with how much room each takes on a host while it
// gets there, where its blobs are at hand. What is wrong with an image is told
// by the step that brings it.
func (e *Engine) Measure(ctx context.Context, images []Image) []Image {
	out := slices.Clone(images)
	if e.Images == nil {
		return out
	}
	for n, i := range out {
		if set, err := e.sets.of(ctx, e.Images, i.Ref.String(), i.Digest); err == nil {
			out[n].Peak, _ = set.Needed(true)
		}
	}
	return out
}

// missing asks the host what it lacks of a set: the blobs, each with how much
// of it is there.
func (t *target) missing(ctx context.Context, set *depot.Set) (map[v1.Hash]int64, error) {
	var list, out bytes.Buffer
	for _, b := range set.Blobs() {
		if err := json.NewEncoder(&list).Encode(b); err != nil {
			return nil, err
		}
	}
	argv := []string{HelperPath, "host", "missing", "--root", StoreDir, "-q"}
	if err := t.Run(ctx, host.Command{Argv: argv, Stdin: &list, Stdout: &out}); err != nil {
		return nil, fmt.Errorf("ask what is missing: %w", err)
	}
	wants := map[v1.Hash]int64{}
	for dec := json.NewDecoder(&out); ; {
		var w struct {
			Digest v1.Hash
			Offset int64
			Spent  bool
		}
		switch err := dec.Decode(&w); {
		case errors.Is(err, io.EOF):
			return wants, nil
		case err != nil:
			return nil, fmt.Errorf("ask what is missing: %w", err)
		}
		if !w.Spent {
			wants[w.Digest] = w.Offset
		}
	}
}

// adopt shows the tree of an image whose blobs the host has.
func (t *target) adopt(ctx context.Context, l depot.Listing) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return t.work(ctx, host.Command{Argv: []string{HelperPath, "host", "adopt"}, Stdin: bytes.NewReader(raw)})
}
