package builder

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/archive"
)

// tarball returns the bytes of an OCI archive of a container image of one file.
func tarball(t *testing.T, name, content string) string {
	t.Helper()
	return saved(t, options(t, "FROM scratch\nCOPY app /\nBASE none\n", map[string]string{"app": content}), name)
}

// saved returns the bytes of an OCI archive of what is built.
func saved(t *testing.T, o Options, name string) string {
	t.Helper()
	o.Tags = []artifact.Reference{ref(t, name)}
	mustBuild(t, o)
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := archive.Save(t.Context(), file, o.Store, o.Tags, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// madeLayers lists the instructions of the history that made layers.
func madeLayers(b built) []string {
	var list []string
	for _, h := range b.config.History {
		if !h.EmptyLayer {
			list = append(list, h.CreatedBy)
		}
	}
	return list
}

func TestBaseTakesArchivesApart(t *testing.T) {
	files := map[string]string{
		"images/app.tar": tarball(t, "example.com/app:1", "app"), "images/notes.txt": "read me", "app.tar": tarball(t, "example.com/other:1", "other"),
	}
	tests := []struct {
		name, lines string
		names       string   // in the index
		tree        []string // files beside those of the layout
		layers      []string // instructions with layers, BASE left out
	}{
		{"alone", "COPY images/app.tar images/", "example.com/app:1", nil, nil},
		{"with others", "COPY images images", "example.com/app:1", []string{"images/notes.txt"}, []string{"COPY images images"}},
		{"by ADD of a name", "COPY app.tar images/x.tar", "example.com/other:1", nil, nil},
		{"not in images", "COPY app.tar lib/\nCOPY images/app.tar images/", "example.com/app:1", []string{"lib/app.tar"}, []string{"COPY app.tar lib/"}},
		{"overwritten", "COPY app.tar images/app.tar\nCOPY images/app.tar images/", "example.com/app:1", nil, nil},
		{"kept", "COPY images/app.tar images/\nBASE --keep-archives rootfs cache", "", []string{"images/app.tar"}, []string{"COPY images/app.tar images/"}},
		{"none", "COPY images/app.tar images/\nBASE none", "", []string{"images/app.tar"}, []string{"COPY images/app.tar images/"}},
		{"ignored", "COPY images/app.tar images/\nCOPY <<E .imageignore\nimages/app.tar\nE", "", []string{".imageignore", "images/app.tar"},
			[]string{"COPY images/app.tar images/", "COPY <<E .imageignore\nimages/app.tar\nE"}},
		{"ignored image", "COPY images/app.tar app.tar images/\nCOPY <<E .imageignore\nexample.com/app\nE", "example.com/other:1", []string{".imageignore"},
			[]string{"COPY <<E .imageignore\nexample.com/app\nE"}},
		{"from a stage", "COPY images images\nFROM scratch\nCOPY --from=0 images images", "example.com/app:1", []string{"images/notes.txt"},
			[]string{"COPY --from=0 images images"}},
		{"from the stage below", "COPY images/app.tar images/\nFROM first", "example.com/app:1", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := mustBuild(t, options(t, "FROM scratch AS first\n"+tt.lines+"\n", files))
			got := ""
			if b.files(t)["images/index.json"] != "" {
				got = indexNames(t, b)
			}
			if got != tt.names {
				t.Errorf("the index names %q, want %q", got, tt.names)
			}
			tree := slices.DeleteFunc(b.names(t), func(name string) bool {
				return strings.HasPrefix(name, "images/blobs/") || name == "images/index.json" || name == "images/oci-layout"
			})
			if !slices.Equal(tree, tt.tree) {
				t.Errorf("the tree has %v, want %v", tree, tt.tree)
			}
			layers := slices.DeleteFunc(madeLayers(b), func(by string) bool { return by == artifact.HistoryBase })
			if !slices.Equal(layers, tt.layers) {
				t.Errorf("layers by %q, want %q", layers, tt.layers)
			}
			if n := len(madeLayers(b)); n != len(b.manifest.Layers) {
				t.Errorf("the history tells of %d layers, there are %d", n, len(b.manifest.Layers))
			}
		})
	}
}

func TestArchivesThatAreTakenApartAreNotCompressed(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY images/app.tar images/\n", map[string]string{"images/app.tar": tarball(t, "example.com/app:1", "app")})
	mustBuild(t, o)
	hashes, err := o.Store.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hashes {
		head, err := os.ReadFile(o.Store.BlobPath(h))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(head), "images/app.tar") && head[0] != '{' { // the history may tell of it
			t.Errorf("blob %s holds the archive", h)
		}
	}
}

func TestArchivesThatCommandsMakeAreTakenApart(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY app.tar keep.txt /\nRUN mkdir images && mv app.tar images/ && echo made > made.txt\n",
		map[string]string{"app.tar": tarball(t, "example.com/app:1", "app"), "keep.txt": "keep"})
	b := mustBuild(t, o)
	if got := indexNames(t, b); got != "example.com/app:1" {
		t.Errorf("the index names %s", got)
	}
	names := b.names(t)
	if slices.Contains(names, "images/app.tar") || !slices.Contains(names, "made.txt") || !slices.Contains(names, "keep.txt") {
		t.Errorf("the tree has %v", names)
	}
	if again := mustBuild(t, o); again.desc.Digest != b.desc.Digest {
		t.Error("a second build has another digest")
	}
}

func TestArchivesOfTheBaseImageStay(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY images images\nBASE none\n", map[string]string{"images/app.tar": tarball(t, "example.com/app:1", "app")})
	o.Tags = []artifact.Reference{ref(t, "below:1")}
	mustBuild(t, o)
	o.File = parse(t, "FROM below:1\nCOPY images/app.tar etc/\n")
	b := mustBuild(t, o)
	if names := b.names(t); !slices.Equal(names, []string{"etc/app.tar", "images/app.tar"}) {
		t.Errorf("the tree has %v", names)
	}
}

func TestListsFindImagesInArchivesThatAreKept(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY images images\nCOPY imageList manifests\nBASE --keep-archives rootfs cache\n",
		map[string]string{"images/app.tar": tarball(t, "example.com/app:1", "app"), "imageList": "example.com/app:1\n"})
	b := mustBuild(t, o)
	if got := indexNames(t, b); got != "example.com/app:1" {
		t.Errorf("the index names %s", got)
	}
}

func TestAFileInImagesThatIsNoArchiveFailsTheBuild(t *testing.T) {
	got := failing(t, options(t, "FROM scratch\nCOPY images images\n", map[string]string{"images/app.tar": "not a tarball"}))
	for _, want := range []string{"images/app.tar", ".imageignore"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
}

func TestImagesAreTakenFromTheStoreAndWhereTheUserSays(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY app /\nBASE none\n", map[string]string{"app": "stored", "imageList": "example.com/stored:1\nexample.com/inside:1\nexample.com/archived:1\n"})
	o.Tags = []artifact.Reference{ref(t, "example.com/stored:1")}
	mustBuild(t, o)
	o.File, o.Tags = parse(t, "FROM scratch\nCOPY in.tar images/\n"), []artifact.Reference{ref(t, "cluster:1")}
	addFiles(t, o.Context, map[string]string{"in.tar": tarball(t, "example.com/inside:1", "inside"), "x.tar": tarball(t, "example.com/archived:1", "archived")})
	mustBuild(t, o)
	o.File, o.Tags = parse(t, "FROM scratch\nCOPY imageList manifests\n"), []artifact.Reference{ref(t, "test:1")}
	o.ImageSources = []string{"oci-archive:x.tar", "cluster:1"}
	b := mustBuild(t, o)
	if got := indexNames(t, b); got != "example.com/archived:1 example.com/inside:1 example.com/stored:1" {
		t.Errorf("the index names %s", got)
	}
}

// TestBaseAdoptsALayout is about a layout that another tool wrote into images/: its names are those that skopeo is given.
func TestBaseAdoptsALayout(t *testing.T) {
	files := map[string]string{}
	for r := tar.NewReader(strings.NewReader(tarball(t, "example.com/app:1", "app"))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files["images/"+h.Name] = string(data)
		}
	}
	var idx v1.IndexManifest
	if err := json.Unmarshal([]byte(files["images/index.json"]), &idx); err != nil {
		t.Fatal(err)
	}
	files["manifests/imageList"] = "app:1\n"
	build := func(name string) (Options, v1.Descriptor, error) {
		idx.Manifests[0].Annotations = map[string]string{artifact.AnnotationRefName: name}
		index, _ := json.Marshal(idx)
		files["images/index.json"] = string(index)
		o := options(t, "FROM scratch\nCOPY . .\nBASE rootfs cache\n", files)
		d, err := Build(t.Context(), o)
		return o, d, err
	}
	o, d, err := build("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if got := indexNames(t, read(t, o.Store, d, nil)); got != "docker.io/library/app:1" {
		t.Errorf("the index names %s", got)
	}
	if _, _, err := build("latest"); err == nil || !strings.Contains(err.Error(), "images/index.json: image 1: "+idx.Manifests[0].Digest.String()+" has no full name") {
		t.Errorf("an image without a name: %v", err)
	}
	for name, content := range files {
		if strings.HasPrefix(name, "images/blobs/") && content[0] != '{' {
			delete(files, name)
		}
	}
	if _, _, err := build("app:1"); err == nil || !strings.Contains(err.Error(), "image 1: it is not whole: app:1@") {
		t.Errorf("an image without its layer: %v", err)
	}
}

func TestArchivesThatHaveAnotherImageUnderOneNameAreToldOf(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY images images\n", map[string]string{
		"images/a.tar": tarball(t, "example.com/app:1", "first"), "images/b.tar": tarball(t, "example.com/app:1", "second"), "images/c.tar": tarball(t, "example.com/app:1", "first"),
	})
	said := notes(&o)
	mustBuild(t, o)
	if got := said.String(); !strings.Contains(got, "images/b.tar has another example.com/app:1 than images/a.tar, which is taken") || strings.Contains(got, "c.tar has another") {
		t.Errorf("told: %s", got)
	}
}

func TestArchivesForSeveralPlatformsGiveEachItsImage(t *testing.T) {
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	o := options(t, "FROM scratch\nCOPY app /\nBASE none\n", map[string]string{"app": "app"})
	o.Platforms, o.Tags = []v1.Platform{amd64, arm}, []artifact.Reference{ref(t, "example.com/app:1")}
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := archive.Save(t.Context(), filepath.Join(o.Context, "app.tar"), o.Store, o.Tags, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	o.File, o.Tags, o.Store = parse(t, "FROM scratch\nCOPY app.tar images/\n"), []artifact.Reference{ref(t, "test:1")}, newStore(t)
	d, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, p := range o.Platforms {
		digests = append(digests, read(t, o.Store, d, &p).files(t)["images/index.json"])
	}
	if digests[0] == "" || digests[0] == digests[1] {
		t.Errorf("both platforms have %s", digests[0])
	}
}
