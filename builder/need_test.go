package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/lint"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// needs returns what the trees of a Kubefile need.
func needs(t *testing.T, o Options) []Needed {
	t.Helper()
	var all []Needed
	err := Need(t.Context(), o, func(_ context.Context, n Needed) error {
		all = append(all, n)
		return nil
	})
	if errors.Is(err, sandbox.ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// texts lists what is asked for.
func texts(n Needed) []string {
	var list []string
	for _, img := range n.Images {
		list = append(list, img.Where+" "+img.Ref.Familiar())
	}
	return list
}

func TestNeedIsWhatBaseWouldCollect(t *testing.T) {
	for name, c := range map[string]struct {
		kubefile string
		want     []string
		none     bool
		forArch  string
	}{
		"without BASE": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\n", want: []string{"manifests/imageList:1 a:1"},
		},
		"what comes after BASE is not collected, and not made": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\nBASE rootfs cache\nCOPY b manifests/b.imagelist\nRUN false\n", want: []string{"manifests/imageList:1 a:1"},
		},
		"two BASE": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\nBASE rootfs cache\nCOPY b manifests/imageList\nBASE rootfs cache\n",
			want:     []string{"manifests/imageList:1 a:1", "manifests/imageList:1 b:1"},
		},
		"what two BASE ask for is asked for once": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\nBASE rootfs cache\nCOPY b manifests/b.imagelist\nBASE rootfs cache\n",
			want:     []string{"manifests/b.imagelist:1 b:1", "manifests/imageList:1 a:1"},
		},
		"BASE of a stage before": {
			kubefile: "FROM scratch AS one\nCOPY a manifests/imageList\nBASE rootfs cache\nFROM one\nCOPY b manifests/b.imagelist\n",
			want:     []string{"manifests/imageList:1 a:1"},
		},
		"of another stage nothing": {
			kubefile: "FROM scratch AS one\nCOPY a manifests/imageList\nBASE rootfs cache\nFROM scratch\nCOPY --from=one manifests/imageList other\n",
		},
		"BASE none": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\nBASE none\n", none: true,
		},
		"nothing more": {
			kubefile: "FROM scratch AS one\nCOPY a manifests/imageList\nBASE rootfs cache\nFROM one\nCOPY b manifests/b.imagelist\nBASE none\n", want: []string{"manifests/imageList:1 a:1"},
		},
		"one list": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\nCOPY b etc/list\nBASE --list=etc/list rootfs cache\n", want: []string{"etc/list:1 b:1"},
		},
		"for another platform": {
			kubefile: "FROM scratch\nCOPY a manifests/imageList\nBASE --platform=linux/arm64 rootfs cache\n", want: []string{"manifests/imageList:1 a:1"}, forArch: "arm64",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, c.kubefile, map[string]string{"a": "a:1\n", "b": "b:1\n"})
			all := needs(t, o)
			if len(all) != 1 {
				t.Fatalf("%d platforms", len(all))
			}
			n := all[0]
			if diff := cmp.Diff(c.want, texts(n)); diff != "" {
				t.Error(diff)
			}
			if c.forArch == "" {
				c.forArch = "amd64"
			}
			if n.Bad != nil || n.None != c.none || n.Platform.Architecture != "amd64" || n.Lint.Platform.Architecture != c.forArch {
				t.Errorf("%+v", n)
			}
			if refs, err := o.Store.Refs(t.Context()); err != nil || len(refs) > 0 {
				t.Errorf("the store names %v, %v", refs, err)
			}
		})
	}
}

func TestNeedMakesTheTreeAsBuildDoes(t *testing.T) {
	o := options(t, "ARG v=1\nFROM scratch AS files\nARG v\nCOPY <<EOF /list\nx:$v-$TARGETARCH\nEOF\nFROM scratch\nCOPY --from=files /list manifests/imageList\n", nil)
	o.Platforms = []v1.Platform{amd64, {OS: "linux", Architecture: "arm64"}}
	o.BuildArgs = map[string]string{"v": "2"}
	var got []string
	for _, n := range needs(t, o) {
		got = append(got, texts(n)...)
	}
	if diff := cmp.Diff([]string{"manifests/imageList:1 x:2-amd64", "manifests/imageList:1 x:2-arm64"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNeedNamesAllThatCannotBeRead(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY . .\n", map[string]string{
		"manifests/imageList": "Bad\n", "manifests/b.imagelist": "ok\n-x\n", "images/index.json": "{",
	})
	n := needs(t, o)[0]
	for _, want := range []string{"manifests/imageList:1", "manifests/b.imagelist:2", "images/index.json"} {
		if n.Bad == nil || !strings.Contains(n.Bad.Error(), want) {
			t.Errorf("%s is not in %v", want, n.Bad)
		}
	}
}

func TestNeedKnowsWhatTheBaseImageHas(t *testing.T) {
	host, client := newRegistry(t)
	pushImage(t, host+"/one:1", client, amd64, "one")
	o := options(t, "FROM scratch\nCOPY l manifests/imageList\n", map[string]string{"l": host + "/one:1\n"})
	o.Source, o.Tags = client, []artifact.Reference{ref(t, "base:1")}
	mustBuild(t, o)
	next := options(t, "FROM base:1\nCOPY l manifests/imageList\n", map[string]string{"l": host + "/two:1\n"})
	next.Store, next.Source = o.Store, client
	n := needs(t, next)[0]
	if len(n.Lint.Held) != 1 || n.Lint.Held[0].Ref.Familiar() != host+"/one:1" || n.Lint.Held[0].Where != "images/index.json" {
		t.Errorf("%+v", n.Lint.Held)
	}
	findings, err := lint.Images(t.Context(), n.Images, n.Bad, n.Lint)
	if err != nil || len(findings) != 2 || findings[0].State != lint.StateMissing || findings[1].State != lint.StateSuperfluous {
		t.Errorf("%+v, %v", findings, err)
	}
}

func TestNeedReportsMistakesOfTheKubefile(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY nothing bin\n", nil)
	err := Need(t.Context(), o, func(context.Context, Needed) error { return errors.New("reported") })
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("got %v", err)
	}
	o = options(t, "FROM scratch\n", nil)
	if err := Need(t.Context(), o, func(context.Context, Needed) error { return errors.New("reported") }); err == nil || err.Error() != "reported" {
		t.Errorf("got %v", err)
	}
}

func TestNeedOfATreeAsItIs(t *testing.T) {
	dir := writeContext(t, map[string]string{
		"manifests/imageList": "a:1\na:1\n", "images/k3s-images.txt": "rancher/x:1\n", "etc/k3s-images.txt": "No\n", "bin/k0s": "k0s", "bin/k3s": "k3s",
	})
	o := Options{Platform: &amd64, Platforms: []v1.Platform{{OS: "linux", Architecture: "arm64"}, amd64}}
	var got []string
	err := NeedOf(t.Context(), os.DirFS(dir), o, func(_ context.Context, n Needed) error {
		got = append(got, n.Lint.Platform.String(), strings.Join(texts(n), " "), fmt.Sprint(n.Bad))
		for _, need := range n.Lint.Needs {
			got = append(got, need.By+" "+need.Images[0].Where)
		}
		got = append(got, n.Notes...)
		if !n.Lint.IsList("manifests/imageList") || n.Lint.Ignored(ref(t, "a:1")) {
			t.Error("lists are not told from other files, or images are ignored")
		}
		return nil
	})
	if err != nil || len(got) != 12 {
		t.Fatalf("%q, %v", got, err)
	}
	want := []string{"linux/arm64", "manifests/imageList:1 a:1 manifests/imageList:2 a:1", "<nil>", "images/k3s-images.txt images/k3s-images.txt:1"}
	if diff := cmp.Diff(want, got[:4]); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(got, "bin/k0s was not asked which images it needs: that takes a Kubefile that copies it") ||
		!strings.HasPrefix(got[4], `etc/k3s-images.txt was not compared: etc/k3s-images.txt:1: "No"`) || got[6] != "linux/amd64" {
		t.Errorf("%q", got)
	}
	if err := NeedOf(t.Context(), os.DirFS(writeContext(t, map[string]string{"Metadata": "x"})), o, nil); err == nil || !strings.Contains(err.Error(), "Metadata") {
		t.Errorf("got %v", err)
	}
}

// linted says what package lint makes of what is needed.
func linted(t *testing.T, n Needed) (list []string) {
	t.Helper()
	findings, err := lint.Images(t.Context(), n.Images, n.Bad, n.Lint)
	if err != nil {
		t.Error(err)
	}
	for _, f := range findings {
		list = append(list, fmt.Sprintf("%s %s %t %s", f.State, f.Image, f.Held, strings.Join(f.Where, " ")))
	}
	return list
}

func TestImagesInArchivesAreThere(t *testing.T) {
	files := map[string]string{
		"images/app.tar": tarball(t, "example.com/app:1", "app"), "images/more.tar": tarball(t, "example.com/more:1", "more"), "images/no.tar.gz": "rubbish",
		"images/unwanted.tar": tarball(t, "example.com/unwanted:1", "unwanted"), "out.tar": tarball(t, "example.com/out:1", "out"),
		"manifests/imageList": "example.com/app:1\noci-archive:out.tar\n", ".imageignore": "example.com/unwanted\n",
	}
	want := []string{
		"bad  false images/no.tar.gz", "found example.com/app:1 true manifests/imageList:1", "found example.com/out:1 false manifests/imageList:2",
		"superfluous example.com/more:1 true images/more.tar",
	}
	_, nowhere := newRegistry(t)
	o := options(t, "FROM scratch\nCOPY images images\nCOPY manifests manifests\nCOPY .imageignore .\n", files)
	o.Source = nowhere
	for name, look := range map[string]func(func(context.Context, Needed) error) error{
		"with a Kubefile": func(report func(context.Context, Needed) error) error { return Need(t.Context(), o, report) },
		"as it is": func(report func(context.Context, Needed) error) error {
			return NeedOf(t.Context(), os.DirFS(o.Context), o, report)
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := look(func(_ context.Context, n Needed) error {
				if n.Bad == nil || !strings.Contains(n.Bad.Error(), "images/no.tar.gz") {
					t.Errorf("got %v", n.Bad)
				}
				if diff := cmp.Diff(want, linted(t, n)); diff != "" {
					t.Error(diff)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
