package layer

import (
	"bytes"
	"errors"
	"io"
	"testing"

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
		return Write(t.Context(), io.Discard, Sorted([]Entry{sized(size)}), Options{Jobs: 2, Buffers: b})
	}
	want := map[int]Blob{}
	for _, size := range sizes {
		var err error
		if want[size], err = write(nil, size); err != nil {
			t.Fatal(err)
		}
	}
	shared := &Buffers{}
	for _, size := range sizes {
		if got, err := write(shared, size); err != nil || got != want[size] {
			t.Errorf("%d bytes: got %v, %v, want %v", size, got, err, want[size])
		}
	}
	if n := len(shared.frames); n > 4 || n == 0 || len(shared.encoders) != 2 {
		t.Errorf("after %d layers there are %d frames and %d encoders, want those of one layer", len(sizes), n, len(shared.encoders))
	}
	group, ctx := errgroup.WithContext(t.Context())
	for _, size := range sizes {
		group.Go(func() error {
			got, err := Write(ctx, io.Discard, Sorted([]Entry{sized(size)}), Options{Jobs: 2, Buffers: shared})
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

func TestBuffersOutliveALayerThatFails(t *testing.T) {
	shared, broken := &Buffers{}, errors.New("broken")
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

// writerFunc is a function as a writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
