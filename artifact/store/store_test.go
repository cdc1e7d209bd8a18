package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/disk"
)

func TestStoreIsAnOCILayoutThatOthersMayRead(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	idx, err := s.readIndex()
	artifacttest.Check(t, err)
	want := []v1.Descriptor{{MediaType: types.OCIManifestSchema1, Digest: d.Digest, Size: d.Size, Platform: d.Platform,
		Annotations: map[string]string{"org.opencontainers.image.ref.name": "docker.io/library/k3s:v1"}}}
	if diff := cmp.Diff(want, idx.Manifests); diff != "" {
		t.Errorf("index.json (-want +got):\n%s", diff)
	}
	for name, mode := range map[string]fs.FileMode{
		"index.json": 0o644, "oci-layout": 0o644, "ingest": 0o700, "blobs/sha256": 0o755,
		"blobs/sha256/" + d.Digest.Hex: 0o644,
	} {
		fi, err := os.Stat(filepath.Join(s.Root(), name))
		artifacttest.Check(t, err)
		if fi.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, fi.Mode().Perm(), mode)
		}
	}
	got, err := s.Resolve(t.Context(), ref)
	artifacttest.Check(t, err)
	if diff := cmp.Diff(d, got); diff != "" {
		t.Errorf("Resolve (-want +got):\n%s", diff)
	}
}

func TestStoreNames(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	latest, pinned := artifacttest.MustRef(t, "k3s"), artifacttest.MustRef(t, "k3s@"+d.Digest.String())
	artifacttest.Check(t, s.Tag(t.Context(), latest, d))
	artifacttest.Check(t, s.Tag(t.Context(), ref, d))
	list, err := s.Refs(t.Context())
	artifacttest.Check(t, err)
	if diff := cmp.Diff([]artifact.Named{{Ref: latest, Desc: d}, {Ref: ref, Desc: d}}, list, cmp.Comparer(func(a, b artifact.Reference) bool { return a == b })); diff != "" {
		t.Errorf("Refs (-want +got):\n%s", diff)
	}
	if got, err := s.Resolve(t.Context(), pinned); err != nil || got.Digest != d.Digest {
		t.Errorf("Resolve(%s) = %v, %v", pinned, got, err)
	}
	artifacttest.Check(t, s.Untag(t.Context(), ref))
	_, err = s.Resolve(t.Context(), ref)
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("resolve after untag: %v", err)
	}
	if err := s.Untag(t.Context(), ref); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("second untag: %v", err)
	}
	if err := s.Tag(t.Context(), ref, v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: artifacttest.DigestOf([]byte("x")), Size: 1}); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("tag of what is not there: %v", err)
	}
}

func TestStoreResolvesUntaggedManifestByDigest(t *testing.T) {
	s := newStore(t)
	d := artifact.Bare(artifacttest.AddImage(t, s, "amd64", []string{"a", "b"}))
	got, err := s.Resolve(t.Context(), artifacttest.MustRef(t, "other@"+d.Digest.String()))
	artifacttest.Check(t, err)
	d.Platform = nil
	if diff := cmp.Diff(d, got); diff != "" {
		t.Error(diff)
	}
}

func TestStorePutVerifies(t *testing.T) {
	content := []byte("hello")
	good := v1.Descriptor{MediaType: types.OCILayer, Digest: artifacttest.DigestOf(content), Size: 5}
	for _, tc := range []struct {
		name string
		b    []byte
		want string
	}{
		{"other content", []byte("hallo"), "digest sha256:"},
		{"too short", []byte("hell"), "4 bytes of 5"},
		{"too long", []byte("hello!"), "more than the 5 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			err := s.Put(t.Context(), artifacttest.MustRef(t, "k3s:v1"), good, artifacttest.BytesOpener(tc.b))
			artifacttest.WantError(t, err, tc.want, "k3s:v1", good.Digest.String())
			if has, _ := s.Has(t.Context(), artifact.Reference{}, good); has {
				t.Error("the blob is in the store")
			}
			artifacttest.Check(t, s.Close())
			if left := artifacttest.Ingest(t, s); len(left) > 0 {
				t.Errorf("left in ingest: %v", left)
			}
		})
	}
}

func TestCommitChecksSizeAndDigestForm(t *testing.T) {
	s := newStore(t)
	for _, tc := range []struct {
		h    v1.Hash
		size int64
		want string
	}{
		{artifacttest.DigestOf([]byte("abc")), 4, "3 bytes written, 4 announced"},
		{v1.Hash{Algorithm: "sha256", Hex: "../../evil"}, 3, "not a sha256 digest"},
	} {
		w, err := s.NewBlob(t.Context())
		artifacttest.Check(t, err)
		io.WriteString(w, "abc")
		artifacttest.WantError(t, w.Commit(tc.h, tc.size), tc.want)
		artifacttest.Check(t, w.Close())
	}
	if inv, _ := s.Inventory(t.Context()); len(inv) > 0 {
		t.Errorf("store holds %v", inv)
	}
}

func TestConcurrentPutsOfOneBlob(t *testing.T) {
	s := newStore(t)
	b := artifacttest.Noise(3, 1<<20)
	d := v1.Descriptor{Digest: artifacttest.DigestOf(b), Size: int64(len(b))}
	g, ctx := errgroup.WithContext(t.Context())
	for range 8 {
		g.Go(func() error { return s.Put(ctx, artifacttest.MustRef(t, "a"), d, artifacttest.BytesOpener(b)) })
	}
	artifacttest.Check(t, g.Wait())
	artifacttest.Check(t, s.Close())
	if inv, _ := s.Inventory(t.Context()); len(inv) != 1 || len(artifacttest.Ingest(t, s)) > 0 {
		t.Errorf("blobs %v, ingest %v", inv, artifacttest.Ingest(t, s))
	}
}

func TestOpenRemovesWhatTheDeadLeft(t *testing.T) {
	s := newStore(t)
	living, err := s.NewBlob(t.Context())
	artifacttest.Check(t, err)
	defer living.Close()
	dead := filepath.Join(s.Root(), "ingest", "blob-dead")
	artifacttest.Check(t, os.WriteFile(dead, []byte("half"), 0o600))
	openStore(t, s.Root())
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead process's file is still there: %v", err)
	}
	b := []byte("living")
	living.Write(b)
	artifacttest.Check(t, living.Commit(artifacttest.DigestOf(b), int64(len(b))))
}

func TestClosedBlobLeavesNothing(t *testing.T) {
	s := newStore(t)
	w, err := s.NewBlob(t.Context())
	artifacttest.Check(t, err)
	w.Write([]byte("half"))
	artifacttest.Check(t, w.Close())
	artifacttest.Check(t, w.Close())
	artifacttest.Check(t, s.Close())
	if left := artifacttest.Ingest(t, s); len(left) > 0 {
		t.Errorf("left in ingest: %v", left)
	}
	if _, err := w.Write(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

// TestPowerCut plays a machine that went down while blobs were written: one lost its bytes.
func TestPowerCut(t *testing.T) {
	for _, tc := range []struct {
		name, boot string
		repaired   bool
	}{{"another boot", "11111111-aaaa", true}, {"the same boot", "", false}} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			if tc.boot == "" {
				id, err := bootID()
				artifacttest.Check(t, err)
				tc.boot = id
			}
			good, bad, old := []byte("good"), artifacttest.DigestOf([]byte("bad")), artifacttest.DigestOf([]byte("old"))
			artifacttest.Check(t, os.WriteFile(filepath.Join(s.Root(), "ingest", "boot-x"), []byte(tc.boot), 0o600))
			artifacttest.Check(t, os.WriteFile(s.BlobPath(artifacttest.DigestOf(good)), good, 0o644))
			artifacttest.Check(t, os.WriteFile(s.BlobPath(bad), nil, 0o644))
			artifacttest.Check(t, os.WriteFile(s.BlobPath(old), []byte("rotten, but before"), 0o644))
			before := time.Now().Add(-time.Hour)
			artifacttest.Check(t, os.Chtimes(s.BlobPath(old), before, before))
			openStore(t, s.Root())
			inv, err := s.Inventory(t.Context())
			artifacttest.Check(t, err)
			has := map[v1.Hash]bool{}
			for _, h := range inv {
				has[h] = true
			}
			if !has[artifacttest.DigestOf(good)] || !has[old] || has[bad] == tc.repaired {
				t.Errorf("after recovery the store has %v", inv)
			}
			if left := artifacttest.Ingest(t, s); len(left) > 0 {
				t.Errorf("left in ingest: %v", left)
			}
		})
	}
}

func TestMarkerStandsWhileBlobsAreAddedOnly(t *testing.T) {
	s := newStore(t)
	d := artifacttest.AddImage(t, s, "amd64", []string{"a", "b"})
	if m := artifacttest.Ingest(t, s); len(m) != 1 || !strings.HasPrefix(m[0], "boot-") {
		t.Fatalf("ingest while adding: %v", m)
	}
	artifacttest.Check(t, s.Tag(t.Context(), artifacttest.MustRef(t, "a"), d))
	if m := artifacttest.Ingest(t, s); len(m) != 0 {
		t.Errorf("ingest after the tag: %v", m)
	}
}

func TestSweep(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	garbage := []byte("garbage")
	g, err := s.PutBytes(t.Context(), types.OCILayer, garbage)
	artifacttest.Check(t, err)
	artifacttest.Check(t, s.CachePut("airgap/x", fmt.Appendf(nil, `{"digest":%q}`, g.Digest)))
	artifacttest.Check(t, s.CachePut("airgap/y", fmt.Appendf(nil, `{"digest":%q}`, d.Digest)))
	freed, err := s.Sweep(t.Context())
	artifacttest.Check(t, err)
	if record := int64(60); freed < int64(len(garbage))+record { // the blob, and the record about it
		t.Errorf("freed %d bytes, want more than %d", freed, len(garbage))
	}
	artifacttest.RequireWholeStore(t, s, ref)
	if _, ok := s.CacheGet("airgap/x"); ok {
		t.Error("the record of a blob that is gone is still there")
	}
	if _, ok := s.CacheGet("airgap/y"); !ok {
		t.Error("the record of a living blob is gone")
	}
	artifacttest.Check(t, s.Untag(t.Context(), ref))
	_, err = s.Sweep(t.Context())
	artifacttest.Check(t, err)
	if inv, _ := s.Inventory(t.Context()); len(inv) != 0 {
		t.Errorf("left after untag and sweep: %v", inv)
	}
}

func TestSweepLeavesOthersAlone(t *testing.T) {
	s := newStore(t)
	w, err := s.NewBlob(t.Context())
	artifacttest.Check(t, err)
	if _, err := s.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("sweep while this process writes: %v", err)
	}
	other := openStore(t, s.Root())
	if _, err := other.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("sweep while another writes: %v", err)
	}
	b := []byte("not tagged yet")
	w.Write(b)
	artifacttest.Check(t, w.Commit(artifacttest.DigestOf(b), int64(len(b))))
	if _, err := other.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("sweep before another tags: %v", err)
	}
	artifacttest.Check(t, s.Close())
	freed, err := other.Sweep(t.Context())
	if err != nil || freed != int64(len(b)) {
		t.Errorf("sweep after the other is done: %d, %v", freed, err)
	}
}

func TestSweepRefusesToGuess(t *testing.T) {
	s := newStore(t)
	_, d := artifacttest.Tagged(t, s)
	artifacttest.Check(t, os.WriteFile(s.BlobPath(d.Digest), []byte("{}"), 0o600))
	if _, err := s.Sweep(t.Context()); err == nil {
		t.Error("swept although a manifest is damaged")
	}
}

func TestHoldEndsWithItsRelease(t *testing.T) {
	s := newStore(t)
	other := openStore(t, s.Root())
	release, err := s.Hold(t.Context())
	artifacttest.Check(t, err)
	_, err = s.PutBytes(t.Context(), types.OCILayer, []byte("x"))
	artifacttest.Check(t, err)
	if _, err := other.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("sweep during a hold: %v", err)
	}
	artifacttest.Check(t, release())
	if _, err := other.Sweep(t.Context()); err != nil {
		t.Errorf("sweep after the release: %v", err)
	}
}

func TestCacheKeysStayInside(t *testing.T) {
	s := newStore(t)
	for _, key := range []string{"", "../x", "/etc/x", "a/../b", "a//b"} {
		if err := s.CachePut(key, []byte("{}")); err == nil {
			t.Errorf("key %q was taken", key)
		}
	}
	artifacttest.Check(t, s.CachePut("airgap/sha256:aa", []byte(`{"n":1}`)))
	artifacttest.Check(t, s.CachePut("airgap/sha256:aa", []byte(`{"n":2}`)))
	if b, ok := s.CacheGet("airgap/sha256:aa"); !ok || string(b) != `{"n":2}` {
		t.Errorf("CacheGet = %q, %v", b, ok)
	}
	artifacttest.Check(t, os.WriteFile(filepath.Join(s.Root(), "cache", "emptied"), nil, 0o644))
	if _, ok := s.CacheGet("emptied"); ok {
		t.Error("a record that lost its content counts")
	}
}

func TestCheckSpaceSaysWhatToDo(t *testing.T) {
	s := newStore(t)
	artifacttest.Check(t, s.CheckSpace(1))
	artifacttest.WantError(t, s.CheckSpace(1<<60), "1.0 EiB needed", "free on "+s.Root(), "--root")
}

func TestFullDiskSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	err := hint(dir, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	artifacttest.WantError(t, err, "no space left", "free on "+dir, "sealrt rmi", "--root")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Error("the cause is lost")
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 300 << 20: "300.0 MiB", 5 << 28: "1.2 GiB"} {
		if got := disk.Bytes(n); got != want {
			t.Errorf("disk.Bytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestOpenErrorsNameTheNextStep(t *testing.T) {
	dir := t.TempDir()
	artifacttest.Check(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte("no"), 0o644))
	_, err := Open(dir)
	artifacttest.WantError(t, err, "oci-layout", "--root")
	if os.Geteuid() != 0 {
		locked := filepath.Join(t.TempDir(), "locked")
		artifacttest.Check(t, os.Mkdir(locked, 0o500))
		_, err = Open(filepath.Join(locked, "store"))
		artifacttest.WantError(t, err, "permission denied", "--root")
	}
}

func TestBlobsThatNothingNamesAreNoNewStore(t *testing.T) {
	s := newStore(t)
	artifacttest.Tagged(t, s)
	artifacttest.Check(t, os.Remove(s.path("index.json")))
	_, err := Open(s.Root())
	artifacttest.WantError(t, err, "blobs and no index.json", "move blobs/ away")
}

// writerMain is what the test binary does as a second process: it tags images until it has done enough.
func writerMain(dir string) int {
	s, err := Open(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	for i := range 10 {
		d, err := s.PutBytes(ctx, types.OCIManifestSchema1, fmt.Appendf(nil, `{"schemaVersion":2,"config":{},"layers":[],"annotations":{"n":"%s-%d"}}`, os.Args[1], i))
		if err == nil {
			var ref artifact.Reference
			ref, err = artifact.ParseReference(fmt.Sprintf("w%s:%d", os.Args[1], i))
			if err == nil {
				err = s.Tag(ctx, ref, d)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

func TestProcessesShareAStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var wg sync.WaitGroup
	for i := range 3 {
		cmd := exec.Command(os.Args[0], fmt.Sprint(i))
		cmd.Env = append(os.Environ(), "ARTIFACT_TEST_WRITER="+dir)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("writer: %v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	s := openStore(t, dir)
	list, err := s.Refs(t.Context())
	artifacttest.Check(t, err)
	if len(list) != 30 || len(artifacttest.Ingest(t, s)) != 0 {
		t.Errorf("%d names, want 30; ingest %v", len(list), artifacttest.Ingest(t, s))
	}
}
