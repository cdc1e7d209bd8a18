package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// The digests of the images of this test when they come out of an archive of
// docker: they must be the same on every machine, with every release.
const (
	goldenApp      = "sha256:441538145da556eaea282cdebc4d84cb9154a953117a97891f3cc038f6270f5e"
	goldenWeb      = "sha256:61bd5f8407e2a2fd1e8d63092591e51aa460cab7f7cfcc69ac8301795a6497a2"
	goldenNameless = "sha256:6cb06a50a839a48809ecca14b065d4c23bed19819b84cde990e99105485d96ea"
)

// twoImages share a layer.
func twoImages(t *testing.T) []saved {
	return []saved{newImage(t, amd64, []string{"team/app:v1", "localhost:5000/app:1"}, "base", "app"), newImage(t, amd64, []string{"web:latest"}, "base", "web")}
}

func TestTarballsOfEveryTool(t *testing.T) {
	images := twoImages(t)
	appBlobs, app := ociImage(t, images[0])
	webBlobs, web := ociImage(t, images[1])
	blobs := append(appBlobs, webBlobs...)
	arm := newImage(t, arm64, nil, "other")
	armBlobs, armDesc := ociImage(t, arm)
	mine, other := app, armDesc
	mine.Platform, other.Platform = &amd64, &arm64
	index, indexDesc := ociIndex(t, other, mine)
	oci := map[string]string{"team/app:v1": app.Digest.String(), "localhost:5000/app:1": app.Digest.String(), "web:latest": web.Digest.String()}
	docker := map[string]string{"team/app:v1": goldenApp, "localhost:5000/app:1": goldenApp, "web:latest": goldenWeb}
	tests := map[string]struct {
		files []entry
		want  map[string]string
	}{
		"docker save up to 24":    {legacy(t, images...), docker},
		"crane and ko":            {zippedLayers(t, images...), docker},
		"skopeo, nerdctl, buildx": {append(blobs, layoutFiles(t, called(app, refName, "team/app:v1"), called(app, refName, "localhost:5000/app:1"), called(web, refName, "web:latest"))...), oci},
		"k0s and ctr": {append(append(blobs, layoutFiles(t, called(app, containerd, "docker.io/team/app:v1", refName, "v1"),
			called(app, containerd, "localhost:5000/app:1", refName, "1"), called(web, containerd, "docker.io/library/web:latest", refName, "latest"))...), legacy(t, images...)...), oci},
		"an index of which only one platform is there": {append(append(blobs, index), layoutFiles(t, called(indexDesc, refName, "team/app:v1"),
			called(app, refName, "localhost:5000/app:1"), called(web, refName, "web:latest"))...), oci},
		"one more name in manifest.json": {append(append(blobs, layoutFiles(t, called(app, containerd, "docker.io/team/app:v1"), called(web, containerd, "docker.io/library/web:latest"))...), legacy(t, images...)...),
			map[string]string{"team/app:v1": app.Digest.String(), "localhost:5000/app:1": goldenApp, "web:latest": web.Digest.String()}},
		"only docker's side is whole":       {append(append(appBlobs[1:len(appBlobs):len(appBlobs)], layoutFiles(t, called(app, containerd, "docker.io/team/app:v1"))...), legacy(t, images...)...), docker},
		"the layout has the other platform": {append(append(append(armBlobs, index), layoutFiles(t, called(indexDesc, containerd, "docker.io/team/app:v1"))...), legacy(t, images...)...), docker},
		"the layout has this platform":      {append(append(append(blobs, index), layoutFiles(t, called(indexDesc, containerd, "docker.io/team/app:v1"))...), legacy(t, images...)...), map[string]string{"team/app:v1": app.Digest.String(), "web": goldenWeb}},
		"without a name beside the named":   {append(blobs, layoutFiles(t, app, called(app, refName, "team/app:v1"), app, called(app, refName, "localhost:5000/app:1"), called(web, refName, "web:latest"), web)...), oci},
	}
	for name, tt := range tests {
		raw := pack(t, tt.files...)
		for form, b := range map[string][]byte{"plain": raw, "gzip": zip(t, raw), "zstd": zstdOf(t, raw)} {
			t.Run(name+" "+form, func(t *testing.T) {
				p := tarballOf(t, b, Options{Platform: amd64})
				if diff := cmp.Diff([]string{"web:latest", "team/app:v1", "localhost:5000/app:1"}, names(t, p)); diff != "" {
					t.Error(diff)
				}
				for ref, want := range tt.want {
					if got := take(t, p, ref).String(); got != want {
						t.Errorf("%s: %s, want %s", ref, got, want)
					}
				}
			})
		}
	}
}

func TestOpenReadsInPlaceOrLeavesNothing(t *testing.T) {
	raw := pack(t, legacy(t, twoImages(t)...)...)
	dir, name := onDisk(t, raw)
	p := open(t, "docker-archive:"+name, Options{Dir: dir, TempDir: filepath.Join(dir, "missing")}) // a copy would fail
	take(t, p, "web")
	dir, name = onDisk(t, zstdOf(t, raw))
	temp := t.TempDir()
	p = open(t, "docker-archive:"+filepath.Join(dir, name), Options{TempDir: temp})
	isEmpty(t, temp) // while it is open: nothing is left when the process is killed
	take(t, p, "web")
	isEmpty(t, temp)
}

func TestTarballInAFileIsReadInPlace(t *testing.T) {
	dir, name := onDisk(t, pack(t, legacy(t, twoImages(t)...)...))
	p, err := Tarball(t.Context(), "x", func() (io.ReadCloser, error) { return os.Open(filepath.Join(dir, name)) }, Options{TempDir: filepath.Join(dir, "missing")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	take(t, p, "team/app:v1")
}

func TestFoldersAreLayouts(t *testing.T) {
	img := newImage(t, amd64, nil, "a")
	blobs, d := ociImage(t, img)
	dir := t.TempDir()
	unpackTo(t, filepath.Join(dir, "layout"), append(blobs, layoutFiles(t, called(d, refName, "quay.io/x/y:1"), called(d, refName, "v1"))...))
	p := open(t, "oci:layout", Options{Dir: dir})
	if got := take(t, p, "quay.io/x/y:1"); got != d.Digest {
		t.Errorf("got %s", got)
	}
	if got := take(t, p, "quay.io/x/y@"+d.Digest.String()); got != d.Digest {
		t.Errorf("by digest: %s", got)
	}
	if err := os.Remove(filepath.Join(dir, "layout", blobPath(digest(img.config)))); err != nil {
		t.Fatal(err)
	}
	_, err := p.Open(t.Context(), reference(t, "x"), v1.Descriptor{Digest: digest(img.config)}, 0)
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("a missing blob: %v", err)
	}
}

func TestFolderIsNotLeft(t *testing.T) {
	blobs, d := ociImage(t, newImage(t, amd64, nil, "a"))
	dir := t.TempDir()
	unpackTo(t, dir, append(blobs, layoutFiles(t, called(d, refName, "x:1"))...))
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := digest([]byte("x"))
	if err := os.Symlink(secret, filepath.Join(dir, blobPath(h))); err != nil {
		t.Fatal(err)
	}
	p := open(t, "oci:"+dir, Options{})
	if _, err := p.Open(t.Context(), reference(t, "x:1"), v1.Descriptor{Digest: h, Size: 1}, 0); err == nil {
		t.Error("a link out of the folder was followed")
	}
}

func TestOpenContinuesAtAnOffset(t *testing.T) {
	img := newImage(t, amd64, []string{"x:1"}, "a")
	for name, files := range map[string][]entry{"plain": legacy(t, img), "compressed": zippedLayers(t, img)} {
		p := tarballOf(t, pack(t, files...), Options{})
		for _, offset := range []int64{0, 1, 700, int64(len(img.layers[0])), int64(len(img.layers[0])) + 5} {
			r, err := p.Open(t.Context(), reference(t, "x:1"), v1.Descriptor{Digest: digest(img.layers[0])}, offset)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if want := img.layers[0][min(offset, int64(len(img.layers[0]))):]; err != nil || !bytes.Equal(b, want) {
				t.Errorf("%s from %d: %d bytes, want %d, %v", name, offset, len(b), len(want), err)
			}
			r.Close()
		}
	}
}

func TestOpenKnowsManifestsThatWereNotAskedFor(t *testing.T) {
	b := pack(t, legacy(t, twoImages(t)...)...)
	d, err := tarballOf(t, b, Options{}).Resolve(t.Context(), reference(t, "web"))
	if err != nil {
		t.Fatal(err)
	}
	fresh := tarballOf(t, b, Options{})
	if _, err := artifact.ReadManifest(t.Context(), fresh, reference(t, "web").WithDigest(d.Digest), d); err != nil {
		t.Error(err)
	}
}

func TestResolve(t *testing.T) {
	images := twoImages(t)
	blobs, d := ociImage(t, images[0])
	newer, dNewer := ociImage(t, images[1])
	docker := pack(t, legacy(t, images...)...)
	app, err := tarballOf(t, docker, Options{}).Resolve(t.Context(), reference(t, "team/app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	nameless := pack(t, legacy(t, newImage(t, amd64, nil, "a"))...)
	two := pack(t, legacy(t, newImage(t, amd64, nil, "a"), newImage(t, amd64, []string{"<none>:<none>"}, "b"))...)
	tagged := pack(t, append(append(blobs, newer...), layoutFiles(t, called(d, refName, "v1"), called(dNewer, refName, "nginx"))...)...)
	full := pack(t, append(blobs, layoutFiles(t, called(d, refName, "x:1@"+d.Digest.String()))...)...)
	mine, other := d, dNewer
	mine.Platform, other.Platform = &amd64, &arm64
	platforms := pack(t, append(append(blobs, newer...), layoutFiles(t, called(other, refName, "x:1"), called(mine, refName, "x:1"))...)...)
	absent := "sha256:" + strings.Repeat("0", 64)
	again := images[1]
	again.tags = images[0].tags
	tests := []struct {
		name    string
		archive []byte
		o       Options
		ref     string
		want    v1.Hash // none: not found
		words   string
	}{
		{name: "another tag", archive: docker, ref: "team/app:v2", words: "team/app:v2: not found in docker-archive:app.tar, which has localhost:5000/app:1, team/app:v1, web:latest"},
		{name: "tag and digest", archive: docker, ref: "team/app:v1@" + app.Digest.String(), want: app.Digest},
		{name: "digest", archive: docker, ref: "team/app@" + app.Digest.String(), want: app.Digest},
		{name: "digest of a registry", archive: docker, ref: "team/app:v1@" + absent, words: "not found by this digest in docker-archive:app.tar: docker saves images without"},
		{name: "the later of two", archive: pack(t, legacy(t, images[0], again)...), ref: "team/app:v1", want: hash(t, goldenWeb)},
		{name: "nameless, not named by the line", archive: nameless, ref: "x:1", words: "not found in docker-archive:app.tar, where no image has a name"},
		{name: "nameless", archive: nameless, o: Options{Adopt: true}, ref: "x:1", want: hash(t, goldenNameless)},
		{name: "nameless in both forms", archive: pack(t, append(append(blobs, layoutFiles(t, d)...), legacy(t, saved{config: images[0].config, layers: images[0].layers})...)...), o: Options{Adopt: true}, ref: "x:1", want: d.Digest},
		{name: "two nameless", archive: two, o: Options{Adopt: true}, ref: "x:1", words: "not found"},
		{name: "named otherwise", archive: docker, o: Options{Adopt: true}, ref: "x:1", words: "not found"},
		{name: "tag alone", archive: tagged, o: Options{Adopt: true}, ref: "x:v1", want: d.Digest},
		{name: "tag alone, not named by the line", archive: tagged, ref: "x:v1", words: "not found"},
		{name: "written by skopeo without a tag", archive: tagged, o: Options{Adopt: true}, ref: "nginx", want: dNewer.Digest},
		{name: "no such tag", archive: tagged, o: Options{Adopt: true}, ref: "x:v2", words: "not found"},
		{name: "name with tag and digest, by tag", archive: full, ref: "x:1", want: d.Digest},
		{name: "name with tag and digest, by both", archive: full, ref: "x:1@" + d.Digest.String(), want: d.Digest},
		{name: "name with tag and digest, by another", archive: full, ref: "x:1@" + absent, words: "not found"},
		{name: "platform", archive: platforms, o: Options{Platform: amd64}, ref: "x:1", want: d.Digest},
		{name: "other platform", archive: platforms, o: Options{Platform: arm64}, ref: "x:1", want: dNewer.Digest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Dir, _ = onDisk(t, tt.archive)
			got, err := open(t, "docker-archive:app.tar", tt.o).Resolve(t.Context(), reference(t, tt.ref))
			if tt.want == (v1.Hash{}) {
				if wantError(t, err, tt.words); !errors.Is(err, artifact.ErrNotFound) {
					t.Errorf("%v is not ErrNotFound", err)
				}
				return
			}
			if err != nil || got.Digest != tt.want {
				t.Errorf("%v, %v, want %s", got.Digest, err, tt.want)
			}
		})
	}
}

func hash(t *testing.T, s string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestImagesWithoutANameAreRefused(t *testing.T) {
	blobs, d := ociImage(t, newImage(t, amd64, nil, "a"))
	for name, files := range map[string][]entry{
		"docker": legacy(t, newImage(t, amd64, nil, "a"), newImage(t, amd64, []string{"x:1"}, "b")),
		"oci":    append(blobs, layoutFiles(t, d)...),
		"tag":    append(blobs, layoutFiles(t, called(d, refName, "latest"))...),
	} {
		b := pack(t, files...)
		_, err := Tarball(t.Context(), "images/x.tar", stream(b), Options{TempDir: t.TempDir()})
		wantError(t, err, "images/x.tar: ", "has no full name by which a node could ask for it: save it by its name")
		dir, file := onDisk(t, b)
		_, err = open(t, "oci-archive:"+file, Options{Dir: dir}).Refs(t.Context())
		if wantError(t, err, "oci-archive:app.tar: ", "name it where it is listed"); t.Failed() {
			t.Errorf("for %s", name)
		}
	}
}

func TestBadArchives(t *testing.T) {
	img := newImage(t, amd64, []string{"x:1"}, "a")
	good := legacy(t, img)
	layer := digest(img.layers[0])
	item := dockerItem{Config: "c.json", RepoTags: img.tags, Layers: []string{"l.tar"}}
	with := func(i dockerItem, more ...entry) []byte {
		return pack(t, append([]entry{{name: "c.json", content: img.config}, {name: "l.tar", content: img.layers[0]}, manifestJSON(t, i)}, more...)...)
	}
	blobs, d := ociImage(t, img)
	bad := d
	bad.Digest.Hex = "../../../../etc/passwd"
	raw := pack(t, good...)
	tests := map[string]struct {
		archive []byte
		words   string
	}{
		"nothing":                     {nil, "it is no archive"},
		"no archive":                  {[]byte("hello"), "it is no archive"},
		"archive of something else":   {pack(t, entry{name: "etc/hosts", content: []byte("x")}), "no archive of container images: it has neither the manifest.json"},
		"truncated":                   {raw[:len(raw)/2], "damaged"},
		"truncated gzip":              {zip(t, raw)[:200], "unexpected EOF"},
		"manifest.json is no JSON":    {pack(t, entry{name: "manifest.json", content: []byte("{")}), "manifest.json: "},
		"manifest.json without image": {pack(t, entry{name: "manifest.json", content: []byte("null")}), "no image is in it"},
		"manifest.json is huge":       {pack(t, entry{name: "manifest.json", content: bytes.Repeat([]byte(" "), artifact.MaxManifest+1)}), "manifest.json has 4194305 bytes, more than"},
		"config is huge":              {pack(t, entry{name: "c.json", content: bytes.Repeat([]byte(" "), artifact.MaxManifest+1)}, manifestJSON(t, item)), "config: c.json has 4194305 bytes"},
		"config is missing":           {pack(t, manifestJSON(t, item)), "image 1 of manifest.json: config: c.json: file does not exist in it: the archive is damaged or cut short"},
		"config is no JSON":           {pack(t, entry{name: "c.json", content: []byte("[")}, manifestJSON(t, item)), "config: c.json: "},
		"config has another digest":   {pack(t, entry{name: "blobs/sha256/" + layer.Hex, content: img.config}, manifestJSON(t, dockerItem{Config: "blobs/sha256/" + layer.Hex})), "the archive is damaged"},
		"config climbs out":           {with(dockerItem{Config: "../../etc/c.json"}), `config: "../../etc/c.json" leads out of the archive`},
		"config is absolute":          {with(dockerItem{Config: "/c.json"}), `config: "/c.json" leads out of the archive`},
		"no config":                   {with(dockerItem{}), "config: .: file does not exist in it"},
		"layer is missing":            {pack(t, entry{name: "c.json", content: img.config}, manifestJSON(t, item)), "layer: l.tar: file does not exist in it: the archive is damaged or cut short"},
		"layer climbs out":            {with(dockerItem{Config: "c.json", Layers: []string{"a/../../x"}}), `layer: "a/../../x" leads out of the archive`},
		"layer is an absolute link":   {pack(t, entry{name: "c.json", content: img.config}, entry{name: "l.tar", link: "/etc/passwd"}, manifestJSON(t, item)), "l.tar: the link to /etc/passwd leads out of the archive"},
		"layer is a link that climbs": {pack(t, entry{name: "c.json", content: img.config}, entry{name: "l.tar", link: "../passwd"}, manifestJSON(t, item)), "leads out of the archive"},
		"layer is a link to itself":   {pack(t, entry{name: "c.json", content: img.config}, entry{name: "l.tar", link: "l.tar"}, manifestJSON(t, item)), "l.tar: more than 40 links"},
		"too few layers":              {with(dockerItem{Config: "c.json"}), "it has 0 layers, its config c.json tells of 1"},
		"diffID is sha512":            {pack(t, entry{name: "c.json", content: []byte(`{"rootfs":{"diff_ids":["sha512:` + strings.Repeat("0", 128) + `"]}}`)}, entry{name: "l.tar", content: []byte{0}}, manifestJSON(t, item)), "sha512"},
		"name is none":                {with(dockerItem{Config: "c.json", Layers: item.Layers, RepoTags: []string{"UPPER:1"}}), `image reference "UPPER:1"`},
		"manifest.json is a folder":   {pack(t, entry{name: "manifest.json/x", content: []byte("x")}), "no archive of container images"},
		"entry climbs out":            {pack(t, append(good, entry{name: "../x", content: []byte("x")})...), `"../x": it leads out of the archive`},
		"index.json is no JSON":       {pack(t, entry{name: "index.json", content: []byte("{")}), "index.json: "},
		"index.json is huge":          {pack(t, entry{name: "index.json", content: bytes.Repeat([]byte(" "), artifact.MaxManifest+1)}), "index.json has 4194305 bytes"},
		"digest is a path":            {pack(t, append(blobs, layoutFiles(t, called(bad, refName, "x:1"))...)...), "index.json: "},
		"layout of another version":   {pack(t, append(layoutFiles(t, d), entry{name: "oci-layout", content: []byte(`{"imageLayoutVersion":"2.0.0"}`)})...), "its oci-layout is not of version 1.0.0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			_, err := Tarball(t.Context(), "images/x.tar", stream(tt.archive), Options{TempDir: temp})
			wantError(t, err, "images/x.tar: ", tt.words)
			isEmpty(t, temp)
		})
	}
}

// An image that neither side has is not forgotten.
func TestAnImageThatIsNotWholeIsListed(t *testing.T) {
	blobs, d := ociImage(t, newImage(t, amd64, nil, "a"))
	p := tarballOf(t, pack(t, append(append(blobs[1:], layoutFiles(t, called(d, containerd, "quay.io/x/y:1"))...), legacy(t, twoImages(t)[1])...)...), Options{})
	if diff := cmp.Diff([]string{"web:latest", "quay.io/x/y:1"}, names(t, p)); diff != "" {
		t.Error(diff)
	}
	_, _, _, err := artifact.Manifest(t.Context(), p, reference(t, "quay.io/x/y:1"), nil)
	wantError(t, err, "quay.io/x/y:1: blob sha256:", "not found in images/x.tar: it is not complete: save the image again")
}

// What an archive holds is compared with the digests that it claims when it is
// copied.
func TestDamagedBlobsAreFound(t *testing.T) {
	img, other := newImage(t, amd64, []string{"x:1"}, "a"), newImage(t, amd64, []string{"x:1"}, "b")
	swapped := img
	swapped.layers = other.layers
	broken := zippedLayers(t, img)
	broken[1].content = broken[1].content[:len(broken[1].content)-6] // the layer
	blobs, d := ociImage(t, img)
	blobs[1].content = append(bytes.Clone(blobs[1].content[:len(blobs[1].content)-1]), 7)
	for name, files := range map[string][]entry{
		"another layer":     legacy(t, swapped),
		"a truncated layer": broken,
		"a changed blob":    append(blobs, layoutFiles(t, called(d, refName, "x:1"))...),
		"a missing blob":    append(blobs[2:], layoutFiles(t, called(d, refName, "x:1"))...),
	} {
		p := tarballOf(t, pack(t, files...), Options{})
		s, err := store.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Copy(t.Context(), s, reference(t, "x:1"), p, reference(t, "x:1"), artifact.CopyOptions{}); err == nil {
			t.Errorf("%s was copied", name)
		}
		s.Close()
	}
}

func TestOpenTellsWhatToWrite(t *testing.T) {
	dir, name := onDisk(t, pack(t, legacy(t, twoImages(t)...)...))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for place, words := range map[string]string{
		"docker-archive:missing.tar":   "no such file or directory: relative paths are meant from the build context",
		"docker-archive:folder":        "docker-archive:folder is a folder: write oci:PATH if it is an OCI image layout",
		"oci:" + name:                  "oci:app.tar is no folder: write oci-archive:app.tar",
		"oci:folder":                   "oci:folder: it is no OCI image layout: it has no index.json",
		"oci-archive:pipe":             "oci-archive:pipe is no regular file",
		"docker-archive:app.tar:nginx": `names an image in a place: leave out nginx`,
		"docker://nginx:1":             `"docker://nginx:1" is an image of a registry, not a place`,
		"nginx:1":                      `is an image of a registry, not a place`,
		"containers-storage:nginx":     "podman save",
		"dir:/x":                       "images are not read from dir: write docker-daemon:NAME",
		"docker-archive:":              "without a path",
	} {
		_, err := Open(t.Context(), place, Options{Dir: dir})
		if wantError(t, err, words); t.Failed() {
			t.Errorf("for %s", place)
		}
	}
}

// endless is a compressed archive that goes on and on.
type endless struct {
	io.Reader
	stop func()
	n    int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n++; e.n == 20 {
		e.stop()
	}
	return e.Reader.Read(p)
}

func TestUnpackingStopsWhenCancelled(t *testing.T) {
	raw := zip(t, append(pack(t, entry{name: "big", content: make([]byte, 16<<20)}), make([]byte, 1<<20)...))
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	r := &endless{Reader: &slow{raw}, stop: func() { cancel(stopped) }}
	temp := t.TempDir()
	_, err := Tarball(ctx, "x", func() (io.ReadCloser, error) { return io.NopCloser(r), nil }, Options{TempDir: temp})
	if !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
	isEmpty(t, temp)
}

// slow gives a hundred bytes at a time.
type slow struct{ b []byte }

func (s *slow) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(100, len(s.b))])
	s.b = s.b[n:]
	return n, nil
}

func TestMeasuringStopsWhenCancelled(t *testing.T) {
	p := tarballOf(t, pack(t, zippedLayers(t, newImage(t, amd64, []string{"x:1"}, "a"))...), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Resolve(ctx, reference(t, "x:1")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Whatever an archive holds, it is read or refused.
func FuzzTarball(f *testing.F) {
	t := &testing.T{}
	images := []saved{newImage(t, amd64, []string{"x:1"}, "a"), newImage(t, amd64, []string{"y:1"}, "a", "b")}
	blobs, d := ociImage(t, images[0])
	f.Add(pack(t, legacy(t, images...)...))
	f.Add(pack(t, zippedLayers(t, images...)...))
	f.Add(pack(t, append(blobs, layoutFiles(t, called(d, refName, "x:1"))...)...))
	f.Add(pack(t, append(append(blobs, layoutFiles(t, called(d, refName, "x:1"))...), legacy(t, images...)...)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Tarball(t.Context(), "x", stream(data), Options{TempDir: t.TempDir(), Platform: amd64})
		if err != nil {
			return
		}
		refs, err := p.Refs(t.Context())
		if err == nil && len(refs) == 0 {
			t.Error("neither an image nor an error")
		}
		for _, r := range refs {
			if got, err := p.Resolve(t.Context(), r.Ref); err != nil || got.Digest != r.Desc.Digest {
				t.Errorf("%s: %v, %v, listed as %s", r.Ref, got.Digest, err, r.Desc.Digest)
			}
			_, _, _, _ = artifact.Manifest(t.Context(), p, r.Ref, &amd64)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}
