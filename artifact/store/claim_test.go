package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// halting opens content so that a reader stops after n bytes until the gate opens, and then gets the rest, or err.
type halting struct {
	content []byte
	n       int64
	begun   chan struct{} // closed when the reader stands at the gate
	gate    chan struct{}
	err     error
}

func newHalting(content []byte, n int64) *halting {
	return &halting{content: content, n: n, begun: make(chan struct{}), gate: make(chan struct{})}
}

func (g *halting) open(offset int64) (io.ReadCloser, error) {
	rest := io.Reader(bytes.NewReader(g.content[g.n:]))
	if g.err != nil {
		rest = artifacttest.Failing{Err: g.err}
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(g.content[offset:g.n]), &atGate{g: g, r: rest})), nil
}

type atGate struct {
	g *halting
	r io.Reader
}

func (r *atGate) Read(p []byte) (int, error) {
	select {
	case <-r.g.begun:
	default:
		close(r.g.begun)
	}
	<-r.g.gate
	return r.r.Read(p)
}

// twoStores opens a store twice, as two processes do.
func twoStores(t *testing.T) (a, b *Store) {
	t.Helper()
	a = newStore(t)
	return a, openStore(t, a.Root())
}

func TestOneProcessFetchesABlobAndTheOtherWaits(t *testing.T) {
	first, second := twoStores(t)
	content, d := bigBlob()
	ref := artifacttest.MustRef(t, "k3s:v1")
	slow, quick := newHalting(content, 5<<20), &breaking{content: content, n: len(content)}
	var g errgroup.Group
	g.Go(func() error { return first.Put(t.Context(), ref, d, slow.open) })
	<-slow.begun
	var notes []string
	artifacttest.Check(t, second.PutNoting(t.Context(), ref, d, quick.open, func(text string) {
		notes = append(notes, text)
		close(slow.gate)
	}))
	artifacttest.Check(t, g.Wait())
	if len(quick.opened) != 0 || len(notes) != 1 || !strings.Contains(notes[0], "another sealrt") {
		t.Errorf("the second one opened the blob at %v and said %q", quick.opened, notes)
	}
	for _, name := range artifacttest.Ingest(t, first) {
		if !strings.HasPrefix(name, markerPrefix) {
			t.Errorf("%s is left", name)
		}
	}
}

func TestWhoWaitsGoesOnWhereTheOtherFailed(t *testing.T) {
	first, second := twoStores(t)
	content, d := bigBlob()
	ref := artifacttest.MustRef(t, "k3s:v1")
	slow, quick := newHalting(content, 5<<20), &breaking{content: content, n: len(content)}
	slow.err = artifacttest.ErrBroken
	failed := make(chan error, 1)
	go func() { failed <- first.Put(t.Context(), ref, d, slow.open) }()
	<-slow.begun
	artifacttest.Check(t, second.PutNoting(t.Context(), ref, d, quick.open, func(string) { close(slow.gate) }))
	if err := <-failed; !errors.Is(err, artifacttest.ErrBroken) {
		t.Errorf("the first one: %v", err)
	}
	if len(quick.opened) != 1 || quick.opened[0] != 5<<20 {
		t.Errorf("the second one opened the blob at %v", quick.opened)
	}
}

// putterMain is what the test binary does as a second process: it puts the big blob, and stops in the middle.
func putterMain(dir string) int {
	s, err := Open(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	content, d := bigBlob()
	slow := newHalting(content, 5<<20)
	go func() {
		<-slow.begun
		fmt.Println("ready")
	}()
	fmt.Fprintln(os.Stderr, s.Put(context.Background(), artifact.Reference{}, d, slow.open))
	return 1
}

func TestWhoWaitsGoesOnWhereTheOtherWasKilled(t *testing.T) {
	s := newStore(t)
	content, d := bigBlob()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ARTIFACT_TEST_PUTTER="+s.Root())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	artifacttest.Check(t, err)
	artifacttest.Check(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	quick := &breaking{content: content, n: len(content)}
	artifacttest.Check(t, s.PutNoting(t.Context(), artifacttest.MustRef(t, "k3s:v1"), d, quick.open, func(string) { cmd.Process.Kill() }))
	cmd.Wait()
	if len(quick.opened) != 1 || quick.opened[0] != 5<<20 {
		t.Errorf("it went on at %v", quick.opened)
	}
	artifacttest.Check(t, s.Close())
	if left := artifacttest.Ingest(t, openStore(t, s.Root())); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	first, second := twoStores(t)
	content, d := bigBlob()
	release, err := first.Claim(t.Context(), blobKey(d.Digest), nil)
	artifacttest.Check(t, err)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	src := &breaking{content: content, n: len(content)}
	err = second.PutNoting(ctx, artifacttest.MustRef(t, "k3s:v1"), d, src.open, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) || len(src.opened) != 0 {
		t.Errorf("got %v, opened at %v", err, src.opened)
	}
}

func TestNobodyWaitsForWhoIsStuck(t *testing.T) {
	first, second := twoStores(t)
	second.stall = time.Nanosecond
	content, d := bigBlob()
	ref := artifacttest.MustRef(t, "k3s:v1")
	stuck, quick := newHalting(content, 5<<20), &breaking{content: content, n: len(content)}
	var g errgroup.Group
	g.Go(func() error { return first.Put(t.Context(), ref, d, stuck.open) })
	<-stuck.begun
	artifacttest.Check(t, second.Put(t.Context(), ref, d, quick.open))
	if len(quick.opened) == 0 || quick.opened[0] != 0 {
		t.Errorf("the second one opened the blob at %v", quick.opened)
	}
	close(stuck.gate)
	artifacttest.Check(t, g.Wait())
	if b, err := os.ReadFile(first.BlobPath(d.Digest)); err != nil || !bytes.Equal(b, content) {
		t.Errorf("the blob has other bytes: %v", err)
	}
}

// TestClaimsInAnyOrderDoNotLock lets many take claims of the same blobs in different orders.
func TestClaimsInAnyOrderDoNotLock(t *testing.T) {
	root := newStore(t).Root()
	var blobs []v1.Descriptor
	contents := map[v1.Hash][]byte{}
	for i := range 4 {
		b := artifacttest.Noise(uint64(i), claimFrom+i)
		d := v1.Descriptor{Digest: artifacttest.DigestOf(b), Size: int64(len(b))}
		blobs, contents[d.Digest] = append(blobs, d), b
	}
	ref := artifacttest.MustRef(t, "k3s:v1")
	var g errgroup.Group
	for i := range 4 {
		s := openStore(t, root)
		g.Go(func() error {
			jobs, ctx := errgroup.WithContext(t.Context())
			jobs.SetLimit(2)
			for j := range blobs {
				d := blobs[(j*(1+i%3)+i)%len(blobs)]
				jobs.Go(func() error { return s.Put(ctx, ref, d, artifacttest.BytesOpener(contents[d.Digest])) })
			}
			return jobs.Wait()
		})
	}
	artifacttest.Check(t, g.Wait())
}

func TestOnlyOneOfTwoLoadsWrites(t *testing.T) {
	first, second := twoStores(t)
	content, d := bigBlob()
	w, err := first.BeginBlob(t.Context(), d, nil)
	artifacttest.Check(t, err)
	_, err = w.Write(content)
	artifacttest.Check(t, err)
	other, err := second.BeginBlob(t.Context(), d, func(string) { artifacttest.Check(t, w.Commit(d.Digest, d.Size)) })
	if err != nil || other != nil {
		t.Errorf("the second one writes too: %v", err)
	}
}

func TestLoadDoesNotWaitForWhoIsSlow(t *testing.T) {
	first, second := twoStores(t)
	second.stall = time.Nanosecond
	content, d := bigBlob()
	slow, err := first.BeginBlob(t.Context(), d, nil)
	artifacttest.Check(t, err)
	defer slow.Close()
	w, err := second.BeginBlob(t.Context(), d, nil)
	artifacttest.Check(t, err)
	_, err = w.Write(content)
	artifacttest.Check(t, err)
	artifacttest.Check(t, w.Commit(d.Digest, d.Size))
}

func TestClaimOfTheDeadIsRemoved(t *testing.T) {
	s := newStore(t)
	path := filepath.Join(s.Root(), "ingest", claimPrefix+"x")
	artifacttest.Check(t, os.WriteFile(path, nil, 0o600))
	openStore(t, s.Root())
	if left := artifacttest.Ingest(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	release, err := s.Claim(t.Context(), "x", nil)
	artifacttest.Check(t, err)
	openStore(t, s.Root())
	if left := artifacttest.Ingest(t, s); len(left) != 1 {
		t.Errorf("the claim of the living: %v", left)
	}
	release()
}
