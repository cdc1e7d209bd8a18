//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/util/bklog"
)

// interop has the tools of others, and images of ours for them.
type interop struct {
	*bench
	tools   map[string]string // the program by name
	digests map[string]string // of our images
	trees   map[string]map[string]string
}

// The images that are made: one a compression, and an index.
var ours = []string{"zstd", "gzip", "index"}

// TestInteroperability has the tools of others read what sealrt pushed and saved, and sealrt read what they did.
// docs/interop.md is the table of it.
func TestInteroperability(t *testing.T) {
	w := newInterop(t)
	for name, registry := range map[string]string{"docker-registry": w.registry, "distribution": serveDistribution(t)} {
		t.Run(name, func(t *testing.T) {
			w.pushOurs(t, registry)
			for tool, test := range map[string]func(*testing.T, *interop, string){
				"skopeo": skopeoReads, "crane": craneReads, "oras": orasReads, "buildah": buildahReads, "umoci": umociReads,
			} {
				t.Run("read by "+tool, func(t *testing.T) { test(t, w, registry) })
			}
			for tool, test := range map[string]func(*testing.T, *interop, string){
				"skopeo": skopeoWrites, "crane": craneWrites, "oras": orasWrites, "buildah": buildahWrites, "umoci": umociWrites,
			} {
				t.Run("written by "+tool, func(t *testing.T) { test(t, w, registry) })
			}
			t.Run("what oras attached", func(t *testing.T) { attachments(t, w, registry, registry) })
		})
	}
	t.Run("what oras attached, over the referrers API", func(t *testing.T) {
		modern := serveReferrers(t)
		w.pushOurs(t, modern)
		attachments(t, w, modern, w.registry)
		attachments(t, w, w.registry, modern)
	})
	t.Run("archives", func(t *testing.T) { archives(t, w) })
}

func newInterop(t *testing.T) *interop {
	t.Helper()
	w := &interop{bench: newBench(t), tools: map[string]string{"skopeo": "skopeo", "buildah": "buildah", "tar": "tar"}, digests: map[string]string{}, trees: map[string]map[string]string{}}
	for _, tool := range []string{"crane", "oras", "umoci"} {
		cmd := exec.Command("./program.sh", tool)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("program.sh: %v", err)
		}
		w.tools[tool] = filepath.Join(strings.TrimSpace(string(out)), tool)
	}
	if err := os.MkdirAll(w.path("home"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path("home/auth.json"), []byte("{}"), 0o600); err != nil { // buildah wants one
		t.Fatal(err)
	}
	context := w.path("context")
	for name, content := range map[string]string{"bin/tool": "#!/bin/sh\n", "etc/conf/größe": "ü", "etc/empty": "", "bin/large": strings.Repeat("large ", 1<<18)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(context, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(context, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]fs.FileMode{"bin/tool": fs.ModeSetuid | 0o755, "etc/empty": 0o600, "etc/conf": fs.ModeSticky | 0o777} {
		if err := os.Chmod(filepath.Join(context, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../bin/tool", filepath.Join(context, "etc/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(context, "Kubefile"), []byte("FROM scratch\nCOPY bin bin\nCOPY etc etc\nCOPY --chown=7:8 etc/empty opt/owned\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range ours {
		args := []string{"build", "-q", "-t", name + ":1", "--compression", "zstd", context}
		switch name {
		case "gzip":
			args[5] = "gzip"
		case "index":
			args = append(args, "--platform", "linux/amd64,linux/arm64")
		}
		w.digests[name] = strings.TrimSpace(w.sealrt(t, "store", args...))
		tree := w.path("tree-" + name)
		w.sealrt(t, "store", "unpack", name+":1", tree)
		w.trees[name] = described(t, tree)
	}
	w.run(t, "tar", "-C", w.path("tree-gzip"), "-cf", w.path("tree.tar"), "--numeric-owner", "bin", "etc", "opt")
	return w
}

// serveDistribution starts a registry of the distribution project, version 3, in this process.
func serveDistribution(t *testing.T) string {
	t.Helper()
	bklog.L.Logger.SetOutput(io.Discard) // the registry's, too
	config, err := configuration.Parse(strings.NewReader("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {inmemory: {}, delete: {enabled: true}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handlers.NewApp(context.WithoutCancel(t.Context()), config))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func (w *interop) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// run runs a tool with nothing of the user's, and returns its stdout.
func (w *interop) run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	cmd := exec.Command(w.tools[tool], args...)
	cmd.Env = append(os.Environ(), "HOME="+w.path("home"), "DOCKER_CONFIG="+w.path("home"), "REGISTRY_AUTH_FILE="+w.path("home/auth.json"), "XDG_RUNTIME_DIR="+w.path("home"))
	var story strings.Builder
	cmd.Stderr = &story
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, &story)
	}
	return strings.TrimSpace(string(out))
}

func (w *interop) pushOurs(t *testing.T, registry string) {
	t.Helper()
	for _, name := range ours {
		if got := strings.TrimSpace(w.sealrt(t, "store", "push", name+":1", registry+"/ours/"+name+":1")); got != w.digests[name] {
			t.Errorf("push says %s of %s, which is %s", got, name, w.digests[name])
		}
	}
}

// want compares a digest with that of an image of ours.
func (w *interop) want(t *testing.T, name, got string) {
	t.Helper()
	if got != w.digests[name] {
		t.Errorf("%s: digest %q, want %s", name, got, w.digests[name])
	}
}

// wantTree compares a directory with what sealrt unpacks.
func (w *interop) wantTree(t *testing.T, name, dir string) {
	t.Helper()
	if diff := cmp.Diff(w.trees[name], described(t, dir)); diff != "" {
		t.Errorf("%s: tree (-ours +theirs):\n%s", name, diff)
	}
}

// pulls has sealrt pull what somebody pushed, into a store of its own, and wants the tree of an image of ours.
func (w *interop) pulls(t *testing.T, ref, name string) {
	t.Helper()
	store := w.fresh(t, "store")
	digest := strings.TrimSpace(w.sealrt(t, store, "pull", ref))
	w.sealrt(t, store, "inspect", ref)
	w.sealrt(t, store, "unpack", ref, filepath.Join(w.dir, store, "tree"))
	w.wantTree(t, name, filepath.Join(w.dir, store, "tree"))
	if at := strings.TrimSpace(w.sealrt(t, store, "pull", ref+"@"+digest)); at != digest {
		t.Errorf("%s by digest: %s, want %s", ref, at, digest)
	}
}

// loads has sealrt load an archive and wants the tree of an image of ours.
func (w *interop) loads(t *testing.T, archive, name string) {
	t.Helper()
	store := w.fresh(t, "store")
	ref := strings.TrimSpace(w.sealrt(t, store, "load", archive))
	w.sealrt(t, store, "unpack", ref, filepath.Join(w.dir, store, "tree"))
	w.wantTree(t, name, filepath.Join(w.dir, store, "tree"))
}

// fresh returns a name in the bench's directory that nothing has.
func (w *interop) fresh(t *testing.T, prefix string) string {
	t.Helper()
	dir, err := os.MkdirTemp(w.dir, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(dir)
}

// described says of every file of a tree what it is, whose and what is in it.
func described(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			what += fmt.Sprintf(" %d:%d", stat.Uid, stat.Gid)
		}
		name, _ := filepath.Rel(dir, path)
		switch info.Mode().Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %d %.20q", len(content), content)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " -> " + target
		}
		tree[name] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// layoutDigest returns the digest that a layout has for a name, or its only one.
func layoutDigest(t *testing.T, dir, tag string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	for _, d := range index.Manifests {
		if len(index.Manifests) == 1 || d.Annotations["org.opencontainers.image.ref.name"] == tag {
			return d.Digest.String()
		}
	}
	t.Fatalf("%s has no %s: %s", dir, tag, raw)
	return ""
}

func skopeoReads(t *testing.T, w *interop, registry string) {
	for _, name := range ours {
		ref := "docker://" + registry + "/ours/" + name
		raw := w.run(t, "skopeo", "inspect", "--tls-verify=false", "--raw", ref+":1")
		if !strings.Contains(raw, `"schemaVersion":2`) {
			t.Errorf("%s: %s", name, raw)
		}
		dir := w.path(w.fresh(t, "skopeo"))
		w.run(t, "skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", ref+"@"+w.digests[name], "oci:"+dir+":1")
		w.want(t, name, layoutDigest(t, dir, "1"))
	}
}

func craneReads(t *testing.T, w *interop, registry string) {
	for _, name := range ours {
		ref := registry + "/ours/" + name
		w.want(t, name, w.run(t, "crane", "digest", "--insecure", ref+":1"))
		validate := []string{"validate", "--insecure", "--remote", ref + "@" + w.digests[name]}
		if name != "gzip" { // it takes every layer for gzip
			validate = append(validate, "--fast")
		}
		w.run(t, "crane", validate...)
		tarball, tree := w.path(w.fresh(t, "crane"), "tree.tar"), w.path(w.fresh(t, "crane"))
		w.run(t, "crane", "export", "--insecure", "--platform", "linux/amd64", ref+":1", tarball)
		w.run(t, "tar", "-xpf", tarball, "-C", tree)
		w.wantTree(t, name, tree)
		dir := w.path(w.fresh(t, "crane"))
		w.run(t, "crane", "pull", "--insecure", "--format", "oci", ref+":1", dir)
		w.want(t, name, layoutDigest(t, dir, ""))
	}
}

func orasReads(t *testing.T, w *interop, registry string) {
	for _, name := range ours {
		ref := registry + "/ours/" + name
		w.want(t, name, w.run(t, "oras", "resolve", "--plain-http", ref+":1"))
		dir := w.path(w.fresh(t, "oras"))
		w.run(t, "oras", "copy", "--from-plain-http", ref+"@"+w.digests[name], "--to-oci-layout", dir+":1")
		w.want(t, name, layoutDigest(t, dir, "1"))
	}
}

// buildah runs buildah with a storage of its own, which ends with the test.
func (w *interop) buildah(t *testing.T) func(args ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sealrt-buildah-")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		return w.run(t, "buildah", append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args...)...)
	}
	t.Cleanup(func() {
		run("rm", "--all")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return run
}

func buildahReads(t *testing.T, w *interop, registry string) {
	buildah := w.buildah(t)
	for _, name := range ours {
		container := buildah("from", "-q", "--tls-verify=false", "docker://"+registry+"/ours/"+name+":1")
		w.wantTree(t, name, buildah("mount", container))
		buildah("umount", container)
	}
}

func umociReads(t *testing.T, w *interop, registry string) {
	for _, name := range ours[:2] { // umoci has no platforms
		dir, bundle := w.path(w.fresh(t, "umoci")), w.path(w.fresh(t, "umoci"), "bundle")
		w.run(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+registry+"/ours/"+name+":1", "oci:"+dir+":1")
		w.want(t, name, layoutDigest(t, dir, "1"))
		w.run(t, "umoci", "unpack", "--image", dir+":1", bundle)
		w.wantTree(t, name, filepath.Join(bundle, "rootfs"))
	}
}

func skopeoWrites(t *testing.T, w *interop, registry string) {
	for _, name := range ours {
		from, to := "docker://"+registry+"/ours/"+name+":1", registry+"/skopeo/"+name+":1"
		w.run(t, "skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", from, "docker://"+to)
		w.pulls(t, to, name)
	}
	docker := registry + "/skopeo/docker:1" // in docker's format
	w.run(t, "skopeo", "--insecure-policy", "copy", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+registry+"/ours/gzip:1", "docker://"+docker)
	w.pulls(t, docker, "gzip")
}

func craneWrites(t *testing.T, w *interop, registry string) {
	for _, name := range ours {
		to := registry + "/crane/" + name + ":1"
		w.run(t, "crane", "copy", "--insecure", registry+"/ours/"+name+":1", to)
		w.pulls(t, to, name)
	}
	w.run(t, "crane", "append", "--insecure", "--oci-empty-base", "--platform", "linux/amd64", "-f", w.path("tree.tar"), "-t", registry+"/crane/appended:1")
	w.pulls(t, registry+"/crane/appended:1", "gzip")
	w.run(t, "crane", "index", "append", "--insecure", "-m", registry+"/ours/zstd:1", "-t", registry+"/crane/index:1")
	w.pulls(t, registry+"/crane/index:1", "zstd")
}

func orasWrites(t *testing.T, w *interop, registry string) {
	for _, name := range ours {
		dir, to := w.path(w.fresh(t, "oras")), registry+"/oras/"+name+":1"
		w.run(t, "oras", "copy", "--from-plain-http", registry+"/ours/"+name+":1", "--to-oci-layout", dir+":1")
		w.run(t, "oras", "copy", "--from-oci-layout", dir+":1", "--to-plain-http", to)
		w.pulls(t, to, name)
	}
}

func buildahWrites(t *testing.T, w *interop, registry string) {
	buildah := w.buildah(t)
	container := buildah("from", "scratch")
	buildah("add", container, w.path("tree.tar"), "/")
	buildah("commit", "-q", "--format", "oci", container, "made:oci")
	buildah("commit", "-q", "--format", "docker", container, "made:docker")
	for _, format := range []string{"oci", "docker"} {
		to := registry + "/buildah/" + format + ":1"
		buildah("push", "-q", "--tls-verify=false", "made:"+format, "docker://"+to)
		w.pulls(t, to, "gzip")
	}
	archive := w.path(w.fresh(t, "buildah"), "made.tar")
	buildah("push", "-q", "made:oci", "oci-archive:"+archive+":made:1")
	w.loads(t, archive, "gzip")
}

func umociWrites(t *testing.T, w *interop, registry string) {
	for _, compression := range []string{"gzip", "zstd"} {
		dir := w.path(w.fresh(t, "umoci"), "layout")
		w.run(t, "umoci", "init", "--layout", dir)
		w.run(t, "umoci", "new", "--image", dir+":1")
		for _, sub := range []string{"bin", "etc", "opt"} {
			w.run(t, "umoci", "insert", "--compress", compression, "--image", dir+":1", w.path("tree-gzip", sub), "/"+sub)
		}
		archive := dir + ".tar"
		w.run(t, "tar", "-C", dir, "-cf", archive, ".")
		w.loads(t, archive, "gzip")
		to := registry + "/umoci/" + compression + ":1"
		w.run(t, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+dir+":1", "docker://"+to)
		w.pulls(t, to, "gzip")
	}
}

// attachments has oras attach something to an image of ours in one registry, sealrt carry both to another by way of its
// store, and oras find it there.
func attachments(t *testing.T, w *interop, from, to string) {
	note := w.path("note.txt")
	if err := os.WriteFile(note, []byte("seen by "+t.Name()), 0o644); err != nil {
		t.Fatal(err)
	}
	repo := strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(t.Name()))
	src := from + "/" + repo + "/from:1"
	dst := to + "/" + repo + "/to:1"
	w.sealrt(t, "store", "push", "zstd:1", src)
	w.run(t, "oras", "attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/vnd.example.note", src, note+":text/plain")
	store := w.fresh(t, "store")
	w.sealrt(t, store, "pull", src)
	w.sealrt(t, store, "push", src, dst)
	found := w.discovers(t, dst)
	if diff := cmp.Diff(w.discovers(t, src), found); diff != "" || len(found) != 1 {
		t.Fatalf("oras finds %v at %s:\n%s", found, dst, diff)
	}
	ref := strings.TrimSuffix(dst, ":1") + "@" + found[0]
	if m := w.run(t, "oras", "manifest", "fetch", "--plain-http", ref); !strings.Contains(m, "application/vnd.example.note") || !strings.Contains(m, w.digests["zstd"]) {
		t.Errorf("what is attached is %s", m)
	}
	dir := w.path(w.fresh(t, "oras"))
	w.run(t, "oras", "pull", "--plain-http", "--allow-path-traversal", "-o", dir, ref)
}

// discovers lists the digests of what oras finds attached to an image.
func (w *interop) discovers(t *testing.T, ref string) []string {
	t.Helper()
	type referrer struct{ Digest string }
	var found struct{ Referrers, Manifests []referrer }
	if err := json.Unmarshal([]byte(w.run(t, "oras", "discover", "--plain-http", "--format", "json", ref)), &found); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, r := range append(found.Referrers, found.Manifests...) {
		digests = append(digests, r.Digest)
	}
	return digests
}

// archives has others read what save wrote.
func archives(t *testing.T, w *interop) {
	archive := w.path("ours.tar")
	w.sealrt(t, "store", "save", "-o", archive, "zstd:1", "gzip:1", "index:1")
	layout := w.path(w.fresh(t, "layout"))
	w.run(t, "tar", "-xf", archive, "-C", layout)
	buildah := w.buildah(t)
	for _, name := range ours {
		ref := "docker.io/library/" + name + ":1"
		w.want(t, name, layoutDigest(t, layout, ref))
		dir := w.path(w.fresh(t, "skopeo"))
		w.run(t, "skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "oci-archive:"+archive+":"+ref, "oci:"+dir+":1")
		w.want(t, name, layoutDigest(t, dir, "1"))
		w.want(t, name, w.run(t, "oras", "resolve", "--oci-layout", layout+"@"+w.digests[name]))
		container := buildah("from", "-q", "oci-archive:"+archive+":"+ref)
		w.wantTree(t, name, buildah("mount", container))
		buildah("umount", container)
		if name == "index" {
			continue
		}
		bundle := w.path(w.fresh(t, "umoci"), "bundle")
		w.run(t, "umoci", "unpack", "--image", dir+":1", bundle)
		w.wantTree(t, name, filepath.Join(bundle, "rootfs"))
		to := w.registry + "/saved/" + name + ":1"
		w.run(t, "crane", "push", "--insecure", dir, to)
		w.want(t, name, w.run(t, "crane", "digest", "--insecure", to))
	}
}
