package airgap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

// unreachable is a source that must not be asked.
type unreachable struct{ t *testing.T }

func (u unreachable) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	u.t.Errorf("asked for %s", ref.Familiar())
	return v1.Descriptor{}, errors.New("there is no network")
}

func (u unreachable) Open(_ context.Context, ref artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	u.t.Errorf("opened %s of %s", d.Digest, ref.Familiar())
	return nil, errors.New("there is no network")
}

// tree is the images/ directory of a base image as a source of blobs.
type tree string

func (tree) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

func (dir tree) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(dir), layout.BlobPath(d.Digest)))
	if err != nil {
		return nil, err
	}
	_, err = f.Seek(offset, io.SeekStart)
	return f, err
}

// on makes o the options of a build on the images of a directory.
func on(t *testing.T, o Options, dir string) Options {
	t.Helper()
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	o.BaseIndex, o.Base = index, tree(dir)
	o.Have = func(h v1.Hash) bool {
		_, err := os.Stat(filepath.Join(dir, layout.BlobPath(h)))
		return err == nil
	}
	return o
}

func TestCollectKeepsImagesOfTheBase(t *testing.T) {
	reg := registrytest.New(t)
	digest := reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "a"))
	other := reg.Push(t, "b:1", registrytest.Image(t, amd64, 1000, "b"))
	store := registrytest.Store(t)
	lines := []string{"a:1", "a:1@" + digest.String(), "a@" + digest.String(), "b@" + other.String()}
	dir := unpack(t, store, collect(t, list(t, reg, slices.Clone(lines)...), options(store)))
	for _, line := range lines {
		o := on(t, options(registrytest.Store(t)), dir)
		o.Source = unreachable{t}
		set := collect(t, list(t, reg, line), o)
		if len(set.Layers) != 0 || set.Index != layout.DigestOf(o.BaseIndex) {
			t.Errorf("%s: %d layers, index %s", line, len(set.Layers), set.Index)
		}
		blobs, err := o.Store.Inventory(t.Context())
		if err != nil || len(blobs) != 0 {
			t.Errorf("%s: the store took %v %v", line, blobs, err)
		}
	}
	// What the base lacks in any way is asked for.
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 1000, "b"))
	for name, spoil := range map[string]struct {
		line string
		do   func(dir string, o *Options)
	}{
		"another name":     {"b:1", func(string, *Options) {}},
		"another platform": {"a:1 --platform=linux/arm64", func(string, *Options) {}},
		"no blobs to read": {"a:1", func(_ string, o *Options) { o.Base = nil }},
		"a lost layer": {"a:1", func(dir string, o *Options) {
			have := o.Have
			m, err := registrytest.Image(t, amd64, 1<<20, "a").Manifest()
			if err != nil {
				t.Fatal(err)
			}
			o.Have = func(h v1.Hash) bool { return h != m.Layers[0].Digest && have(h) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := on(t, options(registrytest.Store(t)), dir)
			spoil.do(dir, &o)
			reg.Fetched()
			reg.Traffic()
			_, err := Collect(t.Context(), list(t, reg, spoil.line), o)
			if _, heads := reg.Traffic(); len(reg.Fetched())+heads == 0 {
				t.Error("the registry was not asked")
			}
			if (name == "another platform") != (err != nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// shelter is a place that has what a store has.
type shelter struct {
	*store.Store
	opened int
}

func newPlace(t *testing.T, images map[string]v1.Image) *shelter {
	t.Helper()
	s := registrytest.Store(t)
	for name, img := range images {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			t.Fatal(err)
		}
		reg := registrytest.New(t)
		reg.Push(t, "x:1", img)
		from, err := artifact.ParseReference(reg.Host + "/x:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Copy(t.Context(), s, ref, registry.New(registry.Options{}), from, artifact.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return &shelter{Store: s}
}

func (s *shelter) place(name string) func(context.Context, string) (Place, error) {
	return func(_ context.Context, from string) (Place, error) {
		if from != name {
			return nil, fmt.Errorf("no such file")
		}
		s.opened++
		return s, nil
	}
}

func namesIn(t *testing.T, store *store.Store, set *Set) []string {
	t.Helper()
	l, err := layout.Open(unpack(t, store, set))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var list []string
	for _, e := range l.Entries() {
		list = append(list, e.Name)
	}
	return list
}

func TestCollectReadsFromPlaces(t *testing.T) {
	here := newPlace(t, map[string]v1.Image{
		"app:1":   registrytest.Image(t, amd64, 1<<20, "app"),
		"tools:2": registrytest.Image(t, amd64, 1000, "tools"),
	})
	app, err := artifact.ParseReference("app:1")
	if err != nil {
		t.Fatal(err)
	}
	o := options(registrytest.Store(t))
	o.Source, o.Place = unreachable{t}, here.place("docker-daemon:")
	for name, tt := range map[string]struct {
		images []Image
		want   []string
	}{
		"one image": {[]Image{{Ref: app, From: "docker-daemon:", Where: "l:1"}}, []string{"docker.io/library/app:1"}},
		"all of it": {[]Image{{From: "docker-daemon:", Where: "l:1"}}, []string{"docker.io/library/app:1", "docker.io/library/tools:2"}},
		"asked for without a place too": {[]Image{{Ref: app, Where: "m.yaml:3"}, {From: "docker-daemon:", Where: "l:1"}},
			[]string{"docker.io/library/app:1", "docker.io/library/tools:2"}},
	} {
		t.Run(name, func(t *testing.T) {
			here.opened = 0
			set := collect(t, tt.images, o)
			if diff := cmp.Diff(tt.want, namesIn(t, o.Store, set)); diff != "" {
				t.Error(diff)
			}
			if here.opened != 1 {
				t.Errorf("the place was opened %d times", here.opened)
			}
		})
	}
}

func TestCollectNamesPlacesThatFail(t *testing.T) {
	here := newPlace(t, map[string]v1.Image{"app:1": registrytest.Image(t, amd64, 1000, "app")})
	o := options(registrytest.Store(t))
	o.Source, o.Place = unreachable{t}, here.place("oci:good")
	gone, err := artifact.ParseReference("gone:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Collect(t.Context(), []Image{
		{From: "oci:bad", Where: "l:1"},
		{Ref: gone, From: "oci:good", Where: "l:2"},
		{From: "oci:good", Where: "l:3"},
	}, o)
	var missing *MissingError
	if !errors.As(err, &missing) || len(missing.Missing) != 2 {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"l:1: oci:bad: no such file", "l:2: oci:good: gone:1: not found"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	o.Place = nil
	if _, err := Collect(t.Context(), []Image{{From: "oci:good", Where: "l:1"}}, o); !errors.As(err, &missing) {
		t.Errorf("without places: %v", err)
	}
}

func TestCollectTellsOfImagesThatDiffer(t *testing.T) {
	places := map[string]*shelter{
		"oci:one": newPlace(t, map[string]v1.Image{"app:1": registrytest.Image(t, amd64, 1000, "one"), "same:1": registrytest.Image(t, amd64, 1000, "same")}),
		"oci:two": newPlace(t, map[string]v1.Image{"app:1": registrytest.Image(t, amd64, 1000, "two"), "same:1": registrytest.Image(t, amd64, 1000, "same")}),
	}
	var notes []string
	o := options(registrytest.Store(t))
	o.Source = unreachable{t}
	o.Place = func(_ context.Context, from string) (Place, error) { return places[from], nil }
	o.Observe = func(e artifact.Event) {
		if e.Kind == artifact.EventNote {
			notes = append(notes, e.Name)
		}
	}
	collect(t, []Image{{From: "oci:one", Where: "l:1"}, {From: "oci:two", Where: "l:2"}}, o)
	if len(notes) != 1 || !strings.Contains(notes[0], "app:1 is in oci:one and, with another digest, in oci:two") {
		t.Errorf("notes %q", notes)
	}
}

func TestErrorsNameThePlaceOnce(t *testing.T) {
	for _, text := range []string{"docker-archive:app.tar: open app.tar: no such file", "open app.tar: no such file"} {
		if got := ofPlace("docker-archive:app.tar", errors.New(text)).Error(); got != "docker-archive:app.tar: open app.tar: no such file" {
			t.Errorf("%s: %s", text, got)
		}
	}
}
