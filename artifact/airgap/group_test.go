package airgap

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// blobOf makes the descriptor of a blob that n stands for.
func blobOf(n int, size int64) v1.Descriptor {
	return v1.Descriptor{Digest: layout.DigestOf(fmt.Appendf(nil, "%d", n)), Size: size}
}

// keys returns the identity of each layer.
func keys(groups [][]v1.Descriptor) map[string]bool {
	set := map[string]bool{}
	for _, g := range groups {
		set[strings.Join(digits(g), " ")] = true
	}
	return set
}

func TestGroupGivesEachBigBlobALayer(t *testing.T) {
	var blobs []v1.Descriptor
	for i := range 50 {
		blobs = append(blobs, blobOf(i, smallBlob), blobOf(100+i, smallBlob-1))
	}
	groups := group(blobs, 3)
	big, members := 0, 0
	for _, g := range groups {
		members += len(g)
		if g[0].Size >= smallBlob {
			big++
			if len(g) != 1 {
				t.Errorf("a big blob shares its layer: %v", g)
			}
			continue
		}
		for _, b := range g {
			if b.Digest.Hex[0] != g[0].Digest.Hex[0] {
				t.Errorf("%s is in the bucket of %s", b.Digest, g[0].Digest)
			}
		}
	}
	if big != 50 || members != 100 || len(groups) > 50+buckets {
		t.Errorf("%d big blobs, %d members, %d layers", big, members, len(groups))
	}
}

func TestGroupFollowsFromTheSetOnly(t *testing.T) {
	var blobs []v1.Descriptor
	for i := range 300 {
		blobs = append(blobs, blobOf(i, int64(i)<<14))
	}
	want := fmt.Sprint(group(blobs, 0))
	rand.Shuffle(len(blobs), func(i, j int) { blobs[i], blobs[j] = blobs[j], blobs[i] })
	if got := fmt.Sprint(group(blobs, 0)); got != want {
		t.Error("another order of blobs gives other layers")
	}
}

// TestGroupOfManyBlobs is the promise for images of very many layers: what tools
// can take is not passed, and one blob more changes two layers at most, the one
// that holds it and the one of the index.
func TestGroupOfManyBlobs(t *testing.T) {
	const toolsTake = 127
	for _, others := range []int{0, 5, 60} {
		var blobs []v1.Descriptor
		for i := range 200 {
			blobs = append(blobs, blobOf(i, int64(1+i%40)<<20))
		}
		groups := group(blobs, others)
		if n := len(groups) + others + 1; n >= toolsTake {
			t.Errorf("others %d: %d layers", others, n)
		}
		for _, size := range []int64{10, smallBlob, 3 << 20} {
			more := group(append([]v1.Descriptor{blobOf(1000, size)}, blobs...), others)
			before, changed := keys(groups), 1
			for key := range keys(more) {
				if !before[key] {
					changed++
				}
			}
			if changed > 2 {
				t.Errorf("others %d, one blob of %d bytes more: %d layers changed", others, size, changed)
			}
		}
	}
}

func TestGroupWithoutRoom(t *testing.T) {
	groups := group([]v1.Descriptor{blobOf(1, 5<<20), blobOf(2, math.MaxInt64)}, 1000)
	for _, g := range groups {
		if len(g) > 2 {
			t.Errorf("got %v", g)
		}
	}
	if n := len(groups); n < 1 || n > 2 {
		t.Errorf("%d layers", n)
	}
}
