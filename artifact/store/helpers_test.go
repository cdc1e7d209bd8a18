package store

import (
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	artifacttest.Check(t, err)
	t.Cleanup(func() { artifacttest.Check(t, s.Close()) })
	return s
}

func newStore(t testing.TB) *Store { return openStore(t, filepath.Join(t.TempDir(), "store")) }
