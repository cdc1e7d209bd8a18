package builder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestStagesAreBuiltAsTheTargetNeedsThem(t *testing.T) {
	context := map[string]string{"a": "a", "b": "b", "bin/k3s": "k"}
	for name, tt := range map[string]struct {
		text, target string
		want         map[string]string
		missing      string // of the nodes
	}{
		"from a stage": {
			text: "FROM scratch AS one\nCOPY a x/\nFROM one\nCOPY b x/\nBASE none\n", want: map[string]string{"x/": "", "x/a": "a", "x/b": "b"},
		},
		"copy from a stage by name and by number": {
			text: "FROM scratch AS one\nCOPY a b x/\nFROM scratch\nCOPY --from=one x/a .\nCOPY --from=0 /x/b c\n", want: map[string]string{"a": "a", "c": "b"},
		},
		"a stage that is not needed": {
			text: "FROM scratch AS one\nCOPY missing .\nFROM scratch\nCOPY a .\n", want: map[string]string{"a": "a"}, missing: "missing",
		},
		"the target": {
			text: "FROM scratch AS one\nCOPY a .\nFROM one\nCOPY missing .\n", target: "one", want: map[string]string{"a": "a"}, missing: "missing",
		},
		"whole trees, links and globs": {
			text: "FROM scratch AS one\nCOPY a x/1.txt\nCOPY a x/y/2.txt\nFROM scratch\nCOPY --from=one /x all\nCOPY --from=one x/*.txt some/\n",
			want: map[string]string{"all/": "", "all/1.txt": "a", "all/y/": "", "all/y/2.txt": "a", "some/": "", "some/1.txt": "a"},
		},
		"well-known directories": {
			text: "FROM scratch AS one\nCOPY bin rootfs/bin\nCOPY a rootfs/etc/\nFROM scratch\nCOPY --from=one rootfs/* .\nLABEL io.sealrt.type=app\n",
			want: map[string]string{"bin/": "", "bin/k3s": "k", "etc/": "", "etc/a": "a"},
		},
		"parents": {
			text: "FROM scratch\nCOPY --parents bin/k3s x/\nCOPY --parents ./bin/./k3s y/\n", want: map[string]string{"x/": "", "x/bin/": "", "x/bin/k3s": "k", "y/": "", "y/k3s": "k"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, tt.text, context)
			o.Target = tt.target
			told := notes(&o)
			if diff := cmp.Diff(tt.want, mustBuild(t, o).files(t)); diff != "" {
				t.Error(diff)
			}
			if tt.missing != "" && strings.Contains(told.String(), tt.missing) {
				t.Errorf("a stage was built that nobody needs:\n%s", told)
			}
		})
	}
}

func TestStagesInheritWhatTheImageSays(t *testing.T) {
	o := options(t, `ARG V=1
FROM scratch AS one
ARG V
ENV A=one$V B=b
WORKDIR /opt/$A
LABEL l=one
CMD ["x"]
FROM one
ARG V
ENV C=$A$V
COPY a .
`, map[string]string{"a": "a"})
	b := mustBuild(t, o)
	want := v1.Config{Env: []string{"A=one1", "B=b", "C=one11"}, WorkingDir: "/opt/one1", Labels: map[string]string{"l": "one", "io.sealrt.type": "app", "io.sealrt.format": "1"}, Cmd: []string{"x"}}
	if diff := cmp.Diff(want, b.config.Config); diff != "" {
		t.Error(diff)
	}
	if got := b.files(t)["opt/one1/a"]; got != "a" {
		t.Errorf("files %v", b.files(t))
	}
}

func TestCopyFromAnImage(t *testing.T) {
	host, client := newRegistry(t)
	pushImage(t, host+"/tool:1", client, amd64, "tool")
	o := options(t, "FROM scratch\nCOPY --from="+host+"/tool:1 app bin/\n", nil)
	o.Source = client
	if got := mustBuild(t, o).files(t)["bin/app"]; got != "tool" {
		t.Errorf("bin/app is %q", got)
	}
	for text, want := range map[string]string{
		"COPY --from=" + host + "/tool:1 nothing bin/":  "Kubefile:2:1: COPY --from=" + host + "/tool:1 nothing bin/: nothing is not in " + host + "/tool:1",
		"COPY --from=" + host + "/tool:1 no* bin/":      "nothing in " + host + "/tool:1 matches no*",
		"COPY --from=" + host + "/tool:2 app bin/":      "Kubefile:2:1: " + host + "/tool:2: not found",
		"COPY --from=" + host + "/tool:1 app/deep bin/": "app/deep is not in",
	} {
		o := options(t, "FROM scratch\n"+text+"\n", nil)
		o.Source = client
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestStagesForTheBuildersPlatformServeAllPlatforms(t *testing.T) {
	o := options(t, `FROM --platform=$BUILDPLATFORM scratch AS fetch
ARG TARGETARCH
COPY $TARGETARCH out/
FROM scratch
COPY --from=fetch out .
`, map[string]string{"amd64/x": "amd", "arm64/x": "arm"})
	o.Platforms = []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	d, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range o.Platforms {
		b := read(t, o.Store, d, &p)
		if got := b.files(t)["x"]; got != strings.TrimSuffix(p.Architecture, "64") || b.config.Architecture != p.Architecture {
			t.Errorf("%s: x is %q, the image is for %s", p.String(), got, b.config.Architecture)
		}
	}
}

func TestLargeCopiesAreSpreadOverLayers(t *testing.T) {
	files := map[string]string{"bin/big": strings.Repeat("b", largeFile), "empty/": ""}
	for i := range 40 {
		files[fmt.Sprintf("etc/d%d/f%d", i%4, i)] = strings.Repeat(fmt.Sprint(i), 1<<18)
	}
	o := options(t, "FROM scratch\nCOPY . .\n", files)
	first := mustBuild(t, o)
	if n := len(first.manifest.Layers); n < 3 || n > 1+maxBuckets {
		t.Errorf("%d layers", n)
	}
	if got := first.files(t); len(got) != len(files)+6 || got["etc/d1/f1"] != files["etc/d1/f1"] {
		t.Errorf("files %v", keys(got))
	}
	addFiles(t, o.Context, map[string]string{"etc/d1/f1": "changed"})
	second := mustBuild(t, o)
	fresh := 0
	for i, l := range second.manifest.Layers {
		if l.Digest != first.manifest.Layers[i].Digest {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d layers changed with one file", fresh)
	}
}

func TestCommandLinesAsWordsOfCmdAreLinesForTheShell(t *testing.T) {
	for text, want := range map[string][]string{
		`CMD ["bash entrypoint.sh"]`:                    {"/bin/sh", "-c", "bash entrypoint.sh"},
		`CMD ["cp a b", "ls b"]`:                        {"/bin/sh", "-c", "cp a b && ls b"},
		`CMD ["ls", "a b"]`:                             {"ls", "a b"},
		"CMD [\"a b\"]\nENTRYPOINT [\"echo\"]":          {"a b"},
		"SHELL [\"/bin/bash\", \"-ec\"]\nCMD [\"a b\"]": {"/bin/bash", "-ec", "a b"},
	} {
		o := options(t, "FROM scratch\n"+text+"\n", nil)
		told := notes(&o)
		if diff := cmp.Diff(want, mustBuild(t, o).config.Config.Cmd); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if warned := strings.Contains(told.String(), "warning"); warned != strings.Contains(strings.Join(want, " "), "c ") {
			t.Errorf("%s: warned %v:\n%s", text, warned, told)
		}
	}
}

func TestMoreLayersThanToolsTakeAreWarnedOf(t *testing.T) {
	for n, want := range map[int]bool{mostLayers: false, mostLayers + 1: true} {
		o := options(t, "FROM scratch\nBASE none\n"+strings.Repeat("COPY f a/\n", n), map[string]string{"f": "f"})
		told := notes(&o)
		mustBuild(t, o)
		if warned := strings.Contains(told.String(), "many tools stop at 127"); warned != want {
			t.Errorf("%d layers: warned %v", n, warned)
		}
	}
}
