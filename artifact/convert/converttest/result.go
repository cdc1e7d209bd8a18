package converttest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/find"
	"github.com/sealrt/sealrt/artifact/airgap/proof"
	"github.com/sealrt/sealrt/artifact/store"
)

// One names the image d, and returns its manifest and configuration for a platform.
func One(t testing.TB, s *store.Store, name string, d v1.Descriptor, p v1.Platform) (artifact.Reference, *v1.Manifest, *v1.ConfigFile) {
	t.Helper()
	ref := airgaptest.Reference(t, name)
	must(t, s.Tag(t.Context(), ref, d))
	_, m, cfg, err := artifact.Manifest(t.Context(), s, ref, &p)
	must(t, err)
	return ref, m, cfg
}

// Prove fails unless an image has all that its tree asks for, and returns the names of its container images.
func Prove(t testing.TB, s *store.Store, ref artifact.Reference, m *v1.Manifest, cfg *v1.ConfigFile) []string {
	t.Helper()
	res, err := proof.Of(t.Context(), s, ref, m, cfg, proof.Options{Needs: func(ctx context.Context, tree fs.FS) ([]airgap.Image, error) {
		return find.Images(ctx, tree, find.Options{})
	}})
	must(t, err)
	for _, d := range res.Defects {
		t.Error(d)
	}
	var names []string
	for _, r := range res.References {
		names = append(names, r.Name)
	}
	return names
}

// Tree returns the names in the tree of an image and what the files hold. The names of directories end with a slash.
func Tree(t testing.TB, s *store.Store, ref artifact.Reference, m *v1.Manifest) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	must(t, artifact.Unpack(t.Context(), s, ref, m, dir, artifact.UnpackOptions{}))
	tree := map[string]string{}
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			tree[name+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		tree[name] = string(b)
		return err
	}))
	return tree
}
