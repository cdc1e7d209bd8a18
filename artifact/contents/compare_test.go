package contents_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/contents"
	"github.com/sealrt/sealrt/artifact/store"
)

func compare(t testing.TB, from, to contents.Cluster, o contents.CompareOptions) *contents.Difference {
	t.Helper()
	o.Scratch = t.TempDir()
	d, err := contents.Compare(t.Context(), from, to, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFilesAreComparedThroughLayers(t *testing.T) {
	base := []airgaptest.File{file("a", "1"), file("b", "1"), {Name: "d", Kind: tar.TypeDir}, file("d/x", "1"), file("d/y", "1")}
	side := []airgaptest.File{file("other", "1"), file("d/x", "2")}
	for name, test := range map[string]struct {
		from, to [][]airgaptest.File
		want     string
	}{
		"nothing":                             {[][]airgaptest.File{base}, [][]airgaptest.File{base}, ""},
		"the same in other layers":            {[][]airgaptest.File{base, side}, [][]airgaptest.File{base, {file("other", "1")}, {file("d/x", "2")}}, ""},
		"added":                               {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file("c", "12")}}, "+c"},
		"added as it was":                     {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file("a", "1")}}, ""},
		"added and removed":                   {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file("c", "1")}, {file(".wh.c", "")}}, ""},
		"changed":                             {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file("a", "2")}}, "~a"},
		"removed":                             {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file(".wh.a", "")}}, "-a"},
		"removed with its folder":             {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file(".wh.d", "")}}, "-d -d/x -d/y"},
		"removed in its folder":               {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file("d/.wh..wh..opq", ""), file("d/y", "1")}}, "-d/x"},
		"a file for a folder":                 {[][]airgaptest.File{base}, [][]airgaptest.File{base, {file("d", "1")}}, "~d -d/x -d/y"},
		"a folder for a file":                 {[][]airgaptest.File{base}, [][]airgaptest.File{base, {{Name: "a", Kind: tar.TypeDir}, file("a/b", "")}}, "~a +a/b"},
		"a layer of the same names":           {[][]airgaptest.File{base, {file("c", "1"), file("a", "2")}}, [][]airgaptest.File{base, {file("c", "2"), file("a", "2")}}, "~c"},
		"a layer in the middle":               {[][]airgaptest.File{base, {file("c", "1")}, side}, [][]airgaptest.File{base, {file("d/y", "2")}, side}, "-c ~d/y"},
		"hidden again by a layer of both":     {[][]airgaptest.File{base, {file("d/x", "7")}, side}, [][]airgaptest.File{base, side}, ""},
		"layers in another order":             {[][]airgaptest.File{base, side}, [][]airgaptest.File{side, base}, "~d/x"},
		"a layer twice":                       {[][]airgaptest.File{base, side, base}, [][]airgaptest.File{base, side}, "~d/x"},
		"a layer twice, and one between":      {[][]airgaptest.File{base, {file("a", "7")}, base}, [][]airgaptest.File{base, {file("a", "8")}, base}, ""},
		"a whiteout of what both lie on":      {[][]airgaptest.File{base, {file("z", "1"), file(".wh.b", "")}}, [][]airgaptest.File{base, {file("z", "1")}}, "+b"},
		"a link to another place":             {[][]airgaptest.File{base, {{Name: "l", Kind: tar.TypeSymlink, Link: "a"}}}, [][]airgaptest.File{base, {{Name: "l", Kind: tar.TypeSymlink, Link: "b"}}}, "~l"},
		"another file of a hard link":         {[][]airgaptest.File{base, {{Name: "l", Kind: tar.TypeLink, Link: "a"}}}, [][]airgaptest.File{base, {file("a", "2")}, {{Name: "l", Kind: tar.TypeLink, Link: "a"}}}, "~a ~l"},
		"names that sort before their folder": {[][]airgaptest.File{base}, [][]airgaptest.File{base, {{Name: "n", Kind: tar.TypeDir}, file("n/x", ""), file("n-x", "")}}, "+n +n/x +n-x"},
	} {
		t.Run(name, func(t *testing.T) {
			store := registrytest.Store(t)
			sides := [2]contents.Cluster{}
			for i, layers := range [2][][]airgaptest.File{test.from, test.to} {
				var list []v1.Descriptor
				for _, files := range layers {
					list = append(list, airgaptest.PutLayer(t, store, true, files...))
				}
				sides[i] = cluster(t, store, list...)
			}
			if got := signs(compare(t, sides[0], sides[1], contents.CompareOptions{Files: true})); got != test.want {
				t.Errorf("got %q, not %q", got, test.want)
			}
			inverse := strings.NewReplacer("+", "-", "-", "+").Replace(test.want)
			if test.want == "+n +n/x +n-x" {
				inverse = "-n -n/x -n-x"
			}
			if got := signs(compare(t, sides[1], sides[0], contents.CompareOptions{Files: true})); got != inverse {
				t.Errorf("the other way round: got %q, not %q", got, inverse)
			}
		})
	}
}

// signs writes the files that differ in short.
func signs(d *contents.Difference) string {
	var list []string
	for _, f := range d.Files {
		sign := "~"
		switch {
		case f.From == nil:
			sign = "+"
		case f.To == nil:
			sign = "-"
		}
		list = append(list, sign+f.Name)
	}
	return strings.Join(list, " ")
}

// bundle is a layer of container images.
func bundle(t *testing.T, store *store.Store, images map[string][][]airgaptest.File) v1.Descriptor {
	t.Helper()
	b := blobs{}
	var entries []v1.Descriptor
	for name, layers := range images {
		entries = append(entries, airgaptest.Entry("docker.io/library/"+name, b.image(t, layers...)))
	}
	return airgaptest.PutLayer(t, store, false, b.files(t, entries...)...)
}

func TestImagesAndTheirPackagesAreCompared(t *testing.T) {
	store := registrytest.Store(t)
	status := func(version string) []airgaptest.File {
		return []airgaptest.File{file("var/lib/dpkg/status", "Package: a\nVersion: "+version+"\n\nPackage: b\nVersion: 1\n")}
	}
	from := cluster(t, store, bundle(t, store, map[string][][]airgaptest.File{
		"same:1": {status("1")}, "moved:1": {status("1")}, "changed:1": {status("1")}, "gone:1": {status("1")}, "many:1": {status("5")}, "many:2": {status("6")}, "two:1": {status("1")}, "two:2": {status("2")}}))
	to := cluster(t, store, bundle(t, store, map[string][][]airgaptest.File{
		"same:1": {status("1")}, "moved:2": {status("2")}, "changed:1": {status("1"), {file("var/lib/dpkg/status", "Package: b\nVersion: 1\n")}}, "come:1": {status("1")}, "many:3": {status("7")}, "many:2": {status("6")}, "two:3": {status("1")}}))
	d := compare(t, from, to, contents.CompareOptions{Images: true, Packages: true})
	var images []string
	name := func(i *contents.Image) string {
		if i == nil {
			return "none"
		}
		return strings.TrimPrefix(i.Title(), "docker.io/library/")
	}
	for _, c := range d.Images {
		images = append(images, name(c.From)+" > "+name(c.To))
	}
	if diff := cmp.Diff([]string{"changed:1 > changed:1", "none > come:1", "gone:1 > none", "many:1 > many:3", "moved:1 > moved:2", "two:1 > none", "two:2 > none", "none > two:3"}, images); diff != "" {
		t.Error(diff)
	}
	var packages []string
	for _, p := range d.Packages {
		packages = append(packages, fmt.Sprint(strings.TrimPrefix(p.Image, "docker.io/library/"), " ", p.Kind, " ", p.Name, p.From, p.To))
	}
	want := []string{"changed:1 deb a[1] []", "come:1 deb a[] [1]", "come:1 deb b[] [1]", "gone:1 deb a[1] []", "gone:1 deb b[1] []", "many:3 deb a[5] [7]", "moved:2 deb a[1] [2]",
		"two:1 deb a[1] []", "two:1 deb b[1] []", "two:2 deb a[2] []", "two:2 deb b[1] []", "two:3 deb a[] [1]", "two:3 deb b[] [1]"}
	if diff := cmp.Diff(want, packages); diff != "" {
		t.Error(diff)
	}
}

func TestConfigurationIsCompared(t *testing.T) {
	store := registrytest.Store(t)
	from, to := cluster(t, store), cluster(t, store)
	from.Config.Config = v1.Config{Labels: map[string]string{"a": "1", "b": "1"}, Env: []string{"X=1"}, Cmd: []string{"a", "b"}}
	to.Config.Config = v1.Config{Labels: map[string]string{"a": "1", "b": "2", "c": "3"}, Env: []string{"X=2"}, WorkingDir: "/w"}
	want := []contents.SettingChange{{"cmd", "a b", ""}, {"env X", "1", "2"}, {"label b", "1", "2"}, {"label c", "", "3"}, {"workdir", "", "/w"}}
	if diff := cmp.Diff(want, compare(t, from, to, contents.CompareOptions{}).Config); diff != "" {
		t.Error(diff)
	}
}

// counting is a source that counts what is read.
type counting struct {
	artifact.Source
	mu   sync.Mutex
	read map[v1.Hash]int64
}

func (c *counting) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := c.Source.Open(ctx, ref, d, offset)
	if err != nil {
		return nil, err
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{&counter{r.(io.ReadSeeker), c, d.Digest}, r}, nil
}

type counter struct {
	io.ReadSeeker
	of     *counting
	digest v1.Hash
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadSeeker.Read(p)
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.read[c.digest] += int64(n)
	return n, err
}

func TestLayersOfBothAreReadAsFarAsTheyMatter(t *testing.T) {
	store := registrytest.Store(t)
	base := airgaptest.PutLayer(t, store, true, file("bin/big", strings.Repeat("x", 1<<20)))
	big := []airgaptest.File{file("var/lib/dpkg/status", dpkg+strings.Repeat("X: y\n", 1<<20))}
	images := bundle(t, store, map[string][][]airgaptest.File{"a:1": {big}})
	one := airgaptest.PutLayer(t, store, true, file("etc/a", "1"))
	two := airgaptest.PutLayer(t, store, true, file("etc/a", "2"))
	more := airgaptest.PutLayer(t, store, true, file("etc/b", "2"))
	for name, test := range map[string]struct {
		from, to []v1.Descriptor
		most     map[v1.Hash]int64
	}{
		"the same layers":      {[]v1.Descriptor{base, one, images}, []v1.Descriptor{base, one, images}, map[v1.Hash]int64{base.Digest: 0, one.Digest: 0, images.Digest: 0}},
		"the same names":       {[]v1.Descriptor{base, one, images}, []v1.Descriptor{base, two, images}, map[v1.Hash]int64{base.Digest: 0, one.Digest: one.Size, images.Digest: 16 << 10}},
		"another name":         {[]v1.Descriptor{base, one, images}, []v1.Descriptor{base, more, images}, map[v1.Hash]int64{base.Digest: base.Size, images.Digest: 16 << 10}},
		"images below the one": {[]v1.Descriptor{images, base, one}, []v1.Descriptor{images, base, more}, map[v1.Hash]int64{base.Digest: base.Size, images.Digest: 16 << 10}},
	} {
		t.Run(name, func(t *testing.T) {
			src := &counting{Source: store, read: map[v1.Hash]int64{}}
			from, to := cluster(t, store, test.from...), cluster(t, store, test.to...)
			from.Source, to.Source = src, src
			d := compare(t, from, to, contents.CompareOptions{Files: true, Images: true, Packages: true})
			if d.Empty() != (name == "the same layers") {
				t.Errorf("difference %+v", d)
			}
			for h, most := range test.most {
				if most > 0 {
					most += 512 // to see what kind of layer it is
				}
				if src.read[h] > most {
					t.Errorf("layer %s: %d bytes were read, not %d", h, src.read[h], most)
				}
			}
		})
	}
}

func TestLayerThatOnlyAChangedImageNeedsIsRead(t *testing.T) {
	store, b := registrytest.Store(t), blobs{}
	lower := []airgaptest.File{file("var/lib/dpkg/status", dpkg)}
	img := airgaptest.Entry("docker.io/library/a:1", b.image(t, lower))
	shared := airgaptest.PutLayer(t, store, false, b.files(t)...) // the blobs, in a layer of both
	c := blobs{}
	changed := airgaptest.Entry("docker.io/library/a:1", c.image(t, lower, []airgaptest.File{file("var/lib/dpkg/status", "Package: openssl\nVersion: 4\n")}))
	from := cluster(t, store, shared, airgaptest.PutLayer(t, store, false, blobs{}.files(t, img)...))
	to := cluster(t, store, shared, airgaptest.PutLayer(t, store, false, c.files(t, changed)...))
	d := compare(t, from, to, contents.CompareOptions{Packages: true})
	var got []string
	for _, p := range d.Packages {
		got = append(got, fmt.Sprint(p.Name, p.From, p.To))
	}
	if diff := cmp.Diff([]string{"libc6[2.36-9+deb12u3] []", "openssl[3.0.11-1] [4]"}, got); diff != "" {
		t.Error(diff)
	}
	if len(d.Images) > 0 || len(d.Notes) > 0 {
		t.Errorf("images %v, notes %q", d.Images, d.Notes)
	}
}
