package airgap

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
)

// TestSmallBlobsAreNotFetchedOneByOne: blobs of one bucket wait for each other at
// the registry, until as many as may be are under way.
func TestSmallBlobsAreNotFetchedOneByOne(t *testing.T) {
	reg := registrytest.New(t)
	var seeds []string
	buckets := map[int][]string{}
	for i := 0; len(buckets[3]) < 4; i++ { // layers whose digests begin alike
		seed := string(rune('a'+i%26)) + time.Duration(i).String()
		m, err := registrytest.Image(t, amd64, 1000, seed).Manifest()
		if err != nil {
			t.Fatal(err)
		}
		n := bucket(m.Layers[0].Digest)
		buckets[n] = append(buckets[n], seed)
	}
	seeds = buckets[3][:4]
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1000, seeds...))
	m, err := registrytest.Image(t, amd64, 1000, seeds...).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layers := map[string]bool{}
	for _, l := range m.Layers {
		layers["/v2/a/blobs/"+l.Digest.String()] = true
	}
	var mu sync.Mutex
	under := 0
	all := make(chan struct{})
	reg.Faulty(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if !layers[q.URL.Path] {
			return false
		}
		mu.Lock()
		if under++; under == 3 {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
		case <-q.Context().Done():
		case <-t.Context().Done():
		}
		return false
	})
	o := options(registrytest.Store(t))
	o.Jobs = 3
	collect(t, list(t, reg, "a:1"), o)
	requireSound(t, o.Store)
}
