package artifact

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
)

// breaking opens content so that it breaks off after n bytes, and remembers from where it was opened.
type breaking struct {
	content []byte
	n       int
	opened  []int64
}

var errBroken = errors.New("the line broke")

func (b *breaking) open(offset int64) (io.ReadCloser, error) {
	b.opened = append(b.opened, offset)
	rest := b.content[offset:]
	if b.n >= len(rest) {
		return io.NopCloser(bytes.NewReader(rest)), nil
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(rest[:b.n]), failing{errBroken})), nil
}

func bigBlob() ([]byte, v1.Descriptor) {
	content := noise(9, 6<<20)
	return content, v1.Descriptor{MediaType: types.OCILayer, Digest: digestOf(content), Size: int64(len(content))}
}

func TestPutGoesOnWhereADeadProcessStopped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	content, d := bigBlob()
	ref := mustRef(t, "k3s:v1")
	tests := []struct {
		name   string
		damage func(t *testing.T, file string)
		opened int64 // where the second attempt begins
		notes  int
	}{
		{"whole", func(*testing.T, string) {}, 5 << 20, 0},
		{"shorter than it was", func(t *testing.T, file string) { check(t, os.Truncate(file, 3<<20)) }, 3 << 20, 0},
		{"zeros of a power cut", func(t *testing.T, file string) {
			check(t, os.WriteFile(file, make([]byte, 5<<20), 0o600))
		}, 0, 1},
		{"longer than the blob", func(t *testing.T, file string) {
			check(t, os.WriteFile(file, append(bytes.Clone(content), "more"...), 0o600))
		}, -1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, filepath.Join(dir, tt.name))
			src := &breaking{content: content, n: 5 << 20}
			if err := s.Put(t.Context(), ref, d, src.open); !errors.Is(err, errBroken) {
				t.Fatalf("got %v", err)
			}
			check(t, s.Close())
			s = openStore(t, s.Root())
			left := ingest(t, s)
			if len(left) != 1 {
				t.Fatalf("ingest has %v", left)
			}
			file := filepath.Join(s.Root(), "ingest", left[0])
			tt.damage(t, file)
			yesterday := time.Now().Add(-24 * time.Hour)
			check(t, os.Chtimes(file, yesterday, yesterday))
			src = &breaking{content: content, n: len(content)}
			var notes []string
			check(t, s.putNoting(t.Context(), ref, d, src.open, func(text string) { notes = append(notes, text) }))
			if tt.opened >= 0 && src.opened[len(src.opened)-1] != tt.opened || tt.opened < 0 && len(src.opened) > 0 {
				t.Errorf("opened at %v, wanted is %d", src.opened, tt.opened)
			}
			if len(notes) != tt.notes {
				t.Errorf("notes %q", notes)
			}
			b, err := os.ReadFile(s.BlobPath(d.Digest))
			check(t, err)
			if !bytes.Equal(b, content) {
				t.Error("the blob has other bytes")
			}
			for _, name := range ingest(t, s) {
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
	wantError(t, s.Put(t.Context(), mustRef(t, "k3s:v1"), d, src.open), "damaged")
	check(t, s.Close())
	if left := ingest(t, openStore(t, s.Root())); len(left) != 0 || len(src.opened) != 1 {
		t.Errorf("left %v, opened %v", left, src.opened)
	}
}

func TestOnlyOneWriterHasWhatIsKept(t *testing.T) {
	s := newStore(t)
	content, d := bigBlob()
	w, err := s.ResumeBlob(t.Context(), blobKey(d.Digest))
	check(t, err)
	defer w.Close()
	_, err = w.Write(content[:5<<20])
	check(t, err)
	src := &breaking{content: content, n: len(content)}
	check(t, s.Put(t.Context(), mustRef(t, "k3s:v1"), d, src.open))
	if src.opened[0] != 0 {
		t.Errorf("the second writer went on at %d", src.opened[0])
	}
	_, err = w.Write(content[5<<20:])
	check(t, err)
	check(t, w.Commit(d.Digest, d.Size))
	if b, err := os.ReadFile(s.BlobPath(d.Digest)); err != nil || !bytes.Equal(b, content) {
		t.Errorf("the blob has other bytes: %v", err)
	}
}

func TestWhatIsKeptGoesWithTimeAndSweep(t *testing.T) {
	content, d := bigBlob()
	leave := func(t *testing.T, s *Store) string {
		t.Helper()
		src := &breaking{content: content, n: 5 << 20}
		if err := s.Put(t.Context(), mustRef(t, "k3s:v1"), d, src.open); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		return filepath.Join(s.Root(), "ingest", keptPrefix+blobKey(d.Digest))
	}
	t.Run("time", func(t *testing.T) {
		s := newStore(t)
		file := leave(t, s)
		old := time.Now().Add(-partialAge - time.Hour)
		check(t, os.Chtimes(file, old, old))
		check(t, s.Close())
		if left := ingest(t, openStore(t, s.Root())); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("sweep", func(t *testing.T) {
		s := newStore(t)
		leave(t, s)
		freed, err := s.Sweep(t.Context())
		check(t, err)
		if left := ingest(t, s); len(left) != 0 || freed != 5<<20 {
			t.Errorf("left %v, freed %d", left, freed)
		}
	})
}

func TestWhatIsLeftOfABlobGoesWhenTheBlobComesAnotherWay(t *testing.T) {
	root := t.TempDir()
	s, err := OpenStore(root)
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
	if s, err = OpenStore(root); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.KeptSize(blobKey(h)) != 0 || s.KeptSize(blobKey(other)) != 3 {
		t.Errorf("left: %d bytes of the blob that is there, %d of the one that is not", s.KeptSize(blobKey(h)), s.KeptSize(blobKey(other)))
	}
}
