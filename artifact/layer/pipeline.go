package layer

import (
	"context"
	"crypto/sha256"
	"io"
	"sync"
)

// pipeline is a writer that hashes, compresses and writes what it gets, each in goroutines of their own. The archive
// goes through it in frames: a frame that is full is hashed and compressed at once, and written in its turn.
//
// No writer waits for a second frame while it fills one, and frames that are full need nothing but time, so that
// layers which share frames all come to an end, however few there are.
type pipeline struct {
	stop     context.CancelCauseFunc // ends the pipeline with an error
	stopped  func() error            // returns that error
	take     func() (*frame, error)
	frames   *pool[*frame]
	compress func(*frame) // nil: frames are written as they are

	current *frame // being filled; nil: none
	hashing chan *frame
	writing chan *frame
	workers sync.WaitGroup

	diff digester // of what went in, when Close has returned
}

// newCompressing returns a pipeline that compresses several frames at once, each for itself.
func newCompressing(ctx context.Context, w io.Writer, frames *pool[*frame], encoders *pool[encoder]) *pipeline {
	ctx, stop := context.WithCancelCause(ctx)
	return start(ctx, &pipeline{stop: stop, frames: frames, compress: func(f *frame) {
		if err := f.compress(ctx, encoders); err != nil {
			stop(err)
		}
	}}, w)
}

// newPlain returns a pipeline that writes what it gets.
func newPlain(ctx context.Context, w io.Writer) *pipeline {
	ctx, stop := context.WithCancelCause(ctx)
	return start(ctx, &pipeline{stop: stop, frames: newFrames(4, copySize)}, w)
}

// start starts the goroutines that hash and write, the latter to w.
func start(ctx context.Context, p *pipeline, w io.Writer) *pipeline {
	p.stopped = func() error { return context.Cause(ctx) }
	p.take = func() (*frame, error) { return p.frames.take(ctx) }
	p.diff.hash = sha256.New()
	all := cap(p.frames.lent) // so that send never waits
	p.hashing, p.writing = make(chan *frame, all), make(chan *frame, all)
	p.workers.Go(func() {
		for f := range p.hashing {
			p.diff.hash.Write(f.in)
			p.diff.size += int64(len(f.in))
			f.hashed <- struct{}{}
		}
	})
	p.workers.Go(func() {
		for f := range p.writing {
			p.write(w, f)
		}
	})
	return p
}

// write writes a frame once it is compressed, unless the pipeline has failed, and gives it back once it is hashed.
func (p *pipeline) write(w io.Writer, f *frame) {
	b := f.in
	if p.compress != nil {
		<-f.compressed
		b = f.out
	}
	if p.stopped() == nil {
		_, err := w.Write(b)
		p.fail(err)
	}
	<-f.hashed
	p.frames.put(f)
}

func (p *pipeline) fail(err error) {
	if err != nil {
		p.stop(err)
	}
}

// compress sets f.out to the compressed frame.
func (f *frame) compress(ctx context.Context, encoders *pool[encoder]) error {
	e, err := encoders.take(ctx)
	if err != nil {
		return err
	}
	defer encoders.put(e)
	if most := len(f.in) + len(f.in)/64 + 64; cap(f.out) < most {
		f.out = make([]byte, 0, most) // lest it grows in steps that stay behind as garbage
	}
	f.out, err = e.encode(f.out[:0], f.in)
	return err
}

// room waits for a frame that can be filled and returns what is free in it, at least a byte. What is put there has to
// be given to Write, which then does not copy it.
func (p *pipeline) room() ([]byte, error) {
	if p.current == nil {
		f, err := p.take()
		if err != nil {
			return nil, err
		}
		f.in = f.in[:0]
		p.current = f
	}
	in := p.current.in
	return in[len(in):cap(in)], nil
}

// Write takes b over; an error of a frame before may show here or at Close.
func (p *pipeline) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		room, err := p.room()
		if err != nil {
			return written, err
		}
		n := min(len(room), len(b)-written)
		if &room[0] != &b[written] {
			copy(room, b[written:])
		}
		written += n
		f := p.current
		f.in = f.in[:len(f.in)+n]
		if len(f.in) == cap(f.in) {
			p.send()
		}
	}
	return written, nil
}

// send passes the current frame on. It does not wait: the channels hold as many frames as there are.
func (p *pipeline) send() {
	f := p.current
	p.current = nil
	p.hashing <- f
	p.writing <- f
	if p.compress != nil {
		p.workers.Go(func() {
			p.compress(f)
			f.compressed <- struct{}{}
		})
	}
}

// Close writes what is left, waits for all frames and returns the first error of any. It must be called once, after
// an error too.
func (p *pipeline) Close() error {
	if f := p.current; f != nil && (len(f.in) == 0 || p.stopped() != nil) {
		p.frames.put(f)
	} else if f != nil {
		p.send()
	}
	p.current = nil
	close(p.hashing)
	close(p.writing)
	p.workers.Wait()
	err := p.stopped()
	p.stop(nil)
	return err
}
