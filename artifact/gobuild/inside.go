package gobuild

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Limits of what is read of an archive inside.
const (
	maxWindow   = 32 << 20 // of its compression, which is kept in memory
	maxInside   = 4 << 30  // bytes that it unpacks to
	leastOfCode = 1 << 16  // bytes; smaller files are no programs of Go
)

// archive looks into the archive that the window begins with, if it is one:
// programs that unpack such archives have the same bytes in them.
func (s *scanner) archive(seen []byte) error {
	if !isArchive(seen) {
		_, err := s.r.Discard(len(zstdMagic))
		return err
	}
	d, err := decoder(s.r)
	if err != nil {
		return fmt.Errorf("an archive inside: %w", err)
	}
	defer d.Close()
	for t := tar.NewReader(io.LimitReader(d, maxInside)); ; {
		hdr, err := t.Next()
		if errors.Is(err, io.EOF) {
			return errDone // the decoder has read on, to where nobody knows
		}
		if err != nil {
			return fmt.Errorf("an archive inside: %w", err)
		}
		if hdr.Typeflag != tar.TypeReg || hdr.Size < leastOfCode {
			continue
		}
		program := &scanner{r: bufio.NewReaderSize(t, window), found: s.found}
		if err := program.scan(); err != nil {
			return wrap(hdr.Name, err)
		}
	}
}

// isArchive reports whether bytes begin an archive.
func isArchive(b []byte) bool {
	d, err := decoder(bytes.NewReader(b))
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = tar.NewReader(d).Next()
	return err == nil
}

func decoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}
