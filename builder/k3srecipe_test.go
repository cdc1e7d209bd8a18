package builder

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
)

const k3sVersion = "v1.25.3+k3s1"

// absent is the content of a file that a mirror does not have.
const absent = "absent"

// k3sRelease is a mirror of releases that holds one, with stand-ins for its files: what they say is in their sums,
// but for those that are changed.
func k3sRelease(t *testing.T, changed map[string]string) (mirror string) {
	t.Helper()
	files := map[string]string{"k3s-images.txt": "docker.io/rancher/mirrored-pause:3.6\n", "install.sh": "#!/bin/sh\n# the script\n"}
	for arch, program := range map[string]string{"amd64": "k3s", "arm64": "k3s-arm64"} {
		var archive bytes.Buffer
		z := gzip.NewWriter(&archive)
		if _, err := io.WriteString(z, platformTarball(t, arch)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		files[program], files["k3s-airgap-images-"+arch+".tar.gz"] = "k3s for "+arch+"\n", archive.String()
		files["sha256sum-"+arch+".txt"] = sums(files, program, "k3s-airgap-images-"+arch+".tar.gz", "k3s-images.txt") + strings.Repeat("0", 64) + "  k3s-airgap-images-" + arch + ".tar\n"
	}
	files["install.sh.sha256sum"] = sums(files, "install.sh")
	for name, content := range changed {
		files[name] = content
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(r.URL.Path, "/mirror/"+k3sVersion+"/")
		if content, found := files[name]; ok && found && content != absent {
			io.WriteString(w, content)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/mirror"
}

// sums is what sha256sum prints.
func sums(files map[string]string, names ...string) string {
	var text string
	for _, name := range names {
		text += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(files[name])), name)
	}
	return text
}

// platformTarball returns an archive of a container image for an architecture.
func platformTarball(t *testing.T, arch string) string {
	t.Helper()
	o := options(t, "FROM scratch\nCOPY app /\nBASE none\n", map[string]string{"app": arch})
	o.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return saved(t, o, "docker.io/rancher/mirrored-pause:3.6")
}

// recipe copies the recipe of k3s with what a user puts beside it for the large layout.
func recipe(t *testing.T, mirror, arch, target string) Options {
	t.Helper()
	const dir = "../distros/k3s/image"
	text, err := os.ReadFile(filepath.Join(dir, "Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	o := runOptions(t, string(text), nil)
	copyContext(t, dir, o.Context)
	addFiles(t, o.Context, map[string]string{
		"bin/nerdctl": "nerdctl", "cri/docker.tar.gz": "docker", "lib/libseccomp-2.5.4.tar.gz": "seccomp", "manifests/mine.yaml": "",
	})
	o.Platforms, o.Target, o.BuildArgs = []v1.Platform{{OS: "linux", Architecture: arch}}, target, map[string]string{"K3S_MIRROR": mirror, "K3S_VERSION": k3sVersion}
	return o
}

// TestTheRecipeOfK3sBuildsBothLayouts builds it from a mirror of releases, for both architectures on this machine.
func TestTheRecipeOfK3sBuildsBothLayouts(t *testing.T) {
	needsSums(t)
	mirror := k3sRelease(t, nil)
	for _, arch := range []string{"amd64", "arm64"} {
		for target, want := range map[string][]string{
			"": {"Kubefile", "Metadata", "bin/k3s", "bin/nerdctl", "etc/k3s/k3s.yaml", "etc/node/password", "k3s-install.sh", "manifests/imageList", "manifests/mine.yaml"},
			"large": {"Kubefile", "Metadata", "bin/k3s", "bin/nerdctl", "cri/docker.tar.gz", "etc/daemon.json", "etc/docker.service", "etc/k3s.yaml", "lib/libseccomp-2.5.4.tar.gz",
				"manifests/imageList", "manifests/mine.yaml", "scripts/docker.sh", "scripts/init-registry.sh", "scripts/k3s-install.sh", "scripts/uninstall-docker.sh"},
		} {
			t.Run(arch+target, func(t *testing.T) {
				b := mustBuild(t, recipe(t, mirror, arch, target))
				files := b.files(t)
				var got []string
				for _, name := range want {
					if _, ok := files[name]; ok {
						got = append(got, name)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				for name := range files {
					if !strings.HasPrefix(name, "images/") && !strings.HasSuffix(name, "/") && !slices.Contains(want, name) {
						t.Errorf("it has %s too", name)
					}
				}
				if files["bin/k3s"] != "k3s for "+arch+"\n" || files["manifests/imageList"] != "docker.io/rancher/mirrored-pause:3.6\n" || files["etc/node/password"] != "" {
					t.Errorf("bin/k3s is %q, imageList %q, the password %q", files["bin/k3s"], files["manifests/imageList"], files["etc/node/password"])
				}
				if _, ok := files["images/index.json"]; !ok {
					t.Error("the container images of the release's archive are not there")
				}
				labels := b.config.Config.Labels
				if labels[artifact.LabelDistro] != "k3s" || labels[artifact.LabelDistroVersion] != k3sVersion {
					t.Errorf("labels: %v", labels)
				}
			})
		}
	}
}

// TestTheRecipeOfK3sRefusesWhatIsNotTheReleases changes each file that is fetched.
func TestTheRecipeOfK3sRefusesWhatIsNotTheReleases(t *testing.T) {
	needsSums(t)
	for _, changed := range []map[string]string{
		{"k3s": "another program\n"}, {"k3s-images.txt": "docker.io/other:1\n"}, {"k3s-airgap-images-amd64.tar.gz": "other"}, {"install.sh": "#!/bin/sh\nrm -rf /\n"},
		{"sha256sum-amd64.txt": "\n"}, {"sha256sum-amd64.txt": strings.Repeat("0", 64) + "  not-k3s\n"}, {"install.sh.sha256sum": ""},
	} {
		o := recipe(t, k3sRelease(t, changed), "amd64", "")
		if d, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "RUN") {
			t.Errorf("with another %v it is %v, %v", slices.Collect(maps.Keys(changed)), d.Digest, err)
		}
	}
}

// TestTheRecipeOfK3sNamesWhatAMirrorLacks builds without each file, and another version than the mirror has.
func TestTheRecipeOfK3sNamesWhatAMirrorLacks(t *testing.T) {
	needsSums(t)
	for _, lacks := range []string{"k3s", "k3s-images.txt", "k3s-airgap-images-amd64.tar.gz", "install.sh", "sha256sum-amd64.txt", "install.sh.sha256sum"} {
		o := recipe(t, k3sRelease(t, map[string]string{lacks: absent}), "amd64", "")
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), k3sVersion+"/"+lacks+": 404") {
			t.Errorf("without %s: %v", lacks, err)
		}
	}
	o := recipe(t, k3sRelease(t, nil), "amd64", "")
	o.BuildArgs["K3S_VERSION"] = "v1.99.0+k3s1"
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "v1.99.0+k3s1/k3s: 404") {
		t.Errorf("another version: %v", err)
	}
}

// needsSums skips where the machine has no tools to check sums with, or RUN cannot be carried out.
func needsSums(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("sha256sum"); err != nil {
		t.Skip(err)
	}
	mustBuild(t, runOptions(t, "FROM scratch\nRUN touch bin/k3s\n", nil))
}

// TestTheExamplesOfK3sBuild builds them with what their comments ask for.
func TestTheExamplesOfK3sBuild(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"k3s-offline": {
			map[string]string{"bin/k3s": "k3s", "k3s-install.sh": "", "images/k3s-airgap-images-amd64.tar": platformTarball(t, "amd64")},
			[]string{"bin/k3s", "imageList", "k3s-install.sh", "manifests/imageList", "images/index.json", "Metadata"},
		},
		"k3s-files": {
			map[string]string{"amd64/bin/k3s": "k3s", "arm64/bin/k3s": "other"},
			[]string{"README.md", "bin/k3s", "etc/k3s.yaml", "manifests/ImageList", "images/index.json", "Metadata"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := example(t, name, tt.files)
			o.Platform, o.Source = &amd64, sameImage(t)
			if name == "k3s-offline" {
				o.Source = nil // nothing is fetched
			}
			files := mustBuild(t, o).files(t)
			for _, want := range tt.want {
				if _, ok := files[want]; !ok {
					t.Errorf("no %s", want)
				}
			}
			if files["bin/k3s"] != "k3s" || files["amd64/"] != "" {
				t.Errorf("bin/k3s is %q", files["bin/k3s"])
			}
		})
	}
	t.Run("k3s-online", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip(err)
		}
		addHost, port, ca := serveInstaller(t)
		o := example(t, "k3s-online", nil)
		if port != "443" {
			o.File = parse(t, strings.ReplaceAll(readExample(t, "k3s-online"), "get.k3s.io", "get.k3s.io:"+port))
		}
		o.AddHosts, o.CAFile, o.Source = []string{addHost}, ca, sameImage(t)
		o.Platform = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
		if files := mustBuild(t, o).files(t); files["bin/k3s"] != "the k3s binary" || files["bin/kubectl"] != "-> k3s" || files["images/index.json"] == "" {
			t.Errorf("bin/k3s is %q", files["bin/k3s"])
		}
	})
}

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../examples", name, "Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func example(t *testing.T, name string, files map[string]string) Options {
	t.Helper()
	o := runOptions(t, readExample(t, name), nil)
	copyContext(t, filepath.Join("../examples", name), o.Context)
	addFiles(t, o.Context, files)
	return o
}
