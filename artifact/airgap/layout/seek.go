package layout

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// nearby is the number of bytes that are rather read than passed over by asking
// the source again, which may cost a request.
const nearby = 64 << 10

// Seeker reads a blob of a source at any place. It lives for one reading, as its
// context does.
type Seeker struct {
	open func(offset int64) (io.ReadCloser, error)
	size int64
	pos  int64 // where the next Read begins
	r    io.ReadCloser
	rpos int64  // where r stands
	head []byte // the first bytes, once peek has read them
}

// NewSeeker returns a Seeker of d; nothing is opened before the first Read.
func NewSeeker(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) *Seeker {
	return &Seeker{size: d.Size, open: func(offset int64) (io.ReadCloser, error) { return src.Open(ctx, ref, d, offset) }}
}

// Seek implements io.Seeker.
func (s *Seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the blob")
	}
	s.pos = offset
	return offset, nil
}

// peek returns up to n bytes from the start of the blob. Reading them again asks
// for nothing.
func (s *Seeker) peek(n int) ([]byte, error) {
	head := make([]byte, n)
	got, err := io.ReadFull(s, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s.head, s.pos = head[:got], 0
	return s.head, nil
}

// Read implements io.Reader.
func (s *Seeker) Read(p []byte) (int, error) {
	if s.pos >= s.size {
		return 0, io.EOF
	}
	if s.pos < int64(len(s.head)) {
		n := copy(p, s.head[s.pos:])
		s.pos += int64(n)
		return n, nil
	}
	if err := s.move(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.size-s.pos)])
	s.pos += int64(n)
	s.rpos = s.pos
	return n, err
}

// move has r stand at pos.
func (s *Seeker) move() error {
	if s.r != nil && s.rpos == s.pos {
		return nil
	}
	if f, ok := s.r.(io.Seeker); ok {
		if _, err := f.Seek(s.pos-s.rpos, io.SeekCurrent); err != nil {
			return err
		}
		s.rpos = s.pos
		return nil
	}
	if ahead := s.pos - s.rpos; s.r != nil && ahead > 0 && ahead <= nearby {
		_, err := io.CopyN(io.Discard, s.r, ahead)
		s.rpos = s.pos
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	r, err := s.open(s.pos)
	if err != nil {
		return err
	}
	s.r, s.rpos = r, s.pos
	return nil
}

// Close gives up what is open. The Seeker can be read on afterwards.
func (s *Seeker) Close() error {
	if s.r == nil {
		return nil
	}
	r := s.r
	s.r = nil
	return r.Close()
}
