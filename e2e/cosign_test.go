//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/registry"
)

// signing is a bench with cosign and its keys.
type signing struct {
	*bench
	cosign    string
	cosign2   string // of version 2, for those who set it
	keys      string // a folder
	predicate string // a file, for those who set it
}

// passphrase opens all keys.
const passphrase = "an e2e passphrase"

// TestSignaturesOfCosign has cosign sign images, and wants sealrt to accept them, and cosign to accept what sealrt
// carried to another registry.
func TestSignaturesOfCosign(t *testing.T) {
	s := newSigning(t)
	modern := serveReferrers(t)
	for _, tt := range []struct {
		name, from, to string
		sign           []string
	}{
		{"a bundle that refers to the image", modern, modern, nil},
		{"a bundle in a list of referrers under a tag", s.registry, modern, nil},
		{"a payload under a tag", s.registry, s.registry, []string{"--new-bundle-format=false"}},
		{"a payload beside the referrers API", modern, s.registry, []string{"--new-bundle-format=false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := tt.from + "/" + strings.ReplaceAll(t.Name(), " ", "-")
			repo = strings.ToLower(strings.ReplaceAll(repo, "Test", ""))
			index, manifest := pushIndex(t, repo+":1")
			s.sign(t, "mine", repo+"@"+index, tt.sign...)
			s.requires(t, repo)
			s.sign(t, "mine", repo+"@"+index, append(tt.sign, "--recursive")...)
			tree := s.requires(t, repo)
			to := strings.Replace(repo, tt.from, tt.to, 1) + "/copy"
			s.carry(t, tree, repo, to)
			s.must(t, append(s.verify("mine", tt.sign), to+"@"+manifest)...)
			if _, err := s.try(t, append(s.verify("theirs", tt.sign), to+"@"+manifest)...); err == nil {
				t.Error("cosign accepts a key that did not sign: this test proves nothing")
			}
		})
	}
}

func newSigning(t *testing.T) *signing {
	t.Helper()
	t.Setenv("COSIGN_PASSWORD", passphrase)
	s := &signing{bench: newBench(t), cosign: builtProgram(t, "cosign"), keys: t.TempDir()}
	for _, key := range []string{"mine", "theirs"} {
		s.must(t, "generate-key-pair", "--output-key-prefix", filepath.Join(s.keys, key))
	}
	return s
}

// builtProgram returns the path of a program that program.sh builds.
func builtProgram(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("./program.sh", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("program.sh: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), name)
}

// serveReferrers starts a registry that has the referrers API.
func serveReferrers(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// must runs cosign, which must succeed.
func (s *signing) must(t *testing.T, args ...string) {
	t.Helper()
	if out, err := s.try(t, args...); err != nil {
		t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// try runs cosign with nothing of the user's.
func (s *signing) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return s.run(s.cosign, args...)
}

func (s *signing) run(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "HOME="+s.keys, "DOCKER_CONFIG="+s.keys)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sign signs without asking anybody on the network but the registry.
func (s *signing) sign(t *testing.T, key, image string, more ...string) {
	t.Helper()
	args := []string{"sign", "--yes", "--key", filepath.Join(s.keys, key+".key"), "--tlog-upload=false", "--use-signing-config=false"}
	s.must(t, append(append(args, more...), image)...)
}

// verify is the start of the command that checks what sign with such arguments made.
func (s *signing) verify(key string, sign []string) []string {
	args := []string{"verify", "--key", filepath.Join(s.keys, key+".pub"), "--insecure-ignore-tlog=true"}
	return append(args, sign...)
}

// requires builds a cluster image of repo:1 and returns its tree. The key that signed is enough; another is not.
func (s *signing) requires(t *testing.T, repo string) string {
	t.Helper()
	context := t.TempDir()
	writeFile(t, filepath.Join(context, "Kubefile"), "FROM scratch\nCOPY imageList manifests/\n")
	writeFile(t, filepath.Join(context, "imageList"), repo+":1\n")
	build := func(key string) (string, error) {
		return s.bench.try("store", "build", "-q", "-t", "signed:1", "--platform", "linux/amd64", "--require-signed", filepath.Join(s.keys, key), context)
	}
	if _, err := build("theirs.pub"); err == nil || !strings.Contains(err.Error(), "none by "+s.keys) {
		t.Errorf("a key that did not sign: %v", err)
	}
	if _, err := build("mine.pub"); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(t.TempDir(), "tree")
	s.sealrt(t, "store", "unpack", "signed:1", tree)
	return filepath.Join(tree, "images")
}

// carry copies what images/ has of a repository to another.
func (s *signing) carry(t *testing.T, images, repo, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(images, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	client := registry.New(registry.Options{})
	signatures := 0
	for _, d := range index.Manifests {
		entry := d.Annotations[artifact.AnnotationContainerdName]
		if entry == "" {
			signatures++
			entry = d.Annotations[artifact.AnnotationImageName]
		}
		ref, err := artifact.ParseReference(strings.Replace(entry, repo, to, 1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Copy(t.Context(), client, ref, imagesDir{images, d}, ref, artifact.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if signatures < 2 {
		t.Errorf("%d signatures are carried, those of the index and of the manifest wanted: %s", signatures, text)
	}
}

// imagesDir is one entry of an images/ directory as a source.
type imagesDir struct {
	dir  string
	desc v1.Descriptor
}

func (i imagesDir) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return i.desc, nil
}

func (i imagesDir) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(i.dir, "blobs", d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, err
	}
	_, err = f.Seek(offset, io.SeekStart)
	return f, err
}

// pushIndex pushes an index for two platforms and returns its digest and that of the manifest for linux/amd64.
func pushIndex(t *testing.T, to string) (index, manifest string) {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := random.Image(1000, 1)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.OS, cfg.Architecture = "linux", arch
		if img, err = mutate.ConfigFile(img, cfg); err != nil {
			t.Fatal(err)
		}
		h, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if arch == "amd64" {
			manifest = h.String()
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.ParseReference(to)
	if err == nil {
		err = remote.WriteIndex(ref, idx)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("push %s: %w", to, err))
	}
	h, err := idx.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String(), manifest
}
