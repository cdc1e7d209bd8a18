package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest zstd window, in bytes, that is read: what the zstd command reads unless told otherwise.
const maxWindow = 128 << 20

// The first bytes of what a layer may be or is taken for.
const (
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
	xzMagic   = "\xfd7zXZ\x00"
	bzipMagic = "BZh"
	bzipBlock = "1AY&SY" // follows bzipMagic and a digit
	// The second to fourth byte of a zstd frame that carries no content (RFC 8878, section 3.1.2); the first is 0x50 to 0x5f.
	zstdSkip = "\x2a\x4d\x18"
)

// Decompress returns the archive that r holds, whether compressed as zstd or gzip or plain, as its first bytes say.
// Bytes after the end of a compressed stream that do not start another one are an error, and so is a stream that
// ends early, and one that unpacks to more than 8 GiB and a thousand times its size. Close frees the decoder; it does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	count := &density{}
	br := bufio.NewReaderSize(count.in(r), 64<<10)
	head, err := br.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case hasPrefix(head, zstdMagic), len(head) >= 4 && head[0]&0xf0 == 0x50 && hasPrefix(head[1:], zstdSkip):
		// Decoding ahead in goroutines was not faster and took more memory.
		d, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("read zstd layer: %w", err)
		}
		return &decompressor{"zstd", d, d.IOReadCloser(), count}, nil
	case hasPrefix(head, gzipMagic):
		d, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip layer: %w", err)
		}
		return &decompressor{"gzip", d, d, count}, nil
	case hasPrefix(head, xzMagic), hasPrefix(head, bzipMagic) && len(head) >= 10 && string(head[4:]) == bzipBlock:
		return nil, errors.New("read layer: it is compressed with xz or bzip2, which no image may be: compress it with zstd or gzip")
	default:
		return io.NopCloser(br), nil
	}
}

func hasPrefix(b []byte, magic string) bool { return bytes.HasPrefix(b, []byte(magic)) }

// decompressor names the compression in the errors of its reader, and ends a bomb.
type decompressor struct {
	name string
	r    io.Reader
	io.Closer
	count *density
}

func (d *decompressor) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if dense := d.count.out(n); dense != nil {
		err = dense
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", d.name, err)
	}
	return n, err
}
