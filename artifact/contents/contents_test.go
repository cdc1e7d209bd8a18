package contents_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/contents"
	"github.com/sealrt/sealrt/artifact/store"
)

// blobs are the blobs of images/ that a test puts together, by digest.
type blobs map[v1.Hash][]byte

func (b blobs) put(mt types.MediaType, content []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: mt, Digest: layout.DigestOf(content), Size: int64(len(content))}
	b[d.Digest] = content
	return d
}

func (b blobs) json(t testing.TB, mt types.MediaType, value any) v1.Descriptor {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return b.put(mt, raw)
}

// image adds a container image of compressed layers.
func (b blobs) image(t testing.TB, layers ...[]airgaptest.File) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, files := range layers {
		m.Layers = append(m.Layers, b.put(types.OCILayer, airgaptest.Gzipped(airgaptest.Tar(t, files...))))
	}
	m.Config = b.json(t, types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	return b.json(t, m.MediaType, m)
}

// files returns the image layout of the blobs, with these entries.
func (b blobs) files(t testing.TB, entries ...v1.Descriptor) []airgaptest.File {
	t.Helper()
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: entries})
	if err != nil {
		t.Fatal(err)
	}
	files := []airgaptest.File{{Name: "images/oci-layout", Content: `{"imageLayoutVersion":"1.0.0"}`}, {Name: "images/index.json", Content: string(index)}}
	for h, content := range b {
		files = append(files, airgaptest.File{Name: "images/" + layout.BlobPath(h), Content: string(content)})
	}
	return files
}

// cluster is airgaptest.NewCluster as Read wants it.
func cluster(t testing.TB, store *store.Store, layers ...v1.Descriptor) contents.Cluster {
	t.Helper()
	c := airgaptest.NewCluster(t, store, layers...)
	return contents.Cluster{Source: store, Ref: c.Ref, Manifest: c.Manifest, Config: c.Config}
}

func read(t testing.TB, c contents.Cluster) *contents.Contents {
	t.Helper()
	found, err := contents.Read(t.Context(), c, contents.Options{Scratch: t.TempDir(), SHA1: true})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func file(name, content string) airgaptest.File { return airgaptest.File{Name: name, Content: content} }

const (
	debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"
	dpkg   = `Package: openssl
Status: install ok installed
Maintainer: Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>
Architecture: amd64
Version: 3.0.11-1
Description: Secure Sockets Layer toolkit
 Package: this line is none

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u3
`
	apk = "P:busybox\nV:1.36.1-r2\nA:x86_64\nL:GPL-2.0-only\no:busybox\n\nP:musl-utils\nV:1.2.4-r1\nA:x86_64\no:musl\n\n"
)

// packages writes a list of packages in short.
func packages(s contents.Software) string {
	var list []string
	for _, p := range s.Packages {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", p.Kind, p.Name, p.Version, p.Arch, strings.TrimSpace(p.Source+" "+p.SourceVersion))))
	}
	return strings.Join(list, "\n")
}

func TestPackagesAreThoseOfTheTopmostLayers(t *testing.T) {
	openssl := "deb libc6 2.36-9+deb12u3 amd64 glibc 2.36-9\ndeb openssl 3.0.11-1 amd64"
	for name, test := range map[string]struct {
		layers [][]airgaptest.File
		want   string
	}{
		"of dpkg":                 {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}}, openssl},
		"of apk":                  {[][]airgaptest.File{{file("lib/apk/db/installed", apk)}}, "apk busybox 1.36.1-r2 x86_64 busybox\napk musl-utils 1.2.4-r1 x86_64 musl"},
		"of apk where it is now":  {[][]airgaptest.File{{file("usr/lib/apk/db/installed", "P:a\nV:1\nA:noarch")}}, "apk a 1 noarch"},
		"without dpkg":            {[][]airgaptest.File{{file("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\nArchitecture: all\n"), file("var/lib/dpkg/status.d/tzdata.md5sums", dpkg)}}, "deb tzdata 2024a all"},
		"replaced":                {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file("var/lib/dpkg/status", "Package: a\nVersion: 2\n")}}, "deb a 2"},
		"removed":                 {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file("var/lib/dpkg/.wh.status", "")}}, ""},
		"removed with its folder": {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file(".wh.var", "")}}, ""},
		"under an opaque folder":  {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file("var/lib/.wh..wh..opq", "")}}, ""},
		"under what is a file":    {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file("var/lib", "")}}, ""},
		"under a link":            {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {{Name: "var/lib/dpkg", Kind: tar.TypeSymlink, Link: "/usr"}}}, ""},
		"replaced by a folder":    {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {{Name: "var/lib/dpkg/status", Kind: tar.TypeDir}}}, ""},
		"beside what is removed":  {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file("var/lib/dpkg/.wh.status-old", ""), file("var/lib/apk/.wh..wh..opq", "")}}, openssl},
		"removed and made again":  {[][]airgaptest.File{{file("var/lib/dpkg/status", dpkg)}, {file(".wh.var", ""), file("var/lib/dpkg/status", "Package: a\nVersion: 3\n")}}, "deb a 3"},
	} {
		t.Run(name, func(t *testing.T) {
			store, b := registrytest.Store(t), blobs{}
			img := airgaptest.Entry("docker.io/library/app:1", b.image(t, test.layers...))
			found := read(t, cluster(t, store, airgaptest.PutLayer(t, store, false, b.files(t, img)...)))
			if len(found.Images) != 1 || len(found.Images[0].Variants) != 1 {
				t.Fatalf("images %+v, notes %q", found.Images, found.Notes)
			}
			if diff := cmp.Diff(test.want, packages(found.Images[0].Variants[0].Software)); diff != "" {
				t.Error(diff)
			}
			// The cluster image's own tree goes by the same rules.
			var layers []v1.Descriptor
			for _, files := range test.layers {
				layers = append(layers, airgaptest.PutLayer(t, store, true, files...))
			}
			if diff := cmp.Diff(test.want, packages(read(t, cluster(t, store, layers...)).Software)); diff != "" {
				t.Errorf("in the tree: %s", diff)
			}
		})
	}
}

func TestDistributionIsThatOfOSRelease(t *testing.T) {
	store := registrytest.Store(t)
	lower := airgaptest.PutLayer(t, store, true, file("usr/lib/os-release", debian))
	upper := airgaptest.PutLayer(t, store, true, file("etc/os-release", "ID=other\nVERSION_ID=1"))
	want := contents.OS{ID: "debian", Version: "12", Name: "Debian GNU/Linux 12 (bookworm)"}
	if got := read(t, cluster(t, store, lower)).Software.OS; got != want {
		t.Errorf("got %+v", got)
	}
	if got := read(t, cluster(t, store, lower, upper)).Software.OS; got.ID != "other" {
		t.Errorf("got %+v", got)
	}
}

// tool builds a program for Linux.
func tool(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tool")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", path, "./testdata/tool")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGoProgramsTellTheirModules(t *testing.T) {
	program := tool(t)
	store, b := registrytest.Store(t), blobs{}
	img := airgaptest.Entry("docker.io/library/app:1", b.image(t, []airgaptest.File{
		file("usr/bin/app", program), {Name: "usr/bin/other", Kind: tar.TypeLink, Link: "usr/bin/app"}}))
	tree := []airgaptest.File{file("bin/tool", program), {Name: "bin/link", Kind: tar.TypeLink, Link: "bin/tool"}, file("bin/cut", program[:4096]), file("bin/script", "#!/bin/sh\n")}
	found := read(t, cluster(t, store, airgaptest.PutLayer(t, store, true, tree...), airgaptest.PutLayer(t, store, false, b.files(t, img)...)))
	if len(found.Images) != 1 || len(found.Images[0].Variants) != 1 {
		t.Fatalf("images %+v, notes %q", found.Images, found.Notes)
	}
	for where, s := range map[string]contents.Software{"bin/link bin/tool": found.Software, "usr/bin/app usr/bin/other": found.Images[0].Variants[0].Software} {
		if len(s.Programs) != 1 {
			t.Fatalf("%s: %d programs", where, len(s.Programs))
		}
		p := s.Programs[0]
		if got := strings.Join(p.Files, " "); got != where {
			t.Errorf("found as %s, not as %s", got, where)
		}
		if p.Go != runtime.Version() || p.SHA256 != sha256.Sum256([]byte(program)) || p.Size != int64(len(program)) {
			t.Errorf("%s: %s, %x", where, p.Go, p.SHA256)
		}
		if p.Path != "github.com/sealrt/sealrt/artifact/contents/testdata/tool" || p.Main != (contents.Module{Path: "github.com/sealrt/sealrt"}) {
			t.Errorf("%s: %s of %+v", where, p.Path, p.Main)
		}
		if len(p.Modules) != 1 || p.Modules[0].Path != "golang.org/x/sync" || !strings.HasPrefix(p.Modules[0].Version, "v0.") {
			t.Errorf("%s: modules %v", where, p.Modules)
		}
	}
}

const chartYAML = "name: app\nversion: 1.2.3\nappVersion: \"4.5\"\ndependencies:\n- name: redis\n  version: \">=17\"\n  repository: https://charts.example.com\n"

func TestChartsAreReadFromFoldersAndArchives(t *testing.T) {
	store := registrytest.Store(t)
	inner := airgaptest.Gzipped(airgaptest.Tar(t, file("sub/Chart.yaml", "name: sub\nversion: 0.2.0\n")))
	archive := airgaptest.Gzipped(airgaptest.Tar(t, file("app/Chart.yaml", chartYAML), file("app/values.yaml", "a: b"), file("app/charts/sub-0.2.0.tgz", string(inner)),
		file("app/charts/other/Chart.yaml", "name: other\nversion: 3.0.0\n")))
	found := read(t, cluster(t, store, airgaptest.PutLayer(t, store, true, file("charts/app-1.2.3.tgz", string(archive)), file("charts/folder/Chart.yaml", "name: folder\nversion: 1.0.0\n"),
		file("charts/bad.tgz", "no archive"), file("charts/worse/Chart.yaml", "{"))))
	want := []contents.Chart{
		{File: "charts/app-1.2.3.tgz!app/Chart.yaml", Name: "app", Version: "1.2.3", AppVersion: "4.5", Dependencies: []contents.Dependency{{Name: "redis", Version: ">=17", Repository: "https://charts.example.com"}}},
		{File: "charts/app-1.2.3.tgz!app/charts/other/Chart.yaml", Name: "other", Version: "3.0.0"},
		{File: "charts/app-1.2.3.tgz!app/charts/sub-0.2.0.tgz!sub/Chart.yaml", Name: "sub", Version: "0.2.0"},
		{File: "charts/folder/Chart.yaml", Name: "folder", Version: "1.0.0"},
	}
	if diff := cmp.Diff(want, found.Software.Charts); diff != "" {
		t.Error(diff)
	}
	if len(found.Notes) != 2 || !strings.HasPrefix(found.Notes[0], "charts/bad.tgz: ") || !strings.HasPrefix(found.Notes[1], "charts/worse/Chart.yaml: ") {
		t.Errorf("notes %q", found.Notes)
	}
}

func TestFilesAreThoseOfTheTree(t *testing.T) {
	store, b := registrytest.Store(t), blobs{}
	img := airgaptest.Entry("docker.io/library/app:1", b.image(t, nil))
	lower := airgaptest.PutLayer(t, store, true, airgaptest.File{Name: "etc", Kind: tar.TypeDir}, file("etc/a", "one"), file("etc/b", "two"), file("images/kept.tar", "x"))
	upper := airgaptest.PutLayer(t, store, false, append(b.files(t, img), file("etc/.wh.b", ""), airgaptest.File{Name: "etc/c", Kind: tar.TypeSymlink, Link: "a"},
		airgaptest.File{Name: "etc/d", Kind: tar.TypeLink, Link: "etc/a"})...)
	found := read(t, cluster(t, store, lower, upper))
	var got []string
	for _, f := range found.Files {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %d %.8s %s", f.Mode, f.Name, f.Size, f.Digest().Hex, f.Link)))
	}
	want := []string{
		"drw-r--r-- etc 0",
		"-rw-r--r-- etc/a 3 7692c3ad",
		"Lrw-r--r-- etc/c 0  a",
		"-rw-r--r-- etc/d 3 7692c3ad",
		"-rw-r--r-- images/kept.tar 1 2d711642",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"images/kept.tar: the container images in this archive are not read"}, found.Notes); diff != "" {
		t.Error(diff)
	}
}

func TestImagesHaveNamesAndPlatforms(t *testing.T) {
	store, b := registrytest.Store(t), blobs{}
	one := b.image(t, []airgaptest.File{file("var/lib/dpkg/status", dpkg)})
	absent := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: layout.DigestOf([]byte("absent")), Size: 6}
	index := b.json(t, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{one, absent}})
	signature := b.image(t, nil)
	signature.Annotations = map[string]string{artifact.AnnotationImageName: "docker.io/library/app:sha256-1.sig"}
	files := b.files(t, airgaptest.Entry("docker.io/library/b:1", one), airgaptest.Entry("docker.io/library/a:1", one), airgaptest.Entry("docker.io/library/c@"+index.Digest.String(), index),
		airgaptest.Entry("docker.io/library/d:1", absent), signature)
	found := read(t, cluster(t, store, airgaptest.PutLayer(t, store, true, files...)))
	var got []string
	for _, i := range found.Images {
		line := strings.Join(i.Names, " ") + ":"
		for _, v := range i.Variants {
			line += fmt.Sprintf(" %s %t %d", v.Platform, v.Digest == one.Digest, len(v.Software.Packages))
		}
		got = append(got, line)
	}
	want := []string{"docker.io/library/a:1 docker.io/library/b:1: linux/amd64 true 2", "docker.io/library/c@" + index.Digest.String() + ": linux/amd64 true 2", "docker.io/library/d:1:"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"docker.io/library/d:1: its manifest is not inside, or no manifest"}, found.Notes); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCannotBeReadIsNoted(t *testing.T) {
	rpm := []airgaptest.File{file("var/lib/rpm/rpmdb.sqlite", "SQLite format 3")}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, b blobs) v1.Descriptor
		want  string
	}{
		"a layer that is no archive": {func(t *testing.T, b blobs) v1.Descriptor {
			m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: b.put(types.OCIConfigJSON, []byte("{}")), Layers: []v1.Descriptor{b.put(types.OCILayer, []byte("\x1f\x8bno archive"))}}
			return b.json(t, m.MediaType, m)
		}, "app:1: layer 1, sha256:"},
		"a layer that is not there": {func(t *testing.T, b blobs) v1.Descriptor {
			m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: b.put(types.OCIConfigJSON, []byte("{}")), Layers: []v1.Descriptor{{MediaType: types.OCILayer, Digest: layout.DigestOf(nil)}}}
			return b.json(t, m.MediaType, m)
		}, " is not inside"},
		"a manifest with other bytes": {func(t *testing.T, b blobs) v1.Descriptor {
			d := b.image(t, rpm)
			b[d.Digest] = append(b[d.Digest], ' ')
			return d
		}, "app:1: its manifest is not inside, or no manifest"},
		"a database of RPM": {func(t *testing.T, b blobs) v1.Descriptor { return b.image(t, rpm) }, "app:1: var/lib/rpm/rpmdb.sqlite: the packages of RPM are not read"},
	} {
		t.Run(name, func(t *testing.T) {
			store, b := registrytest.Store(t), blobs{}
			d := airgaptest.Entry("docker.io/library/app:1", test.spoil(t, b))
			found := read(t, cluster(t, store, airgaptest.PutLayer(t, store, false, b.files(t, d)...)))
			if len(found.Notes) != 1 || !strings.Contains(found.Notes[0], test.want) {
				t.Errorf("notes %q, not %q", found.Notes, test.want)
			}
		})
	}
}

func TestDamagedLayerIsAnError(t *testing.T) {
	store := registrytest.Store(t)
	d := airgaptest.PutLayer(t, store, true, file("bin/a", "a"))
	path := store.BlobPath(d.Digest)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func([]byte){
		"in the middle": func(b []byte) { b[len(b)/2] ^= 0xff },
		"in its head":   func(b []byte) { b[9] ^= 0xff }, // the operating system, which no decoder looks at
	} {
		bad := append([]byte{}, raw...)
		spoil(bad)
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = contents.Read(t.Context(), cluster(t, store, d), contents.Options{Scratch: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "layer 1 of 1") || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestNothingIsLeftInTheScratchDirectory(t *testing.T) {
	store := registrytest.Store(t)
	dir := t.TempDir()
	c := cluster(t, store, airgaptest.PutLayer(t, store, true, file("bin/tool", tool(t))))
	if _, err := contents.Read(t.Context(), c, contents.Options{Scratch: dir}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	missing := contents.Options{Scratch: filepath.Join(dir, "missing")}
	if _, err := contents.Read(t.Context(), c, missing); err == nil || !strings.Contains(err.Error(), "bin/tool: look at a program: ") {
		t.Errorf("error %v", err)
	}
}
