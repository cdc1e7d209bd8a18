package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// threeLayers makes an image whose layers do not fit into small volumes.
func threeLayers(t testing.TB, s *store.Store) artifact.Reference {
	t.Helper()
	ref := artifacttest.MustRef(t, "k3s:v1")
	artifacttest.Check(t, s.Tag(t.Context(), ref, artifacttest.AddImage(t, s, "amd64",
		[]string{"a", string(artifacttest.Noise(1, 300<<10))}, []string{"b", string(artifacttest.Noise(2, 10<<10))}, []string{"c", string(artifacttest.Noise(3, 100<<10))})))
	return ref
}

const volumeSize = 100 << 10

// volumes saves that image in volumes.
func volumes(t testing.TB, s *store.Store, ref artifact.Reference, size int64, o Options) []string {
	t.Helper()
	paths, err := SaveVolumes(t.Context(), filepath.Join(t.TempDir(), "k3s.tar"), size, s, []artifact.Reference{ref}, o)
	artifacttest.Check(t, err)
	return paths
}

func TestVolumesAreOfTheSizeAskedForAndDeterministic(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	for _, size := range []int64{64 << 10, 100_000, volumeSize, 1 << 20} {
		one, two := volumes(t, s, ref, size, Options{}), volumes(t, s, ref, size, Options{})
		var sum int64
		for i, path := range one {
			a, err := os.ReadFile(path)
			artifacttest.Check(t, err)
			b, err := os.ReadFile(two[i])
			artifacttest.Check(t, err)
			if !bytes.Equal(a, b) {
				t.Errorf("%s has other bytes the second time", path)
			}
			if int64(len(a)) > size {
				t.Errorf("%s has %d bytes, more than %d", path, len(a), size)
			}
			if i < len(one)-1 && int64(len(a)) < size*3/4 {
				t.Errorf("%s is not full: %d bytes of %d", path, len(a), size)
			}
			sum += int64(len(a))
		}
		if len(one) < 4 && size < 1<<20 || len(one) != 1 && size == 1<<20 {
			t.Errorf("%d volumes of %d bytes", len(one), size)
		}
	}
}

func TestVolumesTooSmallAreRefused(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	_, err := SaveVolumes(t.Context(), filepath.Join(t.TempDir(), "x"), 8<<10, s, []artifact.Reference{ref}, Options{})
	artifacttest.WantError(t, err, "volumes of 8.0 KiB", "at least")
}

// permutations lists all orders of n things.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var list [][]int
	for _, p := range permutations(n - 1) {
		for i := 0; i <= len(p); i++ {
			list = append(list, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return list
}

func TestVolumesLoadInAnyOrderOneAtATime(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	paths := volumes(t, s, ref, 120<<10, Options{})
	if len(paths) != 4 {
		t.Fatalf("%d volumes, want 4", len(paths))
	}
	for _, order := range permutations(len(paths)) {
		dst := newStore(t)
		for i, n := range order {
			list, err := LoadVolumes(t.Context(), dst, []string{paths[n]}, nil)
			if i == len(order)-1 {
				artifacttest.Check(t, err)
				if len(list) != 1 || list[0].Ref != ref {
					t.Errorf("loaded %v", list)
				}
				continue
			}
			var rest []string
			for _, m := range slices.Sorted(slices.Values(order[i+1:])) {
				rest = append(rest, fmt.Sprint(m+1))
			}
			artifacttest.WantError(t, err, fmt.Sprintf("volume %d of 4 loaded; missing: %s:", n+1, strings.Join(rest, ", ")), "sealrt load")
			if refs, _ := dst.Refs(t.Context()); len(refs) != 0 {
				t.Fatalf("names before the last volume: %v", refs)
			}
		}
		artifacttest.RequireWholeStore(t, dst, ref)
		if left := artifacttest.Ingest(t, dst); len(left) > 0 {
			t.Errorf("order %v left in ingest: %v", order, left)
		}
	}
}

func TestVolumesLoadTogetherInAnyOrder(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	paths := volumes(t, s, ref, volumeSize, Options{})
	for range 5 {
		rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		dst := newStore(t)
		_, err := LoadVolumes(t.Context(), dst, paths, nil)
		artifacttest.Check(t, err)
		artifacttest.RequireWholeStore(t, dst, ref)
	}
	// Some first, then some again and the rest.
	dst := newStore(t)
	_, err := LoadVolumes(t.Context(), dst, paths[:2], nil)
	artifacttest.WantError(t, err, "missing")
	_, err = LoadVolumes(t.Context(), dst, paths[1:], nil)
	artifacttest.Check(t, err)
	artifacttest.RequireWholeStore(t, dst, ref)
	_, err = LoadVolumes(t.Context(), dst, paths[:1], nil) // once more: all is there
	artifacttest.Check(t, err)
}

func TestVolumesAreReadWhereTheyLie(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	paths := volumes(t, s, ref, volumeSize, Options{})
	for _, path := range []string{paths[0], paths[2], strings.TrimSuffix(paths[0], ".001")} {
		a, err := Open(path)
		artifacttest.Check(t, err)
		dst := newStore(t)
		artifacttest.CopyImage(t, dst, ref, a, ref)
		artifacttest.RequireWholeStore(t, dst, ref)
		d, err := a.Resolve(t.Context(), ref)
		artifacttest.Check(t, err)
		_, m, _, err := artifact.Manifest(t.Context(), a, ref.WithDigest(d.Digest), nil)
		artifacttest.Check(t, err)
		want, err := os.ReadFile(s.BlobPath(m.Layers[0].Digest))
		artifacttest.Check(t, err)
		for _, offset := range []int64{0, 1, 70 << 10, 200 << 10, m.Layers[0].Size} {
			r, err := a.Open(t.Context(), ref, m.Layers[0], offset)
			artifacttest.Check(t, err)
			got, err := io.ReadAll(r)
			if artifacttest.Check(t, err); !bytes.Equal(got, want[offset:]) {
				t.Errorf("from %d on: other bytes", offset)
			}
		}
		artifacttest.Check(t, a.Close())
	}
	artifacttest.Check(t, os.Remove(paths[1]))
	_, err := Open(paths[0])
	artifacttest.WantError(t, err, "one of "+fmt.Sprint(len(paths))+" volumes", "volume 2", "not found")
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Error("it is not ErrNotFound")
	}
}

func TestVolumesThatDoNotFitAreNamed(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	paths := volumes(t, s, ref, volumeSize, Options{})
	other := artifacttest.MustRef(t, "other:v2")
	artifacttest.Check(t, s.Tag(t.Context(), other, artifacttest.AddImage(t, s, "arm64", []string{"a", string(artifacttest.Noise(9, 300<<10))})))
	foreign := volumes(t, s, other, volumeSize, Options{})
	again := filepath.Join(t.TempDir(), "again.001")
	b, err := os.ReadFile(paths[1])
	artifacttest.Check(t, err)
	artifacttest.Check(t, os.WriteFile(again, b, 0o644))

	_, err = LoadVolumes(t.Context(), newStore(t), []string{paths[0], foreign[1]}, nil)
	artifacttest.WantError(t, err, foreign[1], "another set", "other:v2", "k3s:v1", paths[0])
	_, err = LoadVolumes(t.Context(), newStore(t), []string{paths[1], again}, nil)
	artifacttest.WantError(t, err, again+" is volume 2", paths[1])
	_, err = Load(t.Context(), newStore(t), bytes.NewReader(b), nil)
	artifacttest.WantError(t, err, "volume of a set")
	artifacttest.Check(t, os.WriteFile(volumePath(strings.TrimSuffix(paths[0], ".001"), 50), b, 0o644))
	_, err = SaveVolumes(t.Context(), strings.TrimSuffix(paths[0], ".001"), volumeSize, s, []artifact.Reference{ref}, Options{})
	artifacttest.WantError(t, err, ".050", "remove it first")
}

// TestDamageInVolumesIsNamed flips bits and cuts volumes: a damaged one is named, or the damage is where it does not matter.
func TestDamageInVolumesIsNamed(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	paths := volumes(t, s, ref, volumeSize, Options{})
	whole, err := os.ReadFile(paths[1])
	artifacttest.Check(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		b := slices.Clone(whole)
		if i%3 == 0 {
			b = b[:rnd.IntN(len(b)-trailer)]
		} else {
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		}
		artifacttest.Check(t, os.WriteFile(paths[1], b, 0o644))
		for _, together := range []bool{true, false} {
			dst := newStore(t)
			load := func(paths ...string) error {
				_, err := LoadVolumes(t.Context(), dst, paths, nil)
				return err
			}
			if together {
				err = load(paths...)
			} else {
				var last error
				for _, path := range paths {
					if last = load(path); last != nil && !errors.Is(last, errVolumes) {
						break
					}
				}
				err = last
			}
			if err == nil {
				artifacttest.RequireWholeStore(t, dst, ref)
				continue
			}
			if !strings.Contains(err.Error(), paths[1]) || errors.Is(err, errVolumes) {
				t.Errorf("case %d: the error does not name the volume: %v", i, err)
			}
			if refs, _ := dst.Refs(t.Context()); len(refs) != 0 {
				t.Errorf("names: %v", refs)
			}
			// With a good copy it goes on.
			artifacttest.Check(t, os.WriteFile(paths[1], whole, 0o644))
			artifacttest.Check(t, load(paths...))
			artifacttest.RequireWholeStore(t, dst, ref)
			artifacttest.Check(t, os.WriteFile(paths[1], b, 0o644))
		}
	}
}

func TestSavingVolumesLeavesNothingHalfWritten(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	started := 0
	_, err := SaveVolumes(ctx, filepath.Join(dir, "x"), volumeSize, s, []artifact.Reference{ref}, Options{Observe: func(e artifact.Event) {
		if e.Kind == artifact.EventStarted && e.Name == "layer" {
			if started++; started == 3 {
				cancel()
			}
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestVolumesOfADelta(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	ref := threeLayers(t, src)
	next := artifacttest.MustRef(t, "k3s:v2")
	artifacttest.Check(t, src.Tag(t.Context(), next, artifacttest.AddImage(t, src, "amd64",
		[]string{"a", string(artifacttest.Noise(1, 300<<10))}, []string{"d", string(artifacttest.Noise(4, 200<<10))})))
	base, err := Take(t.Context(), src, []artifact.Reference{ref})
	artifacttest.Check(t, err)
	paths := volumes(t, src, next, volumeSize, Options{Base: []*Inventory{base}})
	if len(paths) > 3 {
		t.Errorf("%d volumes for what changed", len(paths))
	}
	_, err = LoadVolumes(t.Context(), dst, paths[:1], nil)
	artifacttest.WantError(t, err, "1 blob", "k3s:v2", "load or pull k3s:v1 first")
	if inv, _ := dst.Inventory(t.Context()); len(inv) != 0 {
		t.Errorf("the first disc was read all the same: %v", inv)
	}
	artifacttest.CopyImage(t, dst, ref, src, ref)
	_, err = LoadVolumes(t.Context(), dst, paths, nil)
	artifacttest.Check(t, err)
	artifacttest.RequireWholeStore(t, dst, next)
}

func TestRoomForAllVolumesIsAskedForBeforeTheFirstByte(t *testing.T) {
	s := newStore(t)
	ref := artifacttest.Vast(t, s)
	dir := t.TempDir()
	_, err := SaveVolumes(t.Context(), filepath.Join(dir, "x"), 1<<58, s, []artifact.Reference{ref}, Options{})
	artifacttest.WantError(t, err, "save to "+filepath.Join(dir, "x"), "1.0 EiB needed", "free on "+dir)
	_, err = SaveVolumes(t.Context(), filepath.Join(dir, "x"), 1<<30, s, []artifact.Reference{ref}, Options{})
	artifacttest.WantError(t, err, "more than 999")
	artifacttest.Check(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o644))
	_, err = SaveVolumes(t.Context(), filepath.Join(dir, "x"), 1<<58, s, []artifact.Reference{ref}, Options{})
	artifacttest.WantError(t, err, "hide the volumes")
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
