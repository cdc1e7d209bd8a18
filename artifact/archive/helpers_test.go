package archive

import (
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	artifacttest.Check(t, err)
	t.Cleanup(func() { artifacttest.Check(t, s.Close()) })
	return s
}
