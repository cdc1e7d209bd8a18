package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// breaking opens content so that it breaks off after n bytes, and remembers from where it was opened.
type breaking struct {
	content []byte
	n       int
	opened  []int64
}

func (b *breaking) open(offset int64) (io.ReadCloser, error) {
	b.opened = append(b.opened, offset)
	rest := b.content[offset:]
	if b.n >= len(rest) {
		return io.NopCloser(bytes.NewReader(rest)), nil
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(rest[:b.n]), artifacttest.Failing{Err: artifacttest.ErrBroken})), nil
}

func bigBlob() ([]byte, v1.Descriptor) {
	content := artifacttest.Noise(9, 6<<20)
	return content, v1.Descriptor{MediaType: types.OCILayer, Digest: artifacttest.DigestOf(content), Size: int64(len(content))}
}

func TestPutGoesOnWhereADeadProcessStopped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	content, d := bigBlob()
	ref := artifacttest.MustRef(t, "k3s:v1")
	tests := []struct {
		name   string
		damage func(t *testing.T, file string)
		opened int64 // where the second attempt begins
		notes  int
	}{
		{"whole", func(*testing.T, string) {}, 5 << 20, 0},
		{"shorter than it was", func(t *testing.T, file string) { artifacttest.Check(t, os.Truncate(file, 3<<20)) }, 3 << 20, 0},
		{"zeros of a power cut", func(t *testing.T, file string) {
			artifacttest.Check(t, os.WriteFile(file, make([]byte, 5<<20), 0o600))
		}, 0, 1},
		{"longer than the blob", func(t *testing.T, file string) {
			artifacttest.Check(t, os.WriteFile(file, append(bytes.Clone(content), "more"...), 0o600))
		}, -1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, filepath.Join(dir, tt.name))
			src := &breaking{content: content, n: 5 << 20}
			if err := s.Put(t.Context(), ref, d, src.open); !errors.Is(err, artifacttest.ErrBroken) {
				t.Fatalf("got %v", err)
			}
			artifacttest.Check(t, s.Close())
			s = openStore(t, s.Root())
			left := artifacttest.Ingest(t, s)
			if len(left) != 1 {
				t.Fatalf("ingest has %v", left)
			}
			file := filepath.Join(s.Root(), "ingest", left[0])
			tt.damage(t, file)
			yesterday := time.Now().Add(-24 * time.Hour)
			artifacttest.Check(t, os.Chtimes(file, yesterday, yesterday))
			src = &breaking{content: content, n: len(content)}
			var notes []string
			artifacttest.Check(t, s.PutNoting(t.Context(), ref, d, src.open, func(text string) { notes = append(notes, text) }))
			if tt.opened >= 0 && src.opened[len(src.opened)-1] != tt.opened || tt.opened < 0 && len(src.opened) > 0 {
				t.Errorf("opened at %v, wanted is %d", src.opened, tt.opened)
			}
			if len(notes) != tt.notes {
				t.Errorf("notes %q", notes)
			}
			b, err := os.ReadFile(s.BlobPath(d.Digest))
			artifacttest.Check(t, err)
			if !bytes.Equal(b, content) {
				t.Error("the blob has other bytes")
			}
			for _, name := range artifacttest.Ingest(t, s) {
				if strings.HasPrefix(name, keptPrefix) {
					t.Errorf("%s is left", name)
				}
			}
			if fi, err := os.Stat(s.BlobPath(d.Digest)); err != nil || time.Since(fi.ModTime()) > time.Minute {
				t.Errorf("the blob looks old: %v", err) // a power cut would leave it unchecked
			}
		})
	}
}

func TestPutKeepsNothingOfWrongBytes(t *testing.T) {
	s := newStore(t)
	content, d := bigBlob()
	content[5<<20]++
	src := &breaking{content: content, n: len(content)}
	artifacttest.WantError(t, s.Put(t.Context(), artifacttest.MustRef(t, "k3s:v1"), d, src.open), "damaged")
	artifacttest.Check(t, s.Close())
	if left := artifacttest.Ingest(t, openStore(t, s.Root())); len(left) != 0 || len(src.opened) != 1 {
		t.Errorf("left %v, opened %v", left, src.opened)
	}
}

func TestOnlyOneWriterHasWhatIsKept(t *testing.T) {
	s := newStore(t)
	content, d := bigBlob()
	w, err := s.ResumeBlob(t.Context(), blobKey(d.Digest))
	artifacttest.Check(t, err)
	defer w.Close()
	_, err = w.Write(content[:5<<20])
	artifacttest.Check(t, err)
	src := &breaking{content: content, n: len(content)}
	artifacttest.Check(t, s.Put(t.Context(), artifacttest.MustRef(t, "k3s:v1"), d, src.open))
	if src.opened[0] != 0 {
		t.Errorf("the second writer went on at %d", src.opened[0])
	}
	_, err = w.Write(content[5<<20:])
	artifacttest.Check(t, err)
	artifacttest.Check(t, w.Commit(d.Digest, d.Size))
	if b, err := os.ReadFile(s.BlobPath(d.Digest)); err != nil || !bytes.Equal(b, content) {
		t.Errorf("the blob has other bytes: %v", err)
	}
}

func TestWhatIsKeptGoesWithTimeAndSweep(t *testing.T) {
	content, d := bigBlob()
	leave := func(t *testing.T, s *Store) string {
		t.Helper()
		src := &breaking{content: content, n: 5 << 20}
		if err := s.Put(t.Context(), artifacttest.MustRef(t, "k3s:v1"), d, src.open); !errors.Is(err, artifacttest.ErrBroken) {
			t.Fatal(err)
		}
		return filepath.Join(s.Root(), "ingest", keptPrefix+blobKey(d.Digest))
	}
	t.Run("time", func(t *testing.T) {
		s := newStore(t)
		file := leave(t, s)
		old := time.Now().Add(-partialAge - time.Hour)
		artifacttest.Check(t, os.Chtimes(file, old, old))
		artifacttest.Check(t, s.Close())
		if left := artifacttest.Ingest(t, openStore(t, s.Root())); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("sweep", func(t *testing.T) {
		s := newStore(t)
		leave(t, s)
		freed, err := s.Sweep(t.Context())
		artifacttest.Check(t, err)
		if left := artifacttest.Ingest(t, s); len(left) != 0 || freed != 5<<20 {
			t.Errorf("left %v, freed %d", left, freed)
		}
	})
}

func TestWhatIsLeftOfABlobGoesWhenTheBlobComesAnotherWay(t *testing.T) {
	root := t.TempDir()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("the blob")
	h, _, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	other := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	for _, left := range []v1.Hash{h, other} {
		if err := os.WriteFile(s.path("ingest/"+keptPrefix+blobKey(left)), []byte("the"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.PutBytes(t.Context(), "text/plain", content); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(root); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.KeptSize(blobKey(h)) != 0 || s.KeptSize(blobKey(other)) != 3 {
		t.Errorf("left: %d bytes of the blob that is there, %d of the one that is not", s.KeptSize(blobKey(h)), s.KeptSize(blobKey(other)))
	}
}
