package builder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
)

func TestKindComesFromLabelsMetadataAndBinaries(t *testing.T) {
	const distro, version, kind = artifact.LabelDistro, artifact.LabelDistroVersion, artifact.LabelType
	tests := []struct {
		name, lines string
		files       map[string]string
		want        map[string]string
		metadata    string // of the image
		wantErr     string
	}{
		{"nothing", "", map[string]string{"x": ""}, map[string]string{kind: "app"}, "", ""},
		{"binary", "", map[string]string{"bin/k3s": ""}, map[string]string{kind: "rootfs", distro: "k3s"}, `{"distro":"k3s","arch":"amd64"}` + "\n", ""},
		{"labels", "LABEL io.sealrt.distro.version=v1.25.3+k3s1", map[string]string{"bin/k3s": ""},
			map[string]string{kind: "rootfs", distro: "k3s", version: "v1.25.3+k3s1"}, `{"distro":"k3s","version":"v1.25.3+k3s1","arch":"amd64"}` + "\n", ""},
		{"metadata", "", map[string]string{"bin/k3s": "", "Metadata": `{"version":"v1.25.3","arch":"x86_64"}`},
			map[string]string{kind: "rootfs", distro: "k3s", version: "v1.25.3"}, `{"version":"v1.25.3","arch":"x86_64"}`, ""},
		{"values that mean the same", "LABEL io.sealrt.distro.version=v1.25.3", map[string]string{"bin/k3s": "", "Metadata": `{"version":"v1.25.3+k3s1"}`},
			map[string]string{kind: "rootfs", distro: "k3s", version: "v1.25.3+k3s1"}, `{"version":"v1.25.3+k3s1"}`, ""},
		{"versions that differ", "LABEL io.sealrt.distro.version=v1.25.4", map[string]string{"bin/k3s": "", "Metadata": `{"version":"v1.25.3"}`}, nil, "", "v1.25.4"},
		{"distributions that differ", "LABEL io.sealrt.distro=k0s", map[string]string{"bin/k3s": "", "Metadata": `{"distro":"k3s"}`}, nil, "", "k0s"},
		{"architectures that differ", "", map[string]string{"bin/k3s": "", "Metadata": `{"arch":"arm64"}`}, nil, "", "arm64"},
		{"metadata that is no JSON", "", map[string]string{"Metadata": `x`}, nil, "", "read Metadata"},
		{"an app that carries a k3s", "LABEL io.sealrt.type=app", map[string]string{"bin/k3s": ""}, map[string]string{kind: "app"}, "", ""},
		{"a patch", "LABEL io.sealrt.type=patch", map[string]string{"bin/k3s": ""}, map[string]string{kind: "patch"}, "", ""},
		{"an unknown type", "LABEL io.sealrt.type=roofs", map[string]string{"x": ""}, nil, "", "the types are rootfs, app and patch"},
		{"a rootfs without its binary", "LABEL io.sealrt.distro=k3s", map[string]string{"x": ""}, nil, "", "has no bin/k3s"},
		{"metadata without the binary", "", map[string]string{"Metadata": `{"distro":"k0s"}`}, nil, "", "has no bin/k0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, "FROM scratch\nCOPY . .\n"+tt.lines+"\n", tt.files)
			if tt.wantErr != "" {
				if got := failing(t, o); !strings.Contains(got, tt.wantErr) {
					t.Errorf("error %s, want %s", got, tt.wantErr)
				}
				return
			}
			b := mustBuild(t, o)
			tt.want[artifact.LabelFormat] = "1"
			if diff := cmp.Diff(tt.want, b.config.Config.Labels); diff != "" {
				t.Error(diff)
			}
			if got := b.files(t)["Metadata"]; got != tt.metadata {
				t.Errorf("Metadata %q, want %q", got, tt.metadata)
			}
		})
	}
}
