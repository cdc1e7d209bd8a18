package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sealrt/sealrt/artifact/layer"
)

// dockerBlob is a config, a manifest, or a layer that may be compressed in the
// archive.
type dockerBlob struct {
	name  string // in the archive
	layer bool
	file  file
	size  int64 // of the uncompressed content, -1 until it is known
}

// measure returns the size of the uncompressed content.
func (b *dockerBlob) measure(ctx context.Context) (int64, error) {
	if b.size >= 0 {
		return b.size, nil
	}
	raw, err := b.file.open()
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	packed, err := compressed(raw)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", b.name, err)
	}
	if !packed {
		b.size = b.file.size
		return b.size, nil
	}
	r, err := b.open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{layer.UntilDone(ctx, r)}, make([]byte, 256<<10))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", b.name, err)
	}
	b.size = n
	return n, nil
}

// compressed reports whether layer.Decompress would do anything: a plain layer
// comes out of it as it went in, so its first bytes tell.
func compressed(r io.Reader) (bool, error) {
	var head [4]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	b := head[:n]
	return bytes.HasPrefix(b, []byte("\x1f\x8b")) || bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")) ||
		n == 4 && b[0]&0xf0 == 0x50 && bytes.HasPrefix(b[1:], []byte("\x2a\x4d\x18")) || // zstd may begin with a frame to be skipped
		bytes.HasPrefix(b, []byte("BZh")) || bytes.HasPrefix(b, []byte("\xfd7zX")), nil
}

// open returns the uncompressed content.
func (b *dockerBlob) open() (io.ReadCloser, error) {
	raw, err := b.file.open()
	if err != nil || !b.layer {
		return raw, err
	}
	r, err := layer.Decompress(raw)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", b.name, err), raw.Close())
	}
	return &readCloser{r, func() error { return errors.Join(r.Close(), raw.Close()) }}, nil
}

// readCloser closes what its reader reads from.
type readCloser struct {
	io.Reader
	close func() error
}

func (r *readCloser) Close() error { return r.close() }
