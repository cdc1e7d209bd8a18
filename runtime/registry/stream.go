package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// stream reads a blob from the masters. When one ends, another one goes on at
// that byte. Read from its start, the blob's last bytes are returned only when
// all of it has the digest.
type stream struct {
	ctx  context.Context
	p    *peers
	want wanted
	d    v1.Descriptor
	at   int64     // of the next byte
	hash hash.Hash // nil when the beginning was not read

	body   io.ReadCloser // nil when nobody sends
	cancel context.CancelFunc
	master string   // who sends
	by     []string // who sent some of it
}

func newStream(ctx context.Context, p *peers, w wanted, d v1.Descriptor, offset int64) *stream {
	s := &stream{ctx: ctx, p: p, want: w, d: d, at: offset}
	if offset == 0 {
		s.hash = sha256.New()
	}
	return s
}

// Read implements io.Reader.
func (s *stream) Read(buf []byte) (int, error) {
	if s.at >= s.d.Size {
		return 0, io.EOF
	}
	var n int
	err := s.p.patiently(s.ctx, func() (err error) {
		n, err = s.some(buf[:min(int64(len(buf)), s.d.Size-s.at)])
		return err
	})
	if err != nil {
		return 0, err
	}
	s.at += int64(n)
	if s.hash == nil {
		return n, nil
	}
	s.hash.Write(buf[:n])
	if s.at < s.d.Size {
		return n, nil
	}
	if got := hex.EncodeToString(s.hash.Sum(nil)); got != s.d.Digest.Hex {
		s.p.masters.lied(s.d.Digest.String(), s.by...)
		return 0, fmt.Errorf("blob %s: what %v sent has digest sha256:%s: %w", s.d.Digest, s.by, got, layout.ErrDamaged)
	}
	return n, nil
}

// some reads at least one byte from one of the masters.
func (s *stream) some(buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	tries, err := s.p.masters.read()
	if err != nil {
		return 0, err
	}
	var trouble error
	for range len(tries) + 1 {
		if s.body == nil {
			if err := s.open(); err != nil {
				return 0, err
			}
		}
		stalled := time.AfterFunc(s.p.patience.stall, s.cancel)
		n, err := s.body.Read(buf)
		stalled.Stop()
		if n > 0 {
			return n, nil
		}
		if s.ctx.Err() != nil {
			return 0, context.Cause(s.ctx)
		}
		if err == nil {
			continue
		}
		trouble = fmt.Errorf("master %s: %w", s.master, noEOF(err))
		s.p.masters.died(s.master)
		s.drop()
	}
	return 0, fmt.Errorf("blob %s from byte %d on: %w: %w", s.d.Digest, s.at, errSilent, trouble)
}

// noEOF is the error of a body that ended before its time.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// open finds a master that sends from the next byte on.
func (s *stream) open() error {
	ctx, cancel := context.WithCancel(s.ctx)
	resp, master, err := s.p.ask(ctx, http.MethodGet, s.want, s.at) //nolint:bodyclose // drop closes it
	if err != nil {
		cancel()
		if s.at > 0 && errors.Is(err, artifact.ErrNotFound) { // who had it comes back
			err = fmt.Errorf("%w: %w", errSilent, err)
		}
		return err
	}
	s.body, s.cancel, s.master = resp.Body, cancel, master
	if len(s.by) == 0 || s.by[len(s.by)-1] != master {
		s.by = append(s.by, master)
	}
	return nil
}

func (s *stream) drop() {
	if s.body != nil {
		s.cancel()
		s.body.Close()
		s.body = nil
	}
}

// Close implements io.Closer.
func (s *stream) Close() error {
	s.drop()
	return nil
}
