package builder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

func TestFromStartsWithAnImageOfTheRegistry(t *testing.T) {
	host, client := newRegistry(t)
	o := options(t, "FROM scratch\nENV A=1\nLABEL base=yes\nCOPY . .\nCMD [\"x\"]\n", map[string]string{"bin/k3s": "old", "etc/a": "a"})
	base := mustBuild(t, o)
	name := host + "/base:1"
	if _, err := artifact.Copy(t.Context(), client, ref(t, name), o.Store, o.Tags[0], artifact.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	o = options(t, "ARG tag=1\nFROM "+host+"/base:$tag\nCOPY k3s bin/\nENV B=${A}2\nENTRYPOINT [\"e\"]\n", map[string]string{"k3s": "new"})
	o.Source = client
	b := mustBuild(t, o)
	want := map[string]string{"bin/": "", "bin/k3s": "new", "etc/": "", "etc/a": "a", "Metadata": base.files(t)["Metadata"]}
	if diff := cmp.Diff(want, b.files(t)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A=1", "B=12"}, b.config.Config.Env); diff != "" {
		t.Error(diff)
	}
	if b.config.Config.Cmd != nil {
		t.Errorf("CMD %q of the base goes with its ENTRYPOINT", b.config.Config.Cmd)
	}
	if diff := cmp.Diff(base.manifest.Layers, b.manifest.Layers[:len(base.manifest.Layers)]); diff != "" {
		t.Errorf("layers of the base: %s", diff)
	}
	l := b.config.Config.Labels
	if l["base"] != "yes" || l[artifact.LabelDistro] != "k3s" || l[artifact.LabelType] != "rootfs" {
		t.Errorf("labels %v", l)
	}
	o.Source = nil // the store has the base now
	if again := mustBuild(t, o); again.desc.Digest != b.desc.Digest {
		t.Error("without the registry the digest is another")
	}
}

func TestFromRefuses(t *testing.T) {
	host, client := newRegistry(t)
	pushImage(t, host+"/arm:1", client, v1.Platform{OS: "linux", Architecture: "arm64"}, "arm")
	tests := []struct{ name, text, want string }{
		{"another platform", "FROM " + host + "/arm:1\n", "Kubefile:1:1: FROM " + host + "/arm:1: wrong platform: " + host + "/arm:1 is for linux/arm64, linux/amd64 is wanted"},
		{"an image that is not there", "FROM " + host + "/none:1\n", "Kubefile:1:1: FROM " + host + "/none:1: "},
		{"a name that is none", "FROM UPPER\n", "Kubefile:1:1: "},
		{"an empty name", "FROM $x\n", `Kubefile:1:1: "$x" is empty`},
		{"a platform that is not built", "FROM --platform=linux/arm64 scratch\n", "Kubefile:1:1: the image is to be for linux/amd64, but this stage is for linux/arm64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, tt.text+"COPY f /\n", map[string]string{"f": ""})
			o.Source, o.Platforms = client, []v1.Platform{amd64}
			if got := failing(t, o); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestFromTakesAnotherPlatformBesideTheStoredOne(t *testing.T) {
	host, client := newRegistry(t)
	o := options(t, "FROM scratch\nCOPY $ARCH .\nBASE none\n", map[string]string{"amd64/x": "amd", "arm64/x": "arm"})
	o.Platforms = []v1.Platform{amd64, {OS: "linux", Architecture: "arm64"}}
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Copy(t.Context(), client, ref(t, host+"/b:1"), o.Store, o.Tags[0], artifact.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	o2 := options(t, "FROM "+host+"/b:1\nCOPY f /\n", map[string]string{"f": ""})
	o2.Source, o2.Platforms = client, o.Platforms
	d, err := Build(t.Context(), o2)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := o2.Store.Resolve(t.Context(), ref(t, host+"/b:1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, c, err := artifact.Manifest(t.Context(), o2.Store, ref(t, host+"/b:1"), nil); err != nil || c.Architecture != "amd64" {
		t.Errorf("the base's name moved from the first platform to %s %v", kept.Digest, err)
	}
	for arch, want := range map[string]string{"amd64": "amd", "arm64": "arm"} {
		if got := read(t, o2.Store, d, &v1.Platform{OS: "linux", Architecture: arch}).files(t)["x"]; got != want {
			t.Errorf("%s: %q", arch, got)
		}
	}
}
