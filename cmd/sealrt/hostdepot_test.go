package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/runtime/depot"
)

// onHost runs a command of sealrt host, as on a host whose depot is in root.
func onHost(t *testing.T, root string, construct func(*environment) *cobra.Command, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	env := &environment{stdin: strings.NewReader(stdin), stdout: &out, stderr: io.Discard, getenv: func(string) string { return "" }, root: root, progressMode: "plain"}
	cmd := construct(env)
	cmd.SetArgs(append([]string{}, args...)) // nil would be those of the test
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func mustOnHost(t *testing.T, root string, construct func(*environment) *cobra.Command, stdin string, args ...string) string {
	t.Helper()
	out, err := onHost(t, root, construct, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// clusterImage is a cluster image with two container images and an archive of
// the author's.
func clusterImage(t *testing.T) *depot.Set {
	t.Helper()
	c, _, _, _ := airgaptest.TwoImages(t)
	tarball := airgaptest.PutLayer(t, c.Store, true, airgaptest.File{Name: "images/own.tar", Content: string(airgaptest.Tar(t, airgaptest.File{Name: "x"}))})
	config := artifacttest.AddJSON(t, c.Store, types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	d := artifacttest.AddJSON(t, c.Store, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config,
		Layers: append(c.Manifest.Layers, tarball)})
	set, err := depot.SetOf(t.Context(), c.Store, artifact.Reference{}.WithDigest(d.Digest))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// receive puts the blobs of a set into the depot, as they come from other hosts.
func receive(t *testing.T, root string, set *depot.Set) {
	t.Helper()
	d, err := depot.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range set.Blobs() {
		r, err := set.Open(t.Context(), b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(t.Context(), b, 0, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// listOf is the blobs of a set as missing is asked for them.
func listOf(t *testing.T, set *depot.Set) string {
	t.Helper()
	var out bytes.Buffer
	for _, b := range set.Blobs() {
		if err := json.NewEncoder(&out).Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestCommandsOnAHostKeepAnImage(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	set := clusterImage(t)
	digest := set.Manifest.Digest.String()
	if all := mustOnHost(t, root, newHostMissing, listOf(t, set)); strings.Count(all, "\n") != len(set.Blobs()) {
		t.Errorf("missing before: %s", all)
	}
	receive(t, root, set)
	if left := mustOnHost(t, root, newHostMissing, listOf(t, set)); left != "" {
		t.Errorf("missing after all was sent: %s", left)
	}
	if out := mustOnHost(t, root, newHostAdopt, "", "--check", digest); out != "" {
		t.Errorf("adopted too early: %q", out)
	}
	dir := strings.TrimSpace(mustOnHost(t, root, newHostAdopt, jsonOf(t, set.Listing)))
	if _, err := os.Stat(filepath.Join(dir, "images", "index.json")); err != nil {
		t.Error(err)
	}
	if out := mustOnHost(t, root, newHostAdopt, "", "--check", digest); out != digest+"\n" {
		t.Errorf("--check says %q", out)
	}
	for i, want := range []string{"superfluous\n", ""} {
		if out := mustOnHost(t, root, newHostDrop, "", "--check", digest); out != want {
			t.Errorf("drop --check, %d: %q", i, out)
		}
		mustOnHost(t, root, newHostDrop, "", digest)
	}
}

func TestFeedHandsOverTheImagesAndTheTarballs(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	set := clusterImage(t)
	digest := set.Manifest.Digest.String()
	receive(t, root, set)
	mustOnHost(t, root, newHostAdopt, jsonOf(t, set.Listing))
	if out := mustOnHost(t, root, newHostFeed, "", digest, "--", "wc", "-c"); len(strings.Fields(out)) != 2 {
		t.Errorf("the command ran with %q", out)
	}
	file := filepath.Join(t.TempDir(), "agent", "images", "all.tar")
	mustOnHost(t, root, newHostFeed, "", digest, "--file", file)
	for _, f := range []string{file, filepath.Join(filepath.Dir(file), "all-own.tar")} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	if _, err := onHost(t, root, newHostFeed, "", digest, "--", "false"); err == nil || !strings.Contains(err.Error(), "exit code 1") {
		t.Errorf("a command that fails: %v", err)
	}
	if _, err := onHost(t, root, newHostFeed, "", artifacttest.DigestOf(nil).String(), "--", "cat"); err == nil {
		t.Error("an image that is not here was fed")
	}

	mustOnHost(t, root, newHostDrop, "", "--handed", digest)
	mustOnHost(t, root, newHostFeed, "", digest, "--file", file) // it is there still
	for _, to := range [][]string{{"--file", file + "2"}, {"--", "cat"}} {
		if _, err := onHost(t, root, newHostFeed, "", append([]string{digest}, to...)...); !errors.Is(err, depot.ErrHanded) {
			t.Errorf("images that were dropped, to %q: %v", to, err)
		}
	}
}
