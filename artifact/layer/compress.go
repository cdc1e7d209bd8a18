package layer

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// chunkSize is the number of bytes of the archive that make one zstd frame. Changing it changes every digest.
const chunkSize = 4 << 20

// newCompressor returns a writer that compresses to w. Its Close ends the stream and must be called in any case.
func newCompressor(ctx context.Context, w io.Writer, o Options) (io.WriteCloser, error) {
	switch o.Compression {
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case Zstd:
		jobs := o.Jobs
		if jobs <= 0 {
			jobs = runtime.GOMAXPROCS(0)
		}
		return newFrameWriter(ctx, w, jobs, o.Buffers)
	default:
		return nil, fmt.Errorf("unknown %v", o.Compression)
	}
}

// Buffers is what layers that are compressed one after another use again: without it each layer leaves tens of MiB to
// the garbage collector. The zero value is ready for use, by several layers at once too.
type Buffers struct {
	mu       sync.Mutex
	frames   []*frame
	encoders []*zstd.Encoder
}

// frame returns a frame that is empty.
func (b *Buffers) frame() *frame {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.frames); n > 0 {
		f := b.frames[n-1]
		b.frames = b.frames[:n-1]
		f.in = f.in[:0]
		return f
	}
	return &frame{in: make([]byte, 0, chunkSize), ready: make(chan struct{}, 1)}
}

// encoder returns an encoder that nobody uses.
func (b *Buffers) encoder() (*zstd.Encoder, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.encoders); n > 0 {
		e := b.encoders[n-1]
		b.encoders = b.encoders[:n-1]
		return e, nil
	}
	return newEncoder()
}

// keep takes back what is not used any more.
func (b *Buffers) keep(frames []*frame, encoders []*zstd.Encoder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frames = append(b.frames, frames...)
	b.encoders = append(b.encoders, encoders...)
}

// frameWriter cuts what it gets into chunks, compresses several at once, each to a zstd frame of its own
// (RFC 8878, section 3: a stream is any number of frames), and writes the frames in order.
type frameWriter struct {
	group   *errgroup.Group
	done    <-chan struct{} // closed when the group has failed or ctx has ended
	cause   func() error
	free    chan *frame // frames that are written
	jobs    chan *frame // to the encoders
	order   chan *frame // to the collector, in the order of the archive
	current *frame
	unmade  int // frames that may still be made

	buffers  *Buffers
	encoders []*zstd.Encoder
}

// frame is one chunk on its way. The buffers are used again and again, so that memory does not grow with the layer.
type frame struct {
	in, out []byte
	ready   chan struct{}
}

func newFrameWriter(ctx context.Context, w io.Writer, jobs int, buffers *Buffers) (*frameWriter, error) {
	if buffers == nil {
		buffers = &Buffers{}
	}
	frames := jobs + 2 // one being filled, one being written
	group, ctx := errgroup.WithContext(ctx)
	fw := &frameWriter{
		group: group, done: ctx.Done(), cause: func() error { return context.Cause(ctx) },
		free: make(chan *frame, frames), jobs: make(chan *frame, frames), order: make(chan *frame, frames), unmade: frames,
		buffers: buffers,
	}
	for range jobs {
		e, err := buffers.encoder()
		if err != nil {
			return nil, err
		}
		fw.encoders = append(fw.encoders, e)
	}
	for _, e := range fw.encoders {
		group.Go(func() error {
			for f := range fw.jobs {
				if most := len(f.in) + len(f.in)/64 + 64; cap(f.out) < most {
					f.out = make([]byte, 0, most) // lest it grows in steps that stay behind as garbage
				}
				f.out = e.EncodeAll(f.in, f.out[:0])
				f.ready <- struct{}{}
			}
			return nil
		})
	}
	group.Go(func() error { return fw.collect(w) })
	return fw, nil
}

// collect writes the frames in order.
func (fw *frameWriter) collect(w io.Writer) error {
	for f := range fw.order {
		<-f.ready
		if err := fw.cause(); err != nil {
			return err
		}
		if _, err := w.Write(f.out); err != nil {
			return err
		}
		fw.free <- f
	}
	return nil
}

// Write takes p over; an error of a frame before may show here or at Close.
func (fw *frameWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if fw.current == nil {
			if err := fw.next(); err != nil {
				return written, err
			}
		}
		f := fw.current
		n := min(len(p), chunkSize-len(f.in))
		f.in = append(f.in, p[:n]...)
		p = p[n:]
		written += n
		if len(f.in) == chunkSize {
			fw.send()
		}
	}
	return written, nil
}

// next waits for a frame that can be filled.
func (fw *frameWriter) next() error {
	select {
	case fw.current = <-fw.free:
		fw.current.in = fw.current.in[:0]
		return nil
	default:
	}
	if fw.unmade > 0 {
		fw.unmade--
		fw.current = fw.buffers.frame()
		return nil
	}
	select {
	case fw.current = <-fw.free:
		fw.current.in = fw.current.in[:0]
		return nil
	case <-fw.done:
		return fw.cause()
	}
}

// send passes the current frame on. It cannot block: both channels hold as many frames as there are.
func (fw *frameWriter) send() {
	fw.order <- fw.current
	fw.jobs <- fw.current
	fw.current = nil
}

// Close compresses and writes what is left, waits for all frames and returns the first error of any.
func (fw *frameWriter) Close() error {
	if fw.current != nil && len(fw.current.in) > 0 {
		fw.send()
	}
	close(fw.jobs)
	close(fw.order)
	err := fw.group.Wait()
	close(fw.free)
	var frames []*frame // after an error not all
	for f := range fw.free {
		frames = append(frames, f)
	}
	fw.buffers.keep(frames, fw.encoders)
	return err
}

// newEncoder returns an encoder for one goroutine. The level is about that of "zstd -3". What is compressed already,
// as the blobs of container images are, needs no special care: the encoder stores it at several GB/s.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(chunkSize), zstd.WithEncoderCRC(true))
}
