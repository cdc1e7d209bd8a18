package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// listing is a record about h of at least n bytes.
func listing(h string, n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"digest":%q,"files":[`, h)
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `{"n":"usr/share/doc/package-%d/changelog.gz","m":420,"s":%d},`, i, i)
	}
	b.WriteString("{}]}")
	return b.Bytes()
}

func recordFile(s *Store, key string) string { return filepath.Join(s.Root(), "cache", key) }

func TestRecordsOfAnyPermittedSizeComeBack(t *testing.T) {
	s := newStore(t)
	for _, n := range []int{0, 1 << 10, MaxRecord - 200} {
		value := listing(artifacttest.DigestOf(nil).String(), n)
		artifacttest.Check(t, s.CachePut("view/a", value))
		if b, ok := s.CacheGet("view/a"); !ok || !bytes.Equal(b, value) {
			t.Errorf("a record of %d bytes came back as %d bytes, %v", len(value), len(b), ok)
		}
	}
	artifacttest.WantError(t, s.CachePut("view/b", listing(artifacttest.DigestOf(nil).String(), MaxRecord)), "view/b", "16.0 MiB")
	for _, value := range []string{"", "{", `[]`, `{"digest":"sha512:0"}`, `{"digest":7}`} {
		artifacttest.WantError(t, s.CachePut("view/b", []byte(value)), "view/b", "no JSON object")
	}
	if _, err := os.Stat(recordFile(s, "view/b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused record left a file: %v", err)
	}
}

func TestDamagedRecordIsNoRecord(t *testing.T) {
	value := listing(artifacttest.DigestOf(nil).String(), 4<<10)
	s := newStore(t)
	artifacttest.Check(t, s.CachePut("view/a", value))
	whole, err := os.ReadFile(recordFile(s, "view/a"))
	artifacttest.Check(t, err)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-100] ^= 1
	for name, b := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, len(whole)), "cut": whole[:len(whole)/2], "cut in the header": whole[:20],
		"longer": append(bytes.Clone(whole), ' '), "one bit": flipped, "zeros at the end": append(bytes.Clone(whole[:4000]), make([]byte, len(whole)-4000)...),
	} {
		t.Run(name, func(t *testing.T) {
			artifacttest.Check(t, os.WriteFile(recordFile(s, "view/a"), b, 0o600))
			if b, ok := s.CacheGet("view/a"); ok {
				t.Errorf("it came back with %d bytes", len(b))
			}
			artifacttest.Check(t, s.CachePut("view/a", value))
			if _, ok := s.CacheGet("view/a"); !ok {
				t.Error("it could not be written anew")
			}
		})
	}
}

func TestRecordsOfOlderStoresAreRead(t *testing.T) {
	s := newStore(t)
	_, d := artifacttest.Tagged(t, s)
	artifacttest.Check(t, os.Mkdir(recordFile(s, "build"), 0o755))
	artifacttest.Check(t, os.WriteFile(recordFile(s, "build/old"), fmt.Appendf(nil, `{"digest":%q}`, d.Digest), 0o644))
	artifacttest.Check(t, os.WriteFile(recordFile(s, "build/lost"), fmt.Appendf(nil, `{"digest":%q}`, artifacttest.DigestOf([]byte("gone"))), 0o644))
	_, err := s.Sweep(t.Context())
	artifacttest.Check(t, err)
	if _, ok := s.CacheGet("build/old"); !ok {
		t.Error("a record without a header is lost")
	}
	if _, ok := s.CacheGet("build/lost"); ok {
		t.Error("a record without a header outlived its blob")
	}
}

func TestSweepKeepsRecordsOfLivingBlobsAndOfNone(t *testing.T) {
	s := newStore(t)
	_, d := artifacttest.Tagged(t, s)
	artifacttest.Check(t, s.CachePut("view/living", listing(d.Digest.String(), 1<<20)))
	artifacttest.Check(t, s.CachePut("build/none", []byte(`{}`)))
	artifacttest.Check(t, s.CachePut("view/lost", listing(artifacttest.DigestOf([]byte("gone")).String(), 1<<20)))
	artifacttest.Check(t, os.WriteFile(recordFile(s, "view/zeros"), make([]byte, 500), 0o644))
	_, err := s.Sweep(t.Context())
	artifacttest.Check(t, err)
	for key, want := range map[string]bool{"view/living": true, "build/none": true, "view/lost": false, "view/zeros": false} {
		if _, err := os.Stat(recordFile(s, key)); (err == nil) != want {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestCacheDropRemovesRecordsByTheirFirstElements(t *testing.T) {
	s := newStore(t)
	for _, key := range []string{"build/run/a", "build/files/b", "builder/c", "view/d"} {
		artifacttest.Check(t, s.CachePut(key, []byte(`{}`)))
	}
	freed, err := s.CacheDrop("build")
	artifacttest.Check(t, err)
	if freed == 0 {
		t.Error("nothing was freed")
	}
	for key, want := range map[string]bool{"build/run/a": false, "build/files/b": false, "builder/c": true, "view/d": true} {
		if _, ok := s.CacheGet(key); ok != want {
			t.Errorf("%s is there: %v", key, ok)
		}
	}
	if freed, err = s.CacheDrop("build"); freed != 0 || err != nil {
		t.Errorf("again: %d, %v", freed, err)
	}
	for _, prefix := range []string{"", "..", "../blobs"} {
		if _, err := s.CacheDrop(prefix); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
	artifacttest.Check(t, s.CachePut("build/run/a", []byte(`{}`)))
}

func TestSweepAfterClearsWithTheStoreToItself(t *testing.T) {
	s := newStore(t)
	g, err := s.PutBytes(t.Context(), types.OCILayer, []byte("garbage"))
	artifacttest.Check(t, err)
	other := openStore(t, s.Root())
	called := false
	_, err = other.SweepAfter(t.Context(), func() (int64, error) { called = true; return 0, nil })
	if !errors.Is(err, artifact.ErrBusy) || called {
		t.Errorf("with another at work: %v, called: %v", err, called)
	}
	artifacttest.Check(t, s.Close())
	freed, err := other.SweepAfter(t.Context(), func() (int64, error) {
		if _, err := s.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
			t.Errorf("another sweep meanwhile: %v", err)
		}
		return 1000, nil
	})
	if err != nil || freed != 1000+g.Size {
		t.Errorf("freed %d, %v", freed, err)
	}
	wrong := errors.New("wrong")
	if freed, err = other.SweepAfter(t.Context(), func() (int64, error) { return 3, wrong }); freed != 3 || !errors.Is(err, wrong) || !strings.Contains(err.Error(), other.Root()) {
		t.Errorf("a clear that failed: %d, %v", freed, err)
	}
}

func BenchmarkCacheGetOfALargeRecord(b *testing.B) {
	s, err := Open(b.TempDir())
	artifacttest.Check(b, err)
	defer s.Close()
	value := listing(artifacttest.DigestOf(nil).String(), 10<<20)
	artifacttest.Check(b, s.CachePut("view/a", value))
	b.SetBytes(int64(len(value)))
	for b.Loop() {
		if _, ok := s.CacheGet("view/a"); !ok {
			b.Fatal("lost")
		}
	}
}

func BenchmarkCacheOfManyRecords(b *testing.B) {
	s, err := Open(b.TempDir())
	artifacttest.Check(b, err)
	defer s.Close()
	const many = 20_000
	value := []byte(`{"size":1}`)
	for i := range many {
		artifacttest.Check(b, s.CachePut(fmt.Sprintf("build/files/%064d", i), value))
	}
	b.Run("put", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			artifacttest.Check(b, s.CachePut(fmt.Sprintf("build/files/%064d", i%many), value))
		}
	})
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			s.CacheGet(fmt.Sprintf("build/files/%064d", i%many))
		}
	})
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Sweep(b.Context())
			artifacttest.Check(b, err)
		}
	})
}

func TestSweepKeepsWhatHeldRecordsAreAbout(t *testing.T) {
	s := newStore(t)
	d, err := s.PutBytes(t.Context(), "application/octet-stream", []byte("dear"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CachePut(HeldRecords+"/run/x", fmt.Appendf(nil, `{"digest":%q}`, d.Digest)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if _, err := s.SweepAfter(t.Context(), func() (int64, error) {
			if want {
				return 0, nil
			}
			return s.CacheDrop(HeldRecords)
		}); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Has(t.Context(), artifact.Reference{}, d); ok != want || err != nil {
			t.Errorf("the blob is there: %v %v, want %v", ok, err, want)
		}
	}
}
