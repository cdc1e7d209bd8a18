package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/store"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// LoadVolumes is Load for volumes of one set, in any order. They need not be all: what they hold stays in the store, and
// the error says which volumes are still to be loaded, in calls of their own. Blobs that are divided grow in the store,
// at the place where they stay. A volume that is damaged, of another set or there twice is an error that names it.
func LoadVolumes(ctx context.Context, s *store.Store, paths []string, observe func(artifact.Event)) ([]artifact.Named, error) {
	return load(ctx, s, observe, func(l *loader) error {
		volumes, err := openSet(paths)
		if err != nil {
			return err
		}
		defer volumes.Close()
		return l.set(ctx, volumes)
	})
}

// set puts what is in the volumes at hand into the store.
func (l *loader) set(ctx context.Context, s *set) error {
	l.index, l.presumes = s.index, s.presumes
	if err := l.requirePresumed(ctx); err != nil {
		return err
	}
	whole, divided, err := l.sort(ctx, s)
	if err != nil {
		return err
	}
	err = putAll(ctx, whole, func(ctx context.Context, d v1.Descriptor) error { return l.putWhole(ctx, s, d) })
	for _, b := range divided {
		if err == nil {
			err = l.gather(ctx, s, b)
		}
	}
	if err != nil {
		return err
	}
	return l.requireVolumes(ctx, s)
}

// sort returns the blobs that the store lacks: those that can go there at once, and those of which only pieces are at
// hand, here or in the store. It asks whether there is room for all of it.
func (l *loader) sort(ctx context.Context, s *set) (whole []v1.Descriptor, divided []volumeBlob, err error) {
	var need int64
	for _, b := range s.plan.Blobs {
		d := b.descriptor()
		if has, err := l.s.Has(ctx, artifact.Reference{}, d); err != nil {
			return nil, nil, err
		} else if has {
			continue
		}
		kept := false
		for _, c := range b.Places {
			has, err := l.s.HasPiece(ctx, d, c.Offset, c.Size)
			if err != nil {
				return nil, nil, err
			}
			if kept = kept || has; !has && s.volumes[c.Volume-1] != nil {
				need += disk.OnDisk(c.Size)
			}
		}
		if s.extents(b) != nil && !kept {
			whole = append(whole, d)
		} else {
			divided = append(divided, b)
		}
	}
	if need > 0 {
		err = l.s.CheckSpace(need + disk.Reserve)
	}
	return whole, divided, err
}

// putWhole puts a blob into the store that is at hand as a whole.
func (l *loader) putWhole(ctx context.Context, s *set, d v1.Descriptor) error {
	i := slices.IndexFunc(s.plan.Blobs, func(b volumeBlob) bool { return b.Digest == d.Digest })
	b := s.plan.Blobs[i]
	err := l.put(ctx, join(s.extents(b), 0), d)
	if !isDamaged(err) {
		return err
	}
	var paths []string
	for _, c := range b.Places {
		if v := s.volumes[c.Volume-1]; v.verify(ctx, b.entry(c)) != nil {
			paths = append(paths, v.path)
		}
	}
	if len(paths) == 0 {
		paths = []string{s.present()[0].path}
	}
	return fmt.Errorf("volume %s: %w", strings.Join(paths, ", "), err)
}

// verify reads a file of a volume and compares it with its digest.
func (v *volume) verify(ctx context.Context, name string) error {
	return v.copy(ctx, io.Discard, name, func(int64) {})
}

// copy copies a file of a volume. Other bytes than those of its digest are an error that isDamaged.
func (v *volume) copy(ctx context.Context, w io.Writer, name string, tell func(int64)) error {
	e := v.entries[name]
	d := v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: v.sums[name]}, Size: e.size}
	if err := verified(ctx, w, join([]extent{e}, 0), d, tell); err != nil {
		return fmt.Errorf("volume %s: %s: %w", v.path, name, err)
	}
	return nil
}

// gather puts the pieces of a blob that are at hand into the store, and makes the blob of them when it has all.
func (l *loader) gather(ctx context.Context, s *set, b volumeBlob) error {
	p, err := l.s.Pieces(ctx, b.descriptor())
	if err != nil {
		return err
	}
	defer p.Close()
	for _, c := range b.Places {
		v := s.volumes[c.Volume-1]
		if v == nil || p.Has(c.Offset, c.Size) {
			continue
		}
		if err := l.piece(ctx, p, v, b, c); err != nil {
			return err
		}
	}
	if !p.Whole() {
		return p.Close()
	}
	err = p.Commit(ctx)
	if isDamaged(err) {
		err = fmt.Errorf("%w: what was kept of it in the store is removed: load all volumes again", err)
	}
	return err
}

func (l *loader) piece(ctx context.Context, p *store.Pieces, v *volume, b volumeBlob, c place) error {
	e := artifact.Event{Kind: artifact.EventStarted, Digest: b.Digest, Name: "blob", Size: b.Size, Done: c.Offset}
	l.observe(e)
	e.Kind = artifact.EventProgress
	err := v.copy(ctx, p.Writer(c.Offset), b.entry(c), func(done int64) {
		e.Done = c.Offset + done
		l.observe(e)
	})
	if err != nil {
		return err
	}
	return p.Add(c.Offset, c.Size)
}

// errVolumes is wrapped by errors that say which volumes are still to be loaded.
var errVolumes = errors.New("the set is not complete yet")

// requireVolumes returns an error that says which volumes hold what the store still lacks.
func (l *loader) requireVolumes(ctx context.Context, s *set) error {
	lacking := map[int]bool{}
	for _, b := range s.plan.Blobs {
		if has, err := l.s.Has(ctx, artifact.Reference{}, b.descriptor()); err != nil {
			return err
		} else if has {
			continue
		}
		for _, c := range b.Places {
			has, err := l.s.HasPiece(ctx, b.descriptor(), c.Offset, c.Size)
			if err != nil {
				return err
			}
			lacking[c.Volume] = lacking[c.Volume] || !has
		}
	}
	var missing, loaded []string
	for n := 1; n <= s.plan.Volumes; n++ {
		if s.volumes[n-1] != nil {
			loaded = append(loaded, fmt.Sprint(n))
		}
		if lacking[n] {
			missing = append(missing, fmt.Sprint(n))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	word := "volume"
	if len(loaded) > 1 {
		word = "volumes"
	}
	return fmt.Errorf("%w: %s %s of %d loaded; missing: %s: insert the next one and run `sealrt load` on it", errVolumes, word, strings.Join(loaded, ", "), s.plan.Volumes, strings.Join(missing, ", "))
}
