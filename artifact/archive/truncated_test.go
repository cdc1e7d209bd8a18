package archive

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// TestTruncatedBlobsComeAgain plays a crash of the machine that cost blobs their ends, or a disk that did.
func TestTruncatedBlobsComeAgain(t *testing.T) {
	from := newStore(t)
	ref, d := artifacttest.Tagged(t, from)
	file := filepath.Join(t.TempDir(), "k3s.tar")
	artifacttest.Check(t, Save(t.Context(), file, from, []artifact.Reference{ref}, Options{}))
	for name, again := range map[string]func(t *testing.T, s *store.Store) error{
		"pull": func(t *testing.T, s *store.Store) error {
			_, err := artifact.Copy(t.Context(), s, ref, from, ref, artifact.CopyOptions{})
			return err
		},
		"load": func(t *testing.T, s *store.Store) error {
			f, err := os.Open(file)
			artifacttest.Check(t, err)
			defer f.Close()
			_, err = Load(t.Context(), s, f, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			_, err := artifact.Copy(t.Context(), s, ref, from, ref, artifact.CopyOptions{})
			artifacttest.Check(t, err)
			inv, err := s.Inventory(t.Context())
			artifacttest.Check(t, err)
			for _, h := range inv {
				artifacttest.Check(t, os.Truncate(s.BlobPath(h), 1))
			}
			artifacttest.Check(t, again(t, s))
			v, err := s.Verify(t.Context(), store.VerifyOptions{})
			artifacttest.Check(t, err)
			if got, err := s.Resolve(t.Context(), ref); err != nil || got.Digest != d.Digest || len(v.Problems) > 0 {
				t.Errorf("%s is %v, %v; %v", ref, got, err, v.Problems)
			}
		})
	}
}
