package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sealrt/sealrt/artifact/disk"
)

// block is what headers take, and what contents are filled up to (POSIX pax, "ustar Interchange Format").
const block = 512

// trailer ends an archive.
const trailer = 2 * block

// entrySize returns the bytes that a file takes in an archive.
func entrySize(size int64) int64 { return block + padded(size) }

func padded(size int64) int64 { return (size + block - 1) / block * block }

// writer writes the entries of an archive. Between them it has written all it was given.
type writer struct {
	w     io.Writer
	n     int64    // bytes so far
	disk  *os.File // w, where it is a regular file that begins with the archive
	begun int64    // bytes that are on their way to the disk
}

func newWriter(w io.Writer) *writer {
	out := &writer{w: w}
	if f, ok := w.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Size() == 0 {
			out.disk = f
		}
	}
	return out
}

// writeback is how many bytes are written before they begin their way to the disk: what waits until all is synced at the
// end takes its time then.
const writeback = 8 << 20

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.n += int64(n)
	if w.disk != nil && w.n-w.begun >= writeback {
		disk.StartWriteback(w.disk, w.begun, w.n-w.begun)
		w.begun = w.n
	}
	return n, err
}

func (w *writer) write(b []byte) error {
	_, err := w.Write(b)
	return err
}

func (w *writer) header(h *tar.Header) error {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return err
	}
	return w.write(b.Bytes())
}

// dir writes the entry of a directory.
func (w *writer) dir(name string) error {
	return w.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
}

// bytes writes a small file.
func (w *writer) bytes(name string, b []byte) error {
	return w.file(name, int64(len(b)), func() error { return w.write(b) })
}

// file writes a file; content writes its size bytes.
func (w *writer) file(name string, size int64, content func() error) error {
	if err := w.header(fileHeader(name, size)); err != nil {
		return err
	}
	begin := w.n
	if err := content(); err != nil {
		return err
	}
	if n := w.n - begin; n != size {
		return fmt.Errorf("%s: %d bytes instead of %d", name, n, size)
	}
	return w.write(make([]byte, padded(size)-size))
}

// end writes the end of the archive.
func (w *writer) end() error { return w.write(make([]byte, trailer)) }

// fileHeader returns a header that takes one block whatever the size.
func fileHeader(name string, size int64) *tar.Header {
	const most = 1<<33 - 1 // the field of ustar has 11 octal digits
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if size > most {
		h.Format = tar.FormatGNU
	}
	return h
}
