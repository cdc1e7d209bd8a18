package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// sized is a file of n bytes, almost all of them zero.
func sized(n int) Entry {
	content := make([]byte, n)
	for i := 0; i < n; i += 64 << 10 {
		content[i] = byte(n>>(i>>16%24) | 1)
	}
	return Entry{Name: "f", Mode: 0o644, Size: int64(n), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

func TestLayersOfSharedBuffersAreTheSame(t *testing.T) {
	sizes := []int{9 << 20, 100, 5 << 20, 0}
	write := func(b *Buffers, size int) (Blob, error) {
		return Write(t.Context(), io.Discard, Sorted([]Entry{sized(size)}), Options{Buffers: b})
	}
	want := map[int]Blob{}
	for _, size := range sizes {
		var err error
		if want[size], err = write(nil, size); err != nil {
			t.Fatal(err)
		}
	}
	shared := &Buffers{Jobs: 2}
	for _, size := range sizes {
		if got, err := write(shared, size); err != nil || got != want[size] {
			t.Errorf("%d bytes: got %v, %v, want %v", size, got, err, want[size])
		}
	}
	idle(t, shared, 4, 2)
	group, ctx := errgroup.WithContext(t.Context())
	for _, size := range sizes {
		group.Go(func() error {
			got, err := Write(ctx, io.Discard, Sorted([]Entry{sized(size)}), Options{Buffers: shared})
			if err == nil && got != want[size] {
				t.Errorf("beside others, %d bytes: got %v, want %v", size, got, want[size])
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// idle fails the test if something is still lent out, or if there is more than there may be.
func idle(t *testing.T, b *Buffers, frames, encoders int) {
	t.Helper()
	if len(b.frames.lent) != 0 || len(b.zstd.lent) != 0 {
		t.Errorf("%d frames and %d encoders did not come back", len(b.frames.lent), len(b.zstd.lent))
	}
	if f, e := len(b.frames.free), len(b.zstd.free); f == 0 || f > frames || e == 0 || e > encoders {
		t.Errorf("there are %d frames and %d encoders, want at most %d and %d", f, e, frames, encoders)
	}
}

func TestBuffersOutliveALayerThatFails(t *testing.T) {
	shared, broken := &Buffers{Jobs: 2}, errors.New("broken")
	e := sized(9 << 20)
	want, err := Write(t.Context(), io.Discard, Sorted([]Entry{e}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Write(t.Context(), writerFunc(func([]byte) (int, error) { return 0, broken }), Sorted([]Entry{e}), Options{Buffers: shared})
	if !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if got, err := Write(t.Context(), io.Discard, Sorted([]Entry{e}), Options{Buffers: shared}); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// Of forty layers that share three frames, half fail: in the writer, in a file, by their context. The others are
// whole, and nothing is lost.
func TestManyLayersShareFewBuffers(t *testing.T) {
	broken := errors.New("broken")
	shared := &Buffers{Jobs: 1}
	var all sync.WaitGroup
	for i := range 40 {
		e := sized((i%5)*(3<<20) + i)
		want, err := Write(t.Context(), io.Discard, given(e), Options{Jobs: 1})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			w := io.Discard
			cause, e := broken, e
			switch i % 8 {
			case 1:
				w = &failing{after: 10, err: broken}
			case 3:
				w = writerFunc(func(p []byte) (int, error) { cancel(broken); return len(p), nil })
			case 5:
				e.Open = func() (io.ReadCloser, error) {
					return io.NopCloser(io.MultiReader(io.LimitReader(zeros{}, 5<<20), failingReader{broken})), nil
				}
				e.Size = 10 << 20
			case 7:
				e.Open = func() (io.ReadCloser, error) {
					cancel(broken)
					return io.NopCloser(io.LimitReader(zeros{}, e.Size)), nil
				}
			default:
				cause = nil
			}
			got, err := Write(ctx, w, given(e), Options{Buffers: shared})
			if !errors.Is(err, cause) || cause == nil && got != want {
				t.Errorf("layer %d: got %v, %v, want %v, %v", i, got, err, want, cause)
			}
		})
	}
	all.Wait()
	idle(t, shared, 3, 1)
}

// Three layers hold the three frames and wait for their files. A fourth one gets none, but ends with its context.
func TestALayerThatWaitsForBuffersEndsWithItsContext(t *testing.T) {
	shared := &Buffers{Jobs: 1}
	reading, more := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		r := &slow{started: reading, more: more}
		all.Go(func() {
			_, err := Write(t.Context(), io.Discard, given(Entry{Name: "f", Size: 1, Open: func() (io.ReadCloser, error) { return r, nil }}), Options{Buffers: shared})
			if err != nil {
				t.Error(err)
			}
		})
		<-reading
	}
	ctx, cancel := context.WithCancel(t.Context())
	entries := func(yield func(Entry, error) bool) {
		go cancel() // most likely while the writing waits
		yield(Entry{Name: "f"}, nil)
	}
	if _, err := Write(ctx, io.Discard, entries, Options{Buffers: shared}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(more)
	all.Wait()
	idle(t, shared, 3, 1)
}

// slow is a file of one byte that says when it is read first and then waits.
type slow struct {
	started, more chan struct{}
	once          sync.Once
}

func (s *slow) Read(p []byte) (n int, err error) {
	err = io.EOF
	s.once.Do(func() {
		s.started <- struct{}{}
		<-s.more
		p[0], n, err = 'x', 1, nil
	})
	return n, err
}

func (*slow) Close() error { return nil }

func TestDiffIDIsThatOfWrite(t *testing.T) {
	for name, entries := range map[string][]Entry{"nothing": nil, "one of each kind": fixedTree(), "several frames": {sized(9 << 20)}} {
		o := Options{Created: time.Unix(1700000000, 0)}
		_, blob := mustWrite(t, o, Sorted(entries))
		if got, err := DiffID(t.Context(), Sorted(entries), o); err != nil || got != blob.DiffID {
			t.Errorf("%s: DiffID %v, %v, want %v", name, got, err, blob.DiffID)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := DiffID(ctx, given(file("b", 0o644, ""), file("a", 0o644, "")), Options{})
	if err == nil || !strings.Contains(err.Error(), `hash layer: entry "a": it comes after "b"`) {
		t.Errorf("error %v", err)
	}
	cancel()
	if _, err := DiffID(ctx, given(sized(1)), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// failingReader is a file that cannot be read.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// writerFunc is a function as a writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
