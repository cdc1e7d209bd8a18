package registry

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

func TestPolledLooksAgain(t *testing.T) {
	trees := t.TempDir()
	imageTree(t, trees, "library/one:1", 10)
	imageTree(t, trees, "library/two:1", 10)
	at, asked := filepath.Join(trees, "library_one_1", "images"), 0
	var trouble error
	clock := time.Now()
	p := &polled{now: func() time.Time { return clock }, ask: func(context.Context) (layout.Images, error) {
		asked++
		if trouble != nil {
			return nil, trouble
		}
		return layout.Open(at)
	}}
	look := func() layout.Images {
		t.Helper()
		images, err := p.Images(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return images
	}
	trouble = errors.New("not mounted yet")
	if _, err := p.Images(t.Context()); !errors.Is(err, trouble) {
		t.Error(err)
	}
	trouble = nil
	first := look()
	if look() != first || asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	clock = clock.Add(lookAgain)
	if look() != first || asked != 3 {
		t.Errorf("the same images are another value, or nobody looked: %d", asked)
	}
	at = filepath.Join(trees, "library_two_1", "images")
	clock = clock.Add(lookAgain)
	second := look()
	if second == first {
		t.Error("other images are not seen")
	}
	trouble = errors.New("gone")
	clock = clock.Add(lookAgain)
	if look() != second {
		t.Error("what was there is forgotten")
	}
}
