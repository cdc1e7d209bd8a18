package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

func reference(t *testing.T, name string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// appImage is an app of a version.
func appImage(t *testing.T, name, digit string) runtime.Image {
	return runtime.Image{
		Ref: reference(t, name), Digest: "sha256:" + strings.Repeat(digit, 64), Kind: artifact.Kind{Type: artifact.TypeApp},
		Cmd: []string{"./install.sh"}, Paths: []string{"bin/helm", "manifests/a.yaml", "scripts/uninstall.sh"}, Programs: []string{"bin/helm", "scripts/uninstall.sh"},
	}
}

// cluster is one that stands, of a host in memory.
func cluster(t *testing.T) (*known, *hosttest.Host, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	folder, err := state.Open(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	h := hosttest.New("10.0.0.1")
	h.WriteFile("/proc/self/mounts", 0o444, nil)
	h.WriteFile(runtime.Home+"/keep", 0o644, nil)
	h.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("clusters: [{name: a, cluster: {server: \"https://10.0.0.1:6443\"}}]\n"))
	kept := t.TempDir()
	h.Serve([]string{runtime.HelperPath, "host", "keep"}, func(ctx context.Context, c host.Command) error {
		return state.Keeper{Dir: kept}.Keep(ctx, c.Stdin, c.Stdout)
	})
	h.Respond([]string{"sha256sum", runtime.HelperPath}, executableSum(t)+"  "+runtime.HelperPath+"\n", 0)
	var out bytes.Buffer
	base := runtime.Image{Ref: reference(t, "kubernetes:v1.34.4"), Digest: "sha256:" + strings.Repeat("b", 64), Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: "kubernetes", Version: "v1.34.4"}}
	k := &known{
		env: &environment{stdout: &out, stderr: io.Discard, progressMode: "plain", getenv: os.Getenv}, state: folder, driver: kubernetes.Driver{},
		cluster: &runtime.Cluster{Name: "test", Images: []runtime.Image{base}, Members: []runtime.Member{{Address: "10.0.0.1", Role: runtime.Master, Hostname: "a", NodeIP: "10.0.0.1"}}},
		hosts:   connections{"10.0.0.1": h},
	}
	t.Cleanup(func() {
		if k.held != nil {
			k.held.Close()
		}
	})
	return k, h, &out
}

func executableSum(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// there puts the trees of images on a host.
func there(h *hosttest.Host, images ...runtime.Image) {
	for _, i := range images {
		h.WriteFile(i.Rootfs()+"/Metadata", 0o644, nil)
		h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check", i.Digest}, i.Digest+"\n", 0)
	}
}

func ran(h *hosttest.Host, what string) int {
	return len(slices.DeleteFunc(h.Transcript(), func(line string) bool { return !strings.Contains(line, what) }))
}

func namesOf(k *known) []string {
	var out []string
	for _, i := range k.cluster.Images {
		out = append(out, i.Ref.Familiar())
	}
	return out
}

func TestAppIsPutOnAClusterAndReplacedByItsNextVersion(t *testing.T) {
	k, h, out := cluster(t)
	v7, v8 := appImage(t, "shop:v7", "7"), appImage(t, "shop:v8", "8")
	there(h, v7, v8)
	f := runFlags{cluster: "test"}
	if err := k.install(t.Context(), f, []runtime.Image{v7}, map[string]string{"A": "1"}); err != nil {
		t.Fatal(err)
	}
	if out.String() != k.state.KubeconfigPath()+"\n" {
		t.Errorf("stdout is %q", out)
	}
	if err := k.install(t.Context(), f, []runtime.Image{v7}, nil); err != nil {
		t.Fatal(err)
	}
	if n := ran(h, "-- ./install.sh"); n != 2 {
		t.Errorf("the command ran %d times, want 2", n)
	}
	if diff := cmp.Diff([]string{"kubernetes:v1.34.4", "shop:v7"}, namesOf(k)); diff != "" {
		t.Error(diff)
	}
	// the next version stops half way: both are known, and the same command goes on
	h.Fail([]string{runtime.HelperPath, "host", "script"}, &host.ExitError{Argv: []string{"x"}, Code: 1}, 1)
	if err := k.install(t.Context(), f, []runtime.Image{v8}, nil); err == nil || !strings.Contains(err.Error(), "sealrt uninstall shop:v8 --cluster test") {
		t.Fatal(err)
	}
	made, err := loadImages(k.state)
	if err != nil || len(made) != 3 {
		t.Fatalf("%+v, %v", made, err)
	}
	if diff := cmp.Diff([]string{"manifests/a.yaml", "scripts/uninstall.sh"}, made[1].Paths); diff != "" {
		t.Error(diff)
	}
	if err := k.install(t.Context(), f, []runtime.Image{v8}, map[string]string{"B": "2"}); err != nil {
		t.Fatal(err)
	}
	made, err = loadImages(k.state)
	if err != nil || len(made) != 2 || made[1].Digest != v8.Digest {
		t.Fatalf("%+v, %v", made, err)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "2"}, made[1].Settings); diff != "" {
		t.Error("what the app was told is forgotten:", diff)
	}
	if ran(h, "host drop "+k.cluster.Image().Digest+" "+v8.Digest) == 0 {
		t.Errorf("the version before is not dropped: %q", h.Transcript())
	}
}

func TestDryRunOfAnAppChangesNothing(t *testing.T) {
	k, h, out := cluster(t)
	app := appImage(t, "shop:v7", "7")
	there(h, app)
	if err := k.install(t.Context(), runFlags{cluster: "test", dryRun: true}, []runtime.Image{app}, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"apply --server-side", "-- ./install.sh"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the plan lacks %s:\n%s", want, out)
		}
	}
	if ran(h, "install.sh") > 0 {
		t.Error("the command ran")
	}
	if _, err := loadImages(k.state); !errors.Is(err, os.ErrNotExist) {
		t.Error("the state was written:", err)
	}
}

func TestAppIsFoundByItsNameWithOrWithoutTag(t *testing.T) {
	apps := []runtime.Image{appImage(t, "registry.example.com/team/shop:v7", "7"), appImage(t, "registry.example.com/team/shop:v8", "8"), appImage(t, "mysql:8", "6"), appImage(t, "quay.io/other/mysql:9", "9")}
	for name, want := range map[string]string{
		"registry.example.com/team/shop:v7": "7", "registry.example.com/team/shop": "8", "team/shop": "8", "shop": "8",
		"mysql:8": "6", "mysql": "means several apps", "shop:v9": "no app is called shop:v9", "gone": "there are registry.example.com/team/shop:v7", "": "",
	} {
		got, err := appCalled(apps, name)
		if len(want) == 1 {
			if err != nil || got.Digest[7:8] != want {
				t.Errorf("%s: %s, %v", name, got.Digest, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := appCalled(nil, "shop"); err == nil || err.Error() != "no app is installed there" {
		t.Error(err)
	}
}

func TestPatchesAreLaidOverTheRootfsInOrder(t *testing.T) {
	store := registrytest.Store(t)
	platform := v1.Platform{OS: "linux", Architecture: "amd64"}
	of := func(name, kind string, files ...converttest.File) foundImage {
		labels := map[string]string{artifact.LabelType: kind, artifact.LabelFormat: artifact.Format}
		if kind == artifact.TypeRootfs {
			labels[artifact.LabelDistro], labels[artifact.LabelDistroVersion] = "k3s", "v1.25.3"
		}
		ref := converttest.Tag(t, store, name, converttest.Put(t, store, converttest.Image{Platform: platform, Labels: labels, Layers: [][]converttest.File{files}}))
		i, err := runtime.OpenImage(t.Context(), store, ref, platform)
		if err != nil {
			t.Fatal(err)
		}
		return foundImage{i, ref, store}
	}
	base := of("k3s:v1", artifact.TypeRootfs, converttest.Text("etc/a", "base"), converttest.Text("etc/b", "base"), converttest.Text("etc/c", "base"), converttest.Text("etc/gone", "base"))
	one := of("one:1", artifact.TypePatch, converttest.Text("etc/b", "one"), converttest.Text("etc/c", "one"))
	two := of("two:1", artifact.TypePatch, converttest.Text("etc/c", "two"), converttest.Text("etc/.wh.gone", ""))
	app := of("app:1", artifact.TypeApp, converttest.Text("etc/a", "app"))
	var digests []string
	for range 2 {
		images, patched, err := layOver(t.Context(), &environment{stderr: io.Discard, quiet: true}, store, []foundImage{base, one, two, app}, platform)
		if err != nil || !patched || len(images) != 2 {
			t.Fatal(images, patched, err)
		}
		whole := images[0]
		for name, want := range map[string]string{"etc/a": "base", "etc/b": "one", "etc/c": "two", "etc/gone": ""} {
			got, _ := whole.Files.Open(name)
			text := ""
			if got != nil {
				raw, _ := io.ReadAll(got)
				text = string(raw)
			}
			if text != want {
				t.Errorf("%s is %q, want %q", name, text, want)
			}
		}
		if whole.Ref != base.Ref || !whole.Boots() || withPatches(whole) != "k3s:v1 + one:1 + two:1" || whole.Digest == base.Digest || images[1].Ref != app.Ref {
			t.Errorf("%+v", whole)
		}
		digests = append(digests, whole.Digest)
	}
	if digests[0] != digests[1] {
		t.Error("equal images make another one: a second run would not find its cluster")
	}
	images, patched, err := layOver(t.Context(), &environment{}, store, []foundImage{base, app}, platform)
	if err != nil || patched || len(images) != 2 || images[0].Digest != base.Digest {
		t.Error(images, patched, err)
	}
	if _, _, err := layOver(t.Context(), &environment{}, store, []foundImage{base, app, one}, platform); err == nil {
		t.Error("a patch behind an app is no error")
	}
}

func TestScriptRunsAProgramAndKeepsWhatItSays(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "hook")
	text := "#!/bin/sh\necho in $(pwd) with $KUBECONFIG ${SEALRT_WORK-none}\necho wrong >&2\nexit $1\n"
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SEALRT_WORK", "test")
	t.Setenv("KUBECONFIG", "")
	var out, errs bytes.Buffer
	env := &environment{stdout: &out, stderr: &errs}
	f := scriptFlags{log: filepath.Join(dir, "log", "hooks", "x.log"), dir: dir, kubeconfig: program}
	if err := f.run(t.Context(), env, []string{program, "0"}); err != nil {
		t.Fatal(err)
	}
	f.kubeconfig = filepath.Join(dir, "gone")
	err := f.run(t.Context(), env, []string{"./hook", "3"})
	var code exitError
	if !errors.As(err, &code) || code != 3 || !strings.Contains(err.Error(), f.log) {
		t.Errorf("error is %v", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("in "+real+" with "+program+" none\nin "+real+" with none\n", out.String()); diff != "" {
		t.Error(diff)
	}
	log, err := os.ReadFile(f.log)
	if err != nil || strings.Count(string(log), "\nwrong\n") != 2 || strings.Count(string(log), "--- ") != 3 || !strings.Contains(string(log), "exit code 3") {
		t.Errorf("the log is\n%s%v", log, err)
	}
	if err := f.run(t.Context(), env, []string{"no-such-program"}); err == nil || !strings.Contains(err.Error(), "no such program") {
		t.Error(err)
	}
	for _, f := range []scriptFlags{{log: filepath.Join(dir, "hook", "below-a-file"), dir: dir}, {log: f.log, dir: filepath.Join(dir, "gone")}} {
		if err := f.run(t.Context(), env, []string{program, "0"}); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
}

func TestHooksOfTheUserAreRead(t *testing.T) {
	dir := t.TempDir()
	small, big := filepath.Join(dir, "small"), filepath.Join(dir, "big")
	for name, size := range map[string]int{small: maxNamed, big: maxNamed + 1} {
		if err := os.WriteFile(name, bytes.Repeat([]byte("#"), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scripts, err := readHooks([]clusterfile.Hook{{Phase: "preflight", File: small}}, naming(t).readNamed)
	if err != nil || len(scripts[small]) != maxNamed {
		t.Error(len(scripts[small]), err)
	}
	for file, want := range map[string]string{big: "larger than 1 MiB", filepath.Join(dir, "gone"): "hook of phase preflight: open "} {
		if _, err := readHooks([]clusterfile.Hook{{Phase: "preflight", File: file}}, naming(t).readNamed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestClusterThatIsRunAgainKeepsItsApps(t *testing.T) {
	k, _, _ := cluster(t)
	base, shop := k.cluster.Images[0], appImage(t, "shop:v7", "7")
	shop.Settings = map[string]string{"A": "1"}
	k.cluster.Images = []runtime.Image{base, shop, appImage(t, "mysql:8", "6")}
	if err := saveCluster(k.state, k.cluster); err != nil {
		t.Fatal(err)
	}
	k.cluster.Images = []runtime.Image{base, appImage(t, "shop:v7", "7")}
	if err := k.rememberApps(); err != nil {
		t.Fatal(err)
	}
	if k.cluster.Images[1].Settings["A"] != "1" || len(k.others) != 1 || k.others[0].Ref.Familiar() != "mysql:8" {
		t.Errorf("%+v", k.others)
	}
	h := k.hosts["10.0.0.1"].(*hosttest.Host)
	h.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("apiVersion: v1\nclusters: [{name: c, cluster: {server: 'https://x:6443'}}]\n"))
	if err := k.carryOut(t.Context(), runtime.Plan{}); err != nil {
		t.Fatal(err)
	}
	made, err := loadImages(k.state)
	if err != nil || len(made) != 3 {
		t.Errorf("%+v, %v", made, err)
	}
	k.cluster.Images = []runtime.Image{base, appImage(t, "shop:v8", "8")}
	if err := k.rememberApps(); err == nil || !strings.Contains(err.Error(), "upgrade it with `sealrt run shop:v8 --cluster test`") {
		t.Errorf("another version: %v", err)
	}
}
