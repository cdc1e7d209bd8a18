package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/kubefile"
)

// designFiles stand in for the files that the k3s and k0s designs list.
func designFiles() map[string]string {
	return map[string]string{
		"imageList": "# none\n", "ImageList": "# none\n", "Kubefile": "FROM scratch\n", "README.md": "readme\n",
		"bin/k3s": "k3s", "bin/kubectl": "-> k3s", "etc/k3s/k3s.yaml": "a: b\n", "etc/node/password": "x\n", "images/": "", "k3s-install.sh": "#!/bin/sh\n",
		"Metadata": `{"distro":"k3s","version":"v1.25.3","arch":"x86_64"}`,
	}
}

// TestDesignsBuildToTheSameDigestForEver holds the images of the designs' Kubefiles against digests that must not
// change: other digests mean other layers, which every user's registry stores once more.
func TestDesignsBuildToTheSameDigestForEver(t *testing.T) {
	k0s := map[string]string{
		"rootfs/bin/k0s": "k0s", "rootfs/etc/k0s.yaml": "a: b\n", "rootfs/README.md": "x\n", "amd64/images/x.txt": "amd64\n", "amd64/bin/crictl": "c", "ImageList": "# none\n",
	}
	tests := []struct {
		name, text string
		files      map[string]string
		want       string
		labels     map[string]string
	}{
		{"k3s offline", "FROM scratch\nCOPY imageList manifests\nCOPY . .\n", designFiles(),
			"sha256:bc0a9c5a571011d4cf0d7fd8a6773bb7f8e6e5606c6a43f2aa32742904b825a0",
			map[string]string{artifact.LabelType: "rootfs", artifact.LabelDistro: "k3s", artifact.LabelDistroVersion: "v1.25.3", artifact.LabelFormat: "1"}},
		{"k0s", "COPY rootfs/* .\nCOPY ${ARCH} .\nCOPY ImageList manifests\nBASE rootfs cache\n", k0s,
			"sha256:6d029be92a4897bf39627f6ae7ba008a878d8cdfc96c312c015e044a2d181312",
			map[string]string{artifact.LabelType: "rootfs", artifact.LabelDistro: "k0s", artifact.LabelFormat: "1"}},
		{"kubernetes", "FROM scratch\nCOPY . .\nCOPY imageList manifests\n", map[string]string{"bin/kubeadm": "a", "imageList": "\n", "Metadata": `{"version":"v1.25.3"}`},
			"sha256:16d00789d791adc7833acc380dd0fa17eef4de8bd4df60ae9de8f7a73d585b64",
			map[string]string{artifact.LabelType: "rootfs", artifact.LabelDistro: "kubernetes", artifact.LabelDistroVersion: "v1.25.3", artifact.LabelFormat: "1"}},
		{"app", "FROM scratch\nENV A=1\nLABEL b=$A\nCOPY . .\nWORKDIR /manifests\nCMD [\"kubectl\", \"apply\", \"-f\", \".\"]\n", map[string]string{"manifests/app.yaml": "a: b\n"},
			"sha256:e5573e26b84ac278dffdb25154cdc062b6746062475ca53db13fcb232963c4ef",
			map[string]string{artifact.LabelType: "app", artifact.LabelFormat: "1", "b": "1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := mustBuild(t, options(t, tt.text, tt.files))
			if got := b.desc.Digest.String(); got != tt.want {
				t.Errorf("digest %s, want %s", got, tt.want)
			}
			if diff := cmp.Diff(tt.labels, b.config.Config.Labels); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDesignTreeHasWhatItsAuthorExpects(t *testing.T) {
	b := mustBuild(t, options(t, "FROM scratch\nCOPY imageList manifests\nCOPY . .\n", designFiles()))
	want := []string{"ImageList", "Kubefile", "Metadata", "README.md", "bin/k3s", "bin/kubectl", "etc/k3s/k3s.yaml", "etc/node/password", "imageList", "k3s-install.sh", "manifests/imageList"}
	if diff := cmp.Diff(want, b.names(t)); diff != "" {
		t.Error(diff)
	}
	b = mustBuild(t, options(t, "COPY rootfs/* .\nCOPY ${ARCH} .\nBASE none\n", map[string]string{"rootfs/bin/k0s": "k", "amd64/lib/x": "a", "arm64/lib/x": "b"}))
	if diff := cmp.Diff(map[string]string{
		"Metadata": `{"distro":"k0s","arch":"amd64"}` + "\n", "bin/": "", "bin/k0s": "k", "lib/": "", "lib/x": "a",
	}, b.files(t)); diff != "" {
		t.Error(diff)
	}
}

func TestSameInputsGiveTheSameDigestInAnotherStoreAndTime(t *testing.T) {
	text := "FROM scratch\nCOPY . .\nWORKDIR /x/y\nCOPY <<z .\nz\n"
	first := mustBuild(t, options(t, text, designFiles()))
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	o := options(t, text, designFiles())
	syscall.Umask(old)
	err := filepath.WalkDir(o.Context, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.Type()&os.ModeSymlink != 0 {
			return err
		}
		if e.IsDir() {
			if err := os.Chmod(p, 0o755); err != nil { // git makes no promise about modes of directories; we keep them
				return err
			}
		}
		return os.Chtimes(p, time.Now(), time.Unix(12345, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	syscall.Umask(0o077)
	o.Jobs = 7
	if second := mustBuild(t, o); second.desc.Digest != first.desc.Digest {
		t.Errorf("digests %s and %s", first.desc.Digest, second.desc.Digest)
	}
}

func TestConfigSaysWhatTheKubefileSays(t *testing.T) {
	o := options(t, `ARG v=1
FROM scratch
ARG v
ARG w=${v}2
ARG given=default
MAINTAINER somebody
ENV A=$w PATH=/x
ENV A=3 B="$A $given"
LABEL l="$B" $w=x
CMD echo $A
SHELL ["/bin/bash", "-c"]
ENTRYPOINT start
COPY f /
`, map[string]string{"f": ""})
	o.BuildArgs = map[string]string{"given": "g", "v": "7"}
	o.Created = time.Unix(1700000000, 5)
	c := mustBuild(t, o).config
	created := v1.Time{Time: time.Unix(1700000000, 0).UTC()}
	want := v1.Config{
		Env: []string{"A=3", "PATH=/x", "B=72 g"}, Cmd: []string{"/bin/sh", "-c", "echo $A"}, Entrypoint: []string{"/bin/bash", "-c", "start"},
		Shell:  []string{"/bin/bash", "-c"},
		Labels: map[string]string{"l": "72 g", "72": "x", artifact.LabelType: "app", artifact.LabelFormat: "1"},
	}
	if diff := cmp.Diff(want, c.Config); diff != "" {
		t.Error(diff)
	}
	if c.Author != "somebody" || c.Architecture != "amd64" || c.OS != "linux" || !c.Created.Equal(created.Time) {
		t.Errorf("config %s", jsonText(t, c))
	}
	var history []string
	for _, h := range c.History {
		if !h.Created.Equal(created.Time) {
			t.Errorf("history of %s", h.Created)
		}
		if !h.EmptyLayer {
			history = append(history, h.CreatedBy)
		}
	}
	if diff := cmp.Diff([]string{"COPY f /"}, history); diff != "" || len(c.History) != 11 {
		t.Errorf("%d lines of history; layers: %s", len(c.History), diff)
	}
}

func TestBuildRefusesAllThatItCannotDoAtOnce(t *testing.T) {
	o := options(t, `FROM scratch AS one
ADD x y
USER ""
RUN --mount=type=ssh true
RUN true
COPY --from=nowhere a b
COPY --parents a b
FROM one AS two
COPY missing .
`, nil)
	o.Platforms = []v1.Platform{{OS: "linux", Architecture: "s390x"}}
	got := failing(t, o)
	for _, want := range []string{
		"Kubefile:2:1: x is not in the context", "Kubefile:3:1: the user is empty", "Kubefile:4:1: --mount=type=ssh: type=ssh is not supported",
		"Kubefile:5:1: RUN for linux/s390x is not possible on linux/amd64", "Kubefile:6:1: nowhere:latest: not found in the store",
		"Kubefile:7:1: a is not in the context", "Kubefile:9:1: missing is not in the context",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	blobs, err := o.Store.Inventory(t.Context())
	if err != nil || len(blobs) > 0 {
		t.Errorf("the store has %v, %v", blobs, err)
	}
}

func TestCheckReportsAllMistakesAndBuildsNothing(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"good": {"ARG D=etc\nFROM scratch\nARG D\nCOPY f $D/\nRUN nothing runs\n", ""},
		"a base that is not there, and what depends on it": {"FROM nowhere.test/base:1\nCOPY ${OF_BASE:?unset} .\n", ""},
		"parser and builder, in their order": {
			"FROM scratch\nBASE --platform=linux/amd64,linux/arm64 rootfs cache\nCOPPY a b\n",
			`Kubefile:2:1: BASE for several platforms is not supported yet: build with --platform linux/amd64,linux/arm64 instead
Kubefile:3:1: unknown instruction "COPPY": did you mean COPY?`,
		},
		"parser alone": {"COPPY a b\n", `Kubefile:1:1: unknown instruction "COPPY": did you mean COPY?`},
		"every stage, needed or not": {
			"FROM scratch AS a\nCOPY missing1 .\nFROM a\nCOPY missing2 .\nFROM scratch\nCOPY f .\n",
			"Kubefile:2:1: missing1 is not in the context\nKubefile:4:1: missing2 is not in the context",
		},
		"sources and values": {
			"FROM scratch\nCOPY missing .\nARG MODE=rw\nCOPY --chmod=$MODE f .\nCOPY f ${X:?unset}\n",
			"Kubefile:2:1: missing is not in the context\nKubefile:4:1: --chmod=rw: write an octal number, such as 0755\nKubefile:5:1: ",
		},
		"a base of no name":     {"FROM $none\nCOPY f .\n", `Kubefile:1:1: "$none" is empty once its variables are replaced`},
		"a base of a bad name":  {"FROM UPPER\nCOPY f .\n", "Kubefile:1:1: "},
		"a platform that is no": {"FROM --platform=a/b/c/d scratch\nCOPY f .\n", "Kubefile:1:6: --platform=a/b/c/d: "},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := kubefile.Parse("Kubefile", strings.NewReader(tt.text))
			var found kubefile.Errors
			if err != nil && !errors.As(err, &found) {
				t.Fatal(err)
			}
			err = Check(t.Context(), Options{File: f, Context: writeContext(t, map[string]string{"f": ""}), Platform: &amd64}, found)
			if got := fmt.Sprint(err); !strings.HasPrefix(got, tt.want) || (err == nil) != (tt.want == "") {
				t.Errorf("got:\n%v\nwant:\n%s", err, tt.want)
			}
		})
	}
}

func TestTargetNamesTheStage(t *testing.T) {
	for target, want := range map[string]string{"": "", "0": "", "One": "", "two": "target"} {
		o := options(t, "FROM scratch AS one\nCOPY f /\n", map[string]string{"f": ""})
		o.Target = target
		if _, err := Build(t.Context(), o); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("target %q: %v", target, err)
		}
	}
}

func TestUnknownBuildArgumentsAreReported(t *testing.T) {
	o := options(t, "ARG VERSION=1\nFROM scratch\nCOPY f /\n", map[string]string{"f": ""})
	o.BuildArgs = map[string]string{"VERSOIN": "2", "VERSION": "2", "HTTP_PROXY": "x"}
	told := notes(&o)
	mustBuild(t, o)
	if got := told.String(); strings.Count(got, "build argument") != 1 || !strings.Contains(got, "build argument VERSOIN: no ARG in Kubefile asks for it: did you mean VERSION?") {
		t.Errorf("notes\n%s", got)
	}
}

// reused counts the COPYs for which nothing had to be done.
func reused(told *strings.Builder) int {
	n := 0
	for line := range strings.Lines(told.String()) {
		if strings.HasPrefix(line, "done ") && strings.Contains(line, "COPY") && strings.Contains(line, "true") {
			n++
		}
	}
	return n
}

func TestSecondBuildMakesNoLayerAnew(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY a x/\nCOPY b y/\n", map[string]string{"a": "a", "b": "b"})
	first := mustBuild(t, o)
	told := notes(&o)
	if second := mustBuild(t, o); second.desc.Digest != first.desc.Digest {
		t.Errorf("digests %s and %s", first.desc.Digest, second.desc.Digest)
	}
	if got := reused(told); got != 2 {
		t.Errorf("%d layers were taken from the store, want 2:\n%s", got, told)
	}
	told.Reset()
	addFiles(t, o.Context, map[string]string{"a": "A"}) // same name, size and mode
	third := mustBuild(t, o)
	if got := reused(told); got != 1 {
		t.Errorf("%d layers were taken from the store after one file changed, want 1:\n%s", got, told)
	}
	if third.files(t)["x/a"] != "A" || third.manifest.Layers[1].Digest != first.manifest.Layers[1].Digest {
		t.Error("the change is not in the image, or the other layer changed")
	}
	told.Reset()
	o.NoCache = true
	mustBuild(t, o)
	if reused(told) != 0 {
		t.Errorf("no-cache used the cache:\n%s", told)
	}
	o.NoCache, o.Compression = false, layer.Gzip
	if mt := mustBuild(t, o).manifest.Layers[0].MediaType; mt != layer.Gzip.MediaType() {
		t.Errorf("media type %s", mt)
	}
}

func TestCacheOutlivesOnlyItsLayers(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY a x/\n", map[string]string{"a": "a"})
	first := mustBuild(t, o)
	if err := o.Store.Untag(t.Context(), o.Tags[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := mustBuild(t, o); got.desc.Digest != first.desc.Digest || got.files(t)["x/a"] != "a" {
		t.Error("the image is not whole after a sweep")
	}
}

func TestSeveralPlatformsMakeAnIndex(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY ${ARCH} .\nLABEL arch=$ARCH\n", map[string]string{"amd64/bin/k3s": "amd", "arm64/bin/k3s": "arm"})
	o.Platforms = []v1.Platform{amd64, {OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "x86_64"}}
	d, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !d.MediaType.IsIndex() {
		t.Errorf("media type %s", d.MediaType)
	}
	for arch, content := range map[string]string{"amd64": "amd", "arm64": "arm"} {
		b := read(t, o.Store, d, &v1.Platform{OS: "linux", Architecture: arch})
		if got := b.files(t)["bin/k3s"]; got != content || b.config.Config.Labels["arch"] != arch || b.config.Architecture != arch {
			t.Errorf("%s: %q, %s", arch, got, jsonText(t, b.config))
		}
	}
	if named, err := o.Store.Resolve(t.Context(), o.Tags[0]); err != nil || named.Digest != d.Digest {
		t.Errorf("tag names %v, %v", named, err)
	}
}

func TestSpaceIsCheckedBeforeLayersAreWritten(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY . .\n", map[string]string{"small": ""})
	f, err := os.Create(filepath.Join(o.Context, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 42); err != nil {
		t.Skipf("no sparse file of 4 TiB here: %v", err)
	}
	f.Close()
	if got := failing(t, o); !strings.Contains(got, "needed") || !strings.Contains(got, "Kubefile:2:1") {
		t.Errorf("error %s", got)
	}
}
