package store

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/registry"
)

func TestRoomIsAskedForBeforeTheFirstByte(t *testing.T) {
	src := newStore(t)
	ref := artifacttest.Vast(t, src)

	dst := newStore(t)
	_, err := artifact.Copy(t.Context(), dst, ref, src, ref, artifact.CopyOptions{Jobs: 1})
	artifacttest.WantError(t, err, "vast:v1", "1.0 EiB needed", "sealrt rmi", "--root")
	if inv, _ := dst.Inventory(t.Context()); len(inv) != 0 {
		t.Errorf("the store got %v", inv)
	}
}

// rot changes the last byte of a blob.
func rot(t *testing.T, s *Store, h v1.Hash) {
	t.Helper()
	b, err := os.ReadFile(s.BlobPath(h))
	artifacttest.Check(t, err)
	b[len(b)-1] ^= 1
	artifacttest.Check(t, os.WriteFile(s.BlobPath(h), b, 0o644))
}

func TestDamageInAStoreNamesTheFileAndTheWayOut(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	damaged := m.Layers[1].Digest
	// in the middle of a compressed stream, where a decoder meets it first
	b, err := os.ReadFile(s.BlobPath(damaged))
	artifacttest.Check(t, err)
	b[len(b)/2] ^= 1
	artifacttest.Check(t, os.WriteFile(s.BlobPath(damaged), b, 0o644))
	advice := "remove " + s.BlobPath(damaged) + ", then pull or load"

	f := artifacttest.NewFakeRegistry(t)
	_, err = artifact.Copy(t.Context(), registry.New(registry.Options{}), f.Ref(t, "k3s:v1"), s, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, advice)
	artifacttest.WantError(t, artifact.Unpack(t.Context(), s, ref, m, filepath.Join(t.TempDir(), "tree"), artifact.UnpackOptions{}), "layer 2 of 2", advice)

	// The advice works.
	fresh := newStore(t)
	from, _ := artifacttest.Tagged(t, fresh)
	artifacttest.Check(t, os.Remove(s.BlobPath(damaged)))
	artifacttest.CopyImage(t, s, ref, fresh, from)
	artifacttest.RequireWholeStore(t, s, ref)

	// So it does for a manifest, without which a sweep cannot tell what is garbage.
	rot(t, s, d.Digest)
	_, err = s.Sweep(t.Context())
	artifacttest.WantError(t, err, "remove "+s.BlobPath(d.Digest))
	artifacttest.Check(t, os.Remove(s.BlobPath(d.Digest)))
	artifacttest.CopyImage(t, s, ref, fresh, from)
	artifacttest.RequireWholeStore(t, s, ref)
}
