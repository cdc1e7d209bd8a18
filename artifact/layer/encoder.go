package layer

import (
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// encoder compresses pieces that stand for themselves: those of one archive, one behind the other, are the stream that
// decompresses to it. It serves one goroutine.
type encoder interface {
	// encode appends what src becomes to dst.
	encode(dst, src []byte) ([]byte, error)
}

// zstdEncoder makes frames (RFC 8878, section 3: a stream is any number of frames).
type zstdEncoder struct{ *zstd.Encoder }

// newZstdEncoder returns an encoder of about the level of "zstd -3". What is compressed already, as the blobs of
// container images are, needs no test of ours: the encoder finds nothing in it within a few probes and stores it at
// several GB/s, faster than it is hashed.
func newZstdEncoder() (encoder, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(chunkSize), zstd.WithEncoderCRC(true), zstd.WithLowerEncoderMem(true))
	return zstdEncoder{e}, err
}

func (z zstdEncoder) encode(dst, src []byte) ([]byte, error) { return z.EncodeAll(src, dst), nil }

// gzipEncoder makes members (RFC 1952, section 2.2: a file is any number of members).
type gzipEncoder struct{ *gzip.Writer }

func newGzipEncoder() (encoder, error) {
	w, err := gzip.NewWriterLevel(nil, gzip.DefaultCompression)
	return gzipEncoder{w}, err
}

func (g gzipEncoder) encode(dst, src []byte) ([]byte, error) {
	out := appender(dst)
	g.Reset(&out)
	if _, err := g.Write(src); err != nil {
		return nil, err
	}
	err := g.Close()
	return out, err
}

// appender is a slice that grows by what is written to it.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}
