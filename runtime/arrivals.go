package runtime

import (
	"context"
	"fmt"
)

// arrival is something that is sent to a host.
type arrival struct {
	digest string
	size   int64 // bytes
	shared bool  // another host may have it, and pass it on
}

// arriver is an action that sends something to the host.
type arriver interface {
	// arrivals returns what the host lacks. It changes nothing.
	arrivals(ctx context.Context, t *target) ([]arrival, error)
}

// arrivals returns what the steps send to the host, each once.
func (t *target) arrivals(ctx context.Context, steps []Step) ([]arrival, error) {
	var out []arrival
	seen := map[string]bool{}
	for _, s := range steps {
		if file, ok := s.Do.(Write); ok {
			out = append(out, arrival{size: int64(len(file.Data))})
		}
		a, ok := s.Do.(arriver)
		if !ok {
			continue
		}
		found, err := a.arrivals(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.ID, err)
		}
		for _, f := range found {
			if f.shared && seen[f.digest] {
				continue
			}
			seen[f.digest] = true
			out = append(out, f)
		}
	}
	return out, nil
}

func (Helper) arrivals(ctx context.Context, t *target) ([]arrival, error) {
	platform, err := t.platform(ctx)
	if err != nil {
		return nil, err
	}
	ours, err := t.engine.helperFor(platform.OS, platform.Architecture)
	return []arrival{{digest: ours.sum, size: ours.size, shared: true}}, err
}

// arrivals are the blobs of the image that the host lacks: all of them where it
// has no sealrt to ask.
func (a Load) arrivals(ctx context.Context, t *target) ([]arrival, error) {
	if t.engine.Images == nil {
		return nil, nil
	}
	set, err := t.engine.sets.of(ctx, t.engine.Images, a.Ref, a.Digest)
	if err != nil {
		return nil, err
	}
	var out []arrival
	wants, err := t.missing(ctx, set)
	if _, exited := exitCode(err); err != nil && !exited {
		return nil, err
	}
	if err != nil { // it has no sealrt, or an old one
		for _, b := range set.Blobs() {
			out = append(out, arrival{digest: b.Digest.String(), size: b.Size, shared: true})
		}
		return out, nil
	}
	for _, b := range set.Blobs() {
		if offset, lacks := wants[b.Digest]; lacks {
			out = append(out, arrival{digest: b.Digest.String(), size: b.Size - offset, shared: true})
		}
	}
	return out, nil
}
