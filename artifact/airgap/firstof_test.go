package airgap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sealrt/sealrt/artifact/airgap/registrytest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// drawer is a source in memory that writes down what it is asked for.
type drawer struct {
	name   string
	images map[string]string // content of the one blob of an image, by its full name
	broken error
	diary  *diary
}

type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// read returns what was written since the last time.
func (d *diary) read() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := strings.Join(d.lines, " ")
	d.lines = nil
	return text
}

func (s *drawer) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	s.diary.add(s.name + "?")
	content, ok := s.images[ref.Name()]
	switch {
	case s.broken != nil:
		return v1.Descriptor{}, s.broken
	case !ok:
		return v1.Descriptor{}, fmt.Errorf("%s: %w on %s", ref.Familiar(), artifact.ErrNotFound, s.name)
	}
	return v1.Descriptor{Digest: layout.DigestOf([]byte(content)), Size: int64(len(content))}, nil
}

func (s *drawer) Open(_ context.Context, ref artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	s.diary.add(s.name)
	for _, content := range s.images {
		if layout.DigestOf([]byte(content)) == d.Digest {
			return io.NopCloser(strings.NewReader(content)), nil
		}
	}
	return nil, fmt.Errorf("%s: %w on %s", d.Digest, artifact.ErrNotFound, s.name)
}

func parse(t *testing.T, s string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestFirstOfAsksOneAfterTheOther(t *testing.T) {
	d := &diary{}
	a := &drawer{name: "a", diary: d, images: map[string]string{"docker.io/library/x": "of a"}}
	b := &drawer{name: "b", diary: d, images: map[string]string{"docker.io/library/x": "of b", "docker.io/library/y": "yy", "docker.io/library/z": "of a"}}
	c := &drawer{name: "c", diary: d, images: map[string]string{"docker.io/library/w": "ww"}}
	all := FirstOf(a, b, c)
	for _, tt := range []struct{ ref, asked, opened string }{
		{"x:1", "a?", "a"},
		{"y:1", "a? b?", "b"},
		{"z:1", "a? b?", "b"},
		{"w:1", "a? b? c?", "c"},
	} {
		ref := parse(t, tt.ref)
		desc, err := all.Resolve(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.asked, d.read()); diff != "" {
			t.Errorf("%s: %s", tt.ref, diff)
		}
		for _, how := range []artifact.Reference{ref, ref.WithDigest(desc.Digest)} {
			r, err := all.Open(t.Context(), how, desc, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			if diff := cmp.Diff(tt.opened, d.read()); diff != "" {
				t.Errorf("open %s: %s", how, diff)
			}
		}
	}
	ww := v1.Descriptor{Digest: layout.DigestOf([]byte("ww"))}
	for ref, asked := range map[string]string{"y:1": "b a c", "never:1": "a b c", "w:1": "c"} {
		r, err := all.Open(t.Context(), parse(t, ref), ww, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if diff := cmp.Diff(asked, d.read()); diff != "" {
			t.Errorf("a blob of another: %s", diff)
		}
	}
}

func TestFirstOfSaysWhyNobodyHasIt(t *testing.T) {
	d := &diary{}
	a, b := &drawer{name: "a", diary: d}, &drawer{name: "b", diary: d}
	for _, tt := range []struct {
		source artifact.Source
		words  string
	}{
		{FirstOf(a, b), "x:1: not found on a; x:1: not found on b"},
		{FirstOf(a), "x:1: not found on a"},
		{FirstOf(), "x:1: not found: there is no place to look for it"},
	} {
		_, err := tt.source.Resolve(t.Context(), parse(t, "x:1"))
		if !errors.Is(err, artifact.ErrNotFound) || err.Error() != tt.words {
			t.Errorf("error %v, want %q", err, tt.words)
		}
		if _, err := tt.source.Open(t.Context(), parse(t, "x:1"), v1.Descriptor{}, 0); !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("open: %v", err)
		}
	}
}

// TestFirstOfSaysWhatTheSourceOfAnImageLacks is about blobs that are gone where the image is: nobody has to hear of the
// places where it never was.
func TestFirstOfSaysWhatTheSourceOfAnImageLacks(t *testing.T) {
	d := &diary{}
	b := &drawer{name: "b", diary: d, images: map[string]string{"docker.io/library/x": "x"}}
	all := FirstOf(&drawer{name: "a", diary: d}, b)
	ref := parse(t, "x:1")
	desc, err := all.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	delete(b.images, "docker.io/library/x")
	_, want := b.Open(t.Context(), ref, desc, 0)
	if _, err := all.Open(t.Context(), ref, desc, 0); want == nil || err == nil || err.Error() != want.Error() {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestFirstOfStopsWhereASourceCannotTell(t *testing.T) {
	down := errors.New("the registry is down")
	d := &diary{}
	all := FirstOf(&drawer{name: "a", diary: d}, &drawer{name: "b", diary: d, broken: down}, &drawer{name: "c", diary: d, images: map[string]string{"docker.io/library/x": "x"}})
	if _, err := all.Resolve(t.Context(), parse(t, "x:1")); !errors.Is(err, down) || d.read() != "a? b?" {
		t.Errorf("error %v", err)
	}
}

func TestFirstOfRemembersSoMuch(t *testing.T) {
	d := &diary{}
	all := FirstOf(&drawer{name: "a", diary: d, images: map[string]string{}}, &drawer{name: "b", diary: d, images: map[string]string{"docker.io/library/x": "x"}}).(*firstOf)
	for n := range 3 * maxRecent {
		if _, err := all.Resolve(t.Context(), parse(t, fmt.Sprintf("x:%d", n))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(all.recent) + len(all.older); n > 2*(maxRecent+1) {
		t.Errorf("%d images are remembered", n)
	}
	if i, known := all.recall(parse(t, fmt.Sprintf("x:%d", 3*maxRecent-1))); i != 1 || !known {
		t.Error("the last one is forgotten")
	}
}

func TestFirstOfIsUsedByManyAtOnce(t *testing.T) {
	d := &diary{}
	all := FirstOf(&drawer{name: "a", diary: d}, &drawer{name: "b", diary: d, images: map[string]string{"docker.io/library/x": "x"}})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			ref := parse(t, fmt.Sprintf("x:%d", n))
			desc, err := all.Resolve(t.Context(), ref)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := all.Open(t.Context(), ref, desc, 0)
			if err != nil {
				t.Error(err)
				return
			}
			r.Close()
		})
	}
	wg.Wait()
}

func TestCompleteHasOnlyWhatIsWhole(t *testing.T) {
	arm64 := v1.Platform{OS: "linux", Architecture: "arm64"}
	registry := registrytest.New(t)
	mine := registrytest.Image(t, amd64, 1000, "a", "b")
	registry.Push(t, "mine:1", mine)
	registry.Push(t, "other:1", registrytest.Image(t, arm64, 1000, "c"))
	registry.Push(t, "both:1", mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &amd64}},
		mutate.IndexAddendum{Add: registrytest.Image(t, arm64, 1000, "d"), Descriptor: v1.Descriptor{Platform: &arm64}}))
	nowhere := registrytest.Image(t, v1.Platform{}, 1000, "e")
	registry.Push(t, "nowhere:1", nowhere)
	s := registrytest.Store(t)
	source := options(s).Source
	for _, name := range []string{"mine:1", "other:1", "both:1", "nowhere:1"} {
		ref := parse(t, registry.Host+"/"+name)
		if _, err := artifact.Copy(t.Context(), s, ref, source, ref, artifact.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(name string, want bool) {
		t.Helper()
		d, err := Complete(s, amd64).Resolve(t.Context(), parse(t, registry.Host+"/"+name))
		if want != (err == nil) || err != nil && !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("%s: %v, there is %v", name, err, want)
		}
		if err == nil {
			if _, err := artifact.ReadManifest(t.Context(), Complete(s, amd64), parse(t, "x"), d); err != nil {
				t.Error(err)
			}
		}
	}
	remove := func(h v1.Hash) {
		t.Helper()
		if err := os.Remove(s.BlobPath(h)); err != nil {
			t.Fatal(err)
		}
	}
	has("mine:1", true)
	has("other:1", false)
	has("both:1", true)
	has("nowhere:1", true)
	has("never:1", false)
	layers, err := mine.Layers()
	if err != nil {
		t.Fatal(err)
	}
	h, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	remove(h)
	has("mine:1", false)
	has("both:1", false)
	config, err := nowhere.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	remove(config)
	has("nowhere:1", false)
}
