package layer

import (
	"context"
	"runtime"
	"sync"
)

// chunkSize is the number of bytes of the archive that make one zstd frame or gzip member. Changing it changes every
// digest.
const chunkSize = 4 << 20

// Buffers is the memory that layers share which are written at the same time or one after another, and with it the
// number of processors that compress: however many layers there are, no more is taken than for one of them. The zero
// value is ready for use. No layer may wait for another one's bytes: when Write reads what another Write with the
// same Buffers writes, both may wait for ever.
type Buffers struct {
	// Jobs is the number of frames of 4 MiB that are compressed at once; 0 is GOMAXPROCS. Each takes about 14 MiB, and
	// two more of 8 MiB are read and written meanwhile. It is fixed when the first layer is written.
	Jobs int

	once       sync.Once
	frames     *pool[*frame]
	zstd, gzip *pool[encoder]
}

func (b *Buffers) prepare() {
	b.once.Do(func() {
		jobs := b.Jobs
		if jobs <= 0 {
			jobs = runtime.GOMAXPROCS(0)
		}
		b.frames = newFrames(jobs+2, chunkSize) // one being filled, one being written
		b.zstd, b.gzip = newPool(jobs, newZstdEncoder), newPool(jobs, newGzipEncoder)
	})
}

// frame is a piece of the archive on its way: in is filled, hashed and compressed to out, and one of them written.
type frame struct {
	in, out    []byte
	hashed     chan struct{}
	compressed chan struct{}
}

// newFrames returns n frames that hold size bytes each.
func newFrames(n, size int) *pool[*frame] {
	return newPool(n, func() (*frame, error) {
		return &frame{in: make([]byte, 0, size), hashed: make(chan struct{}, 1), compressed: make(chan struct{}, 1)}, nil
	})
}

// pool lends out a fixed number of things, which it makes when they are first needed. Who waits is served in turn.
type pool[T any] struct {
	lent chan struct{} // one for each that is lent out
	make func() (T, error)

	mu   sync.Mutex
	free []T
}

func newPool[T any](n int, produce func() (T, error)) *pool[T] {
	return &pool[T]{lent: make(chan struct{}, n), make: produce}
}

// take waits for a thing until ctx ends. The caller gives it back with put.
func (p *pool[T]) take(ctx context.Context) (T, error) {
	var t T
	select {
	case p.lent <- struct{}{}:
	case <-ctx.Done():
		return t, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free) - 1; n >= 0 {
		t, p.free = p.free[n], p.free[:n] // the last one used is the likeliest to be in the processor's cache
		return t, nil
	}
	t, err := p.make()
	if err != nil {
		<-p.lent
	}
	return t, err
}

func (p *pool[T]) put(t T) {
	p.mu.Lock()
	p.free = append(p.free, t)
	p.mu.Unlock()
	<-p.lent
}
