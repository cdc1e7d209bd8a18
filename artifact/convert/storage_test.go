package convert

import (
	"archive/tar"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage in question
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
)

// TestStorageOfARealRegistry reads what docker's registry writes, as sealos and sealer have it write.
func TestStorageOfARealRegistry(t *testing.T) {
	dir := t.TempDir()
	config := &configuration.Configuration{Storage: configuration.Storage{"filesystem": configuration.Parameters{"rootdirectory": dir}, "maintenance": {"uploadpurging": map[any]any{"enabled": false}}}}
	config.Log.AccessLog.Disabled = true
	config.Log.Level = "panic"
	server := httptest.NewServer(handlers.NewApp(t.Context(), config))
	defer server.Close()
	for _, image := range []string{"pause:3.9", "library/nginx:1.25", "a/b/c:1", "library/nginx:1.26"} {
		ref, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/" + image)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, registrytest.Image(t, amd64, 2<<20, "shared", image)); err != nil {
			t.Fatal(err)
		}
	}
	var files []converttest.File
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		f := converttest.File{Name: "registry/" + filepath.ToSlash(rel), Kind: tar.TypeDir}
		if !e.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f = converttest.Text(f.Name, string(b))
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list := "registry.k8s.io/pause:3.9\nquay.io/a/b/c:1\n"
	c := convert(t, Options{}, converttest.Image{Platform: amd64, Layers: [][]converttest.File{append(files, converttest.Text("images/shim/all", list))}})
	want := []string{"docker.io/library/nginx:1.25", "docker.io/library/nginx:1.26", "quay.io/a/b/c:1", "registry.k8s.io/pause:3.9"}
	if diff := cmp.Diff(want, c.prove(t, amd64)); diff != "" {
		t.Error(diff)
	}
	if len(c.remarks()) > 0 {
		t.Errorf("%q", c.remarks())
	}
	tree := c.unpack(t, amd64)
	if tree["registry/"] != "" || tree["images/"] != "" {
		t.Error(tree)
	}
	if _, there := tree["registry/"]; there {
		t.Error("registry/ is still there")
	}
}

func TestPartsOfTheStorage(t *testing.T) {
	h := strings.Repeat("ab", 32)
	tests := []struct {
		name      string
		ours      bool
		repo, tag string
		digest    string
	}{
		{"registry/docker/registry/v2/blobs/sha256/ab/" + h + "/data", true, "", "", h},
		{"images/docker/registry/v2/blobs/sha256/ab/" + h + "/data", true, "", "", h},
		{"registry/docker/registry/v2/blobs/sha512/ab/" + h + "/data", true, "", "", ""},
		{"registry/docker/registry/v2/blobs/sha256/ab/ab/data", true, "", "", ""},
		{"registry/docker/registry/v2/repositories/a/b/_manifests/tags/1/current/link", true, "a/b", "1", ""},
		{"registry/docker/registry/v2/repositories/a/_manifests/tags/1/index/sha256/" + h + "/link", true, "", "", ""},
		{"registry/docker/registry/v2/repositories/a/_manifests/revisions/sha256/" + h + "/link", true, "a", "", ""},
		{"registry/docker/registry/v2/repositories/a/_layers/sha256/" + h + "/link", true, "", "", ""},
		{"registry/docker/registry/v2/repositories/a/_uploads/x/data", true, "", "", ""},
		{"registry/docker/registry/scheduler-state.json", true, "", "", ""},
		{"registry/README", false, "", "", ""},
		{"docker/registry/v2/blobs", false, "", "", ""},
		{"etc/docker/registry/config.yml", false, "", "", ""},
	}
	for _, test := range tests {
		inside, ours := inStorage(test.name)
		p, _ := parsePart(inside)
		if ours != test.ours || p.repo != test.repo || p.tag != test.tag || p.digest.Hex != test.digest && test.digest != "" {
			t.Errorf("%s: %v, %+v", test.name, ours, p)
		}
	}
}

func TestHardLinksInTheStorage(t *testing.T) {
	s := converttest.NewStorage(t)
	h := s.Push("library/a", "1", registrytest.Image(t, amd64, 1<<10, "a"))
	files := s.Files()
	tag, revision := converttest.TagPath("library/a", "1"), converttest.Root+"repositories/library/a/_manifests/revisions/sha256/"+h.Hex+"/link"
	var order []converttest.File
	for _, f := range files {
		if f.Name != tag {
			order = append(order, f)
		}
	}
	order = append(order, converttest.File{Name: tag, Kind: tar.TypeLink, Link: revision})
	c := convert(t, Options{}, converttest.Image{Platform: amd64, Layers: [][]converttest.File{order}})
	if names := c.prove(t, amd64); len(names) != 1 {
		t.Errorf("%q", names)
	}
	order[len(order)-1].Link = "etc/elsewhere"
	if _, err := tryConvert(t, Options{}, converttest.Image{Platform: amd64, Layers: [][]converttest.File{order}}); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Error(err)
	}
}
