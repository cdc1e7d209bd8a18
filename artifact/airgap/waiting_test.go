package airgap

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/store"
)

// TestOfTwoBuildsOneFetchesABigBlob collects the same image twice at once into one store. The registry holds the blob
// back until the second one says that it waits.
func TestOfTwoBuildsOneFetchesABigBlob(t *testing.T) {
	reg := registrytest.New(t)
	img := registrytest.Image(t, amd64, store.PartialFrom+1, "big")
	reg.Push(t, "app:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	big, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	reg.Fetched()
	begun, waits := make(chan struct{}), make(chan struct{})
	var first, told sync.Once
	reg.Faulty(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodGet && filepath.Base(r.URL.Path) == big.String() {
			first.Do(func() { close(begun) })
			<-waits
		}
		return false
	})
	one := registrytest.Store(t)
	two, err := store.Open(one.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	images := list(t, reg, "app:1")
	var sets [2]*Set
	var g errgroup.Group
	g.Go(func() (err error) {
		sets[0], err = Collect(t.Context(), images, options(one))
		return err
	})
	<-begun
	o := options(two)
	o.Observe = func(e artifact.Event) {
		if e.Kind == artifact.EventNote && strings.Contains(e.Name, "another sealrt") {
			told.Do(func() { close(waits) })
		}
	}
	g.Go(func() (err error) {
		sets[1], err = Collect(t.Context(), images, o)
		return err
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := reg.Fetched()[big.String()]; n != 1 {
		t.Errorf("the blob was fetched %d times", n)
	}
	for i := range sets[0].Layers {
		if sets[0].Layers[i].Blob.Digest != sets[1].Layers[i].Blob.Digest {
			t.Errorf("layer %d is %s and %s", i, sets[0].Layers[i].Blob.Digest, sets[1].Layers[i].Blob.Digest)
		}
	}
}
