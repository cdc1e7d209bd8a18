package builder

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

const k0sVersion = "v1.34.2+k0s.0"

// k0sRelease is a mirror of releases that holds one, with stand-ins for its files. The file of sums is about others too.
func k0sRelease(t *testing.T, changed map[string]string) (mirror string) {
	t.Helper()
	files, sum := map[string]string{}, ""
	for _, arch := range []string{"amd64", "arm64"} {
		program, bundle := "k0s-"+k0sVersion+"-"+arch, "k0s-airgap-bundle-"+k0sVersion+"-"+arch
		files[program], files[bundle] = "k0s for "+arch+"\n", platformTarball(t, arch)
		files[program+".sig"] = "signature"
		sum += sums(files, program, program+".sig", bundle)
	}
	files["sha256sums.txt"] = strings.ReplaceAll(sum, "  ", " *")
	for name, content := range changed {
		files[name] = content
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(r.URL.Path, "/mirror/"+k0sVersion+"/")
		content, found := files[name]
		if !ok || !found {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, content)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/mirror"
}

func k0sRecipe(t *testing.T, mirror, arch string) Options {
	t.Helper()
	const dir = "../distros/k0s/image"
	text, err := os.ReadFile(filepath.Join(dir, "Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	o := runOptions(t, string(text), nil)
	copyContext(t, dir, o.Context)
	o.Platform, o.BuildArgs = &v1.Platform{OS: "linux", Architecture: arch}, map[string]string{"K0S_MIRROR": mirror, "K0S_VERSION": k0sVersion}
	return o
}

// TestTheRecipeOfK0sBuilds builds it from a mirror of releases, for both architectures on this machine.
func TestTheRecipeOfK0sBuilds(t *testing.T) {
	needsSums(t)
	mirror := k0sRelease(t, nil)
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			b := mustBuild(t, k0sRecipe(t, mirror, arch))
			files := b.files(t)
			var got []string
			for name := range files {
				if !strings.HasPrefix(name, "images/") && !strings.HasSuffix(name, "/") {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if want := []string{"Kubefile", "Metadata", "bin/k0s", "etc/k0s.yaml"}; !slices.Equal(got, want) {
				t.Errorf("it has %q", got)
			}
			if files["bin/k0s"] != "k0s for "+arch+"\n" || files["images/index.json"] == "" {
				t.Errorf("bin/k0s is %q", files["bin/k0s"])
			}
			if l := b.config.Config.Labels; l[artifact.LabelDistro] != "k0s" || l[artifact.LabelDistroVersion] != k0sVersion {
				t.Errorf("labels: %v", l)
			}
		})
	}
}

// TestTheRecipeOfK0sRefusesWhatIsNotTheReleases changes each file that is fetched.
func TestTheRecipeOfK0sRefusesWhatIsNotTheReleases(t *testing.T) {
	needsSums(t)
	for name, content := range map[string]string{
		"k0s-" + k0sVersion + "-amd64": "another program\n", "k0s-airgap-bundle-" + k0sVersion + "-amd64": "other", "sha256sums.txt": "",
	} {
		if d, err := Build(t.Context(), k0sRecipe(t, k0sRelease(t, map[string]string{name: content}), "amd64")); err == nil || !strings.Contains(err.Error(), "RUN") {
			t.Errorf("with another %s it is %v, %v", name, d.Digest, err)
		}
	}
}

// TestTheExampleOfK0sBuilds builds the Kubefile of the design with what its comment asks for.
func TestTheExampleOfK0sBuilds(t *testing.T) {
	o := example(t, "k0s-files", map[string]string{"amd64/bin/k0s": "k0s", "arm64/bin/k0s": "other"})
	o.Platform, o.Source = &amd64, sameImage(t)
	files := mustBuild(t, o).files(t)
	for _, want := range []string{"README.md", "bin/k0s", "etc/k0s.yaml", "manifests/ImageList", "images/index.json", "Metadata"} {
		if _, ok := files[want]; !ok {
			t.Errorf("no %s", want)
		}
	}
	if files["bin/k0s"] != "k0s" {
		t.Errorf("bin/k0s is %q", files["bin/k0s"])
	}
}
