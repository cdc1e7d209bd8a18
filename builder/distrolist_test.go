package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// standIns are what this test's program does under the name of a distribution's program: it prints what that prints.
var standIns = map[string]func(args []string) int{
	"k0s": func(args []string) int {
		fmt.Fprintln(os.Stderr, `time="2024-01-01 00:00:00" level=info msg="using default config"`)
		var config string
		args, config = told(args)
		if text, err := os.ReadFile(config); err == nil { // which says what its images are, here
			if string(text) == "nonsense\n" {
				fmt.Fprintln(os.Stderr, "Error: failed to get config: unknown field nonsense")
				return 1
			}
			fmt.Print("registry.example.com/" + string(text))
			return 0
		} else if config != "" {
			return 4
		}
		switch strings.Join(args, " ") {
		case "airgap list-images":
			fmt.Println("quay.io/k0sproject/coredns:1.11.3\nquay.io/k0sproject/pause:3.9")
		case "airgap list-images --all":
			fmt.Println("quay.io/k0sproject/coredns:1.11.3\nquay.io/k0sproject/pause:3.9\nquay.io/k0sproject/calico-node:v3.27.3-0")
		default:
			return 1
		}
		return 0
	},
	"kubeadm": func(args []string) int {
		switch strings.Join(args, " ") {
		case "version -o short", "config images list --kubernetes-version v9.9.8":
			fmt.Println("v1.34.4")
		case "config images list --kubernetes-version v9.9.9":
			fmt.Fprintln(os.Stderr, "this version of kubeadm only supports v1.33")
			return 1
		default:
			fmt.Println("registry.k8s.io/kube-apiserver:" + args[len(args)-1] + "\nregistry.k8s.io/coredns/coredns:v1.12.1")
			if _, err := os.Stat("/rootfs/manifests"); err == nil { // of the tree it sees no more than it must
				return 2
			}
			if os.WriteFile("/rootfs/left-over", nil, 0o600) != nil {
				return 3
			}
		}
		return 0
	},
}

// told returns arguments without --config, and its value.
func told(args []string) (rest []string, config string) {
	if i := slices.Index(args, "--config"); i >= 0 {
		return slices.Delete(slices.Clone(args), i, i+2), args[i+1]
	}
	return args, ""
}

// asked returns what the distribution in a tree says, and how often a program was run for it.
func asked(t *testing.T, o Options) (said []string, runs int) {
	t.Helper()
	o.Observe = func(e Event) {
		if e.Kind == NodeStarted && strings.Contains(e.Name, "which images it needs") {
			runs++
		}
	}
	for _, n := range needs(t, o) {
		for _, need := range n.Lint.Needs {
			for _, img := range need.Images {
				said = append(said, fmt.Sprintf("%s: %s %t", img.Where, img.Ref.Familiar(), need.Optional))
			}
		}
		for _, note := range n.Notes {
			if strings.Contains(note, sandbox.ErrRefused.Error()) {
				t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", note)
			}
		}
		said = append(said, n.Notes...)
	}
	return said, runs
}

// withProgram returns the options of a Kubefile in whose context program is this test's own program.
func withProgram(t *testing.T, kubefile string, files map[string]string) Options {
	t.Helper()
	o := runOptions(t, kubefile, files)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	o.Compression = layer.None
	if err := os.WriteFile(filepath.Join(o.Context, "program"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestTheDistributionSaysWhichImagesItNeeds(t *testing.T) {
	const k0s = "bin/k0s airgap list-images: quay.io/k0sproject/"
	for name, c := range map[string]struct {
		kubefile string
		want     []string
	}{
		"k0s": {
			"FROM scratch\nCOPY program bin/k0s\n",
			[]string{
				k0s + "coredns:1.11.3 false", k0s + "pause:3.9 false",
				"bin/k0s airgap list-images --all: quay.io/k0sproject/coredns:1.11.3 true",
				"bin/k0s airgap list-images --all: quay.io/k0sproject/pause:3.9 true",
				"bin/k0s airgap list-images --all: quay.io/k0sproject/calico-node:v3.27.3-0 true",
			},
		},
		"k0s, about the image's configuration": {
			"FROM scratch\nCOPY program bin/k0s\nCOPY imageList etc/k0s.yaml\nCOPY other etc/k0s/k0s.yaml\n",
			[]string{
				"bin/k0s airgap list-images --config /rootfs/etc/k0s.yaml: registry.example.com/rancher/pause:3.6 false",
				"bin/k0s airgap list-images --all --config /rootfs/etc/k0s.yaml: registry.example.com/rancher/pause:3.6 true",
			},
		},
		"k0s, about a configuration behind a link": {
			"FROM scratch\nCOPY program bin/k0s\nCOPY imageList real.yaml\nCOPY links etc/k0s\n",
			[]string{
				"bin/k0s airgap list-images --config /rootfs/real.yaml: registry.example.com/rancher/pause:3.6 false",
				"bin/k0s airgap list-images --all --config /rootfs/real.yaml: registry.example.com/rancher/pause:3.6 true",
			},
		},
		"k0s, about a configuration that it refuses": {
			"FROM scratch\nCOPY program bin/k0s\nCOPY other etc/k0s/k0s.yaml\n",
			[]string{"bin/k0s was not asked which images it needs: `k0s airgap list-images --config /rootfs/etc/k0s/k0s.yaml`: exit code 1: Error: failed to get config: unknown field nonsense"},
		},
		"k0s, whose configuration is a template": {
			"FROM scratch\nCOPY program bin/k0s\nCOPY imageList etc/k0s.yaml.tmpl\n",
			[]string{
				k0s + "coredns:1.11.3 false", k0s + "pause:3.9 false",
				"bin/k0s airgap list-images --all: quay.io/k0sproject/coredns:1.11.3 true",
				"bin/k0s airgap list-images --all: quay.io/k0sproject/pause:3.9 true",
				"bin/k0s airgap list-images --all: quay.io/k0sproject/calico-node:v3.27.3-0 true",
				"etc/k0s.yaml.tmpl is a template: what its images are called is not known here, and those of the defaults were asked for",
			},
		},
		"kubeadm, by the version of the image": {
			"FROM scratch\nCOPY program bin/hyper\nCOPY links bin\nCOPY imageList manifests/\nLABEL io.sealrt.distro.version=v1.2.3\n",
			[]string{
				"bin/kubeadm config images list --kubernetes-version v1.2.3: registry.k8s.io/kube-apiserver:v1.2.3 false",
				"bin/kubeadm config images list --kubernetes-version v1.2.3: registry.k8s.io/coredns/coredns:v1.12.1 false",
			},
		},
		"kubeadm, by its own version": {
			"FROM scratch\nCOPY program bin/kubeadm\n",
			[]string{
				"bin/kubeadm config images list --kubernetes-version v1.34.4: registry.k8s.io/kube-apiserver:v1.34.4 false",
				"bin/kubeadm config images list --kubernetes-version v1.34.4: registry.k8s.io/coredns/coredns:v1.12.1 false",
			},
		},
		"a program that refuses": {
			"FROM scratch\nCOPY program bin/kubeadm\nLABEL io.sealrt.distro.version=v9.9.9\n",
			[]string{"bin/kubeadm was not asked which images it needs: `kubeadm config images list --kubernetes-version v9.9.9`: exit code 1: this version of kubeadm only supports v1.33"},
		},
		"a program that prints no images": {
			"FROM scratch\nCOPY program bin/kubeadm\nLABEL io.sealrt.distro.version=v9.9.8\n",
			[]string{"bin/kubeadm was not asked which images it needs: `kubeadm config images list --kubernetes-version v9.9.8` printed no images"},
		},
		"no program":      {"FROM scratch\nCOPY imageList bin/k0s\n", []string{"bin/k0s was not asked which images it needs: it is no program that this machine could run"}},
		"not for this":    {"FROM scratch\nCOPY foreign bin/k0s\n", []string{"bin/k0s was not asked which images it needs: it is a program for s390x, and this machine is " + runtime.GOARCH}},
		"k3s has a file":  {"FROM scratch\nCOPY program bin/k3s\nCOPY imageList images/k3s-images.txt\n", []string{"images/k3s-images.txt:1: rancher/pause:3.6 false"}},
		"an app has none": {"FROM scratch\nCOPY program bin/tool\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := withProgram(t, c.kubefile, map[string]string{
				"imageList": "rancher/pause:3.6\n", "links/kubeadm": "-> hyper", "links/k0s.yaml": "-> ../../real.yaml", "other": "nonsense\n", "foreign": string(foreignProgram(t)),
			})
			said, runs := asked(t, o)
			if diff := cmp.Diff(c.want, said); diff != "" {
				t.Error(diff)
			}
			again, more := asked(t, o)
			if diff := cmp.Diff(said, again); diff != "" || more > 0 {
				t.Errorf("run %d times, then %d times: %s", runs, more, diff)
			}
		})
	}
}

// foreignProgram is the beginning of a program for another machine.
func foreignProgram(t *testing.T) []byte {
	t.Helper()
	for _, a := range elfArchs {
		if a.arch == "s390x" {
			return a.header(2)
		}
	}
	t.Fatal("no s390x")
	return nil
}

func TestTheSameProgramIsAskedOnce(t *testing.T) {
	o := withProgram(t, "FROM scratch\nCOPY program bin/k0s\n", map[string]string{"a": "a"})
	if _, runs := asked(t, o); runs != 1 {
		t.Errorf("run %d times", runs)
	}
	program := filepath.Join(o.Context, "program")
	data, err := os.ReadFile(program)
	if err == nil {
		err = errors.Join(os.Remove(program), os.WriteFile(program, data, 0o755)) // another file with the same content
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, kubefile := range []string{"FROM scratch\nCOPY program bin/k0s\n", "FROM scratch\nCOPY a a\nCOPY program bin/k0s\nCOPY a b\n"} {
		o.File = parse(t, kubefile)
		if _, runs := asked(t, o); runs > 0 {
			t.Errorf("run %d times for %s", runs, kubefile)
		}
	}
	o.NoCache = true
	if _, runs := asked(t, o); runs != 1 {
		t.Errorf("without the cache run %d times", runs)
	}
}

// stubborn is a Runner whose machine has no sandbox.
type stubborn struct{ runs int }

func (*stubborn) Identity(context.Context, Command) (string, error) { return "stubborn", nil }

func (s *stubborn) Run(context.Context, Command) (*Changes, error) {
	s.runs++
	return nil, sandbox.ErrUnsupported
}

func TestWhereNothingCanBeRunIsTriedAgain(t *testing.T) {
	runner := &stubborn{}
	o := withProgram(t, "FROM scratch\nCOPY program bin/k0s\n", nil)
	o.Runner = runner
	for n := 1; n <= 2; n++ {
		said, _ := asked(t, o)
		if diff := cmp.Diff([]string{"bin/k0s was not asked which images it needs: RUN needs Linux"}, said); diff != "" || runner.runs != n {
			t.Errorf("run %d times: %s", runner.runs, diff)
		}
	}
}

// compared builds, compares what was built with what the distribution says, and returns the warnings.
func compared(t *testing.T, o Options, kept ...artifact.Reference) (warnings []string) {
	t.Helper()
	o = withDefaults(o)
	o.Observe = func(e Event) {
		if e.Kind == BuildWarning || e.Kind == BuildNote {
			warnings = append(warnings, e.Text)
		}
	}
	b, platforms, done, err := prepare(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	_, err = b.platforms(t.Context(), platforms, func(s *stage, ctx context.Context, m *image) (v1.Descriptor, error) {
		w := &work{stage: s, image: m, task: s.newTask("compare"), step: s.source.From}
		kind, _, err := w.kind()
		if err != nil {
			return v1.Descriptor{}, err
		}
		return v1.Descriptor{}, w.compareDistro(ctx, kind, kept)
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(warnings, func(text string) bool { return strings.Contains(text, sandbox.ErrRefused.Error()) }) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", warnings)
	}
	return warnings
}

func TestABuildTellsWhatTheDistributionLacks(t *testing.T) {
	const lacks = " says that the distribution needs images that the image lacks: "
	const advice = ": add them to manifests/imageList, or name them in .imageignore"
	files := map[string]string{"index.json": `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:` +
		strings.Repeat("a", 64) + `","annotations":{"io.containerd.image.name":"harbor.example.com/k0s/k0sproject/pause:3.9"}}]}`, "list": "rancher/pause:3.6\n"}
	for name, c := range map[string]struct {
		kubefile string
		kept     []artifact.Reference
		want     []string
	}{
		"nothing there":      {kubefile: "COPY program bin/k0s\n", want: []string{"bin/k0s" + lacks + "quay.io/k0sproject/coredns:1.11.3, quay.io/k0sproject/pause:3.9" + advice}},
		"a mirror's":         {kubefile: "COPY program bin/k0s\nCOPY index.json images/\n", want: []string{"bin/k0s" + lacks + "quay.io/k0sproject/coredns:1.11.3" + advice}},
		"in archives":        {kubefile: "COPY program bin/k0s\nCOPY index.json images/\n", kept: []artifact.Reference{ref(t, "quay.io/k0sproject/coredns:1.11.3")}},
		"not wanted":         {kubefile: "COPY program bin/k0s\nBASE none\n"},
		"a list":             {kubefile: "COPY list images/k3s-images.txt\n", want: []string{"images/k3s-images.txt" + lacks + "rancher/pause:3.6" + advice}},
		"nobody to be asked": {kubefile: "COPY list bin/k0s\n", want: []string{"bin/k0s was not asked which images it needs: it is no program that this machine could run"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compared(t, withProgram(t, "FROM scratch\n"+c.kubefile, files), c.kept...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFinishedImageSaysWhatItsDistributionNeeds(t *testing.T) {
	o := withProgram(t, "FROM scratch\nCOPY program bin/hyper\nCOPY links bin\nCOPY list images/k3s-images.txt\nLABEL io.sealrt.distro.version=v1.2.3\nBASE none\n",
		map[string]string{"list": "rancher/pause:3.6\n", "links/kubeadm": "-> hyper"})
	mustBuild(t, o)
	runs := 0
	o.Observe = func(e Event) {
		if e.Kind == NodeStarted {
			runs++
		}
	}
	for range 2 {
		needs, notes, err := DistroNeeds(t.Context(), Options{Store: o.Store, Platform: o.Platform, Observe: o.Observe}, o.Tags[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(notes) == 1 && strings.Contains(notes[0], sandbox.ErrRefused.Error()) {
			t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", notes)
		}
		if len(notes) > 0 || len(needs) != 2 || needs[0].By != "images/k3s-images.txt" || needs[1].By != "bin/kubeadm" ||
			needs[1].Images[0].Ref.Familiar() != "registry.k8s.io/kube-apiserver:v1.2.3" {
			t.Errorf("%+v, %q", needs, notes)
		}
	}
	if runs != 1 {
		t.Errorf("run %d times", runs)
	}
	if _, _, err := DistroNeeds(t.Context(), Options{Store: o.Store}, ref(t, "none:1"), nil); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestChainFollowsLinks(t *testing.T) {
	b := newTree()
	link := func(name, target string) layer.Entry {
		return layer.Entry{Name: name, Mode: fs.ModeSymlink | 0o777, Linkname: target}
	}
	b.apply([]layer.Entry{
		{Name: "usr/bin/hyper", Mode: 0o755}, link("bin", "usr/bin"), link("usr/bin/kubeadm", "../../opt/k"), link("opt/k", "/usr/bin/hyper"), link("loop", "loop"),
	})
	if diff := cmp.Diff([]string{"usr/bin/kubeadm", "opt/k", "usr/bin/hyper"}, b.chain("bin/kubeadm")); diff != "" {
		t.Error(diff)
	}
	if got := b.chain("loop"); len(got) != maxLinks {
		t.Errorf("%d names", len(got))
	}
}

func TestImagesIn(t *testing.T) {
	var got []string
	for _, ref := range imagesIn("I1123 05:00:00.1 1 version.go:261] remote version is newer\nregistry.k8s.io/pause:3.10\n  localhost/x@sha256:" + strings.Repeat("a", 64) +
		"\r\n10.0.0.1:5000/a/b:1\nlevel=info msg=x/y:1\nrancher/pause:3.6\nregistry.k8s.io/none\nregistry.k8s.io/Bad:1\n") {
		got = append(got, ref.Familiar())
	}
	if diff := cmp.Diff([]string{"registry.k8s.io/pause:3.10", "localhost/x@sha256:" + strings.Repeat("a", 64), "10.0.0.1:5000/a/b:1"}, got); diff != "" {
		t.Error(diff)
	}
}

// An answer is cut before it takes much memory.
func TestAProgramThatTalksTooMuchIsCut(t *testing.T) {
	var s said
	for range 3 {
		if n, err := s.Write(make([]byte, maxAnswer/2+1)); n != maxAnswer/2+1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if s.Len() != maxAnswer {
		t.Errorf("%d bytes", s.Len())
	}
}
