package layer

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/ulikunitz/xz"
)

// tarBlock is the size of a header in a tar archive (POSIX.1-2017, pax, "ustar Interchange Format").
const tarBlock = 512

// maxSpool is the largest size, in bytes, of an archive that is unpacked into a file.
const maxSpool = defaultMaxBytes

// FromArchive lists the tree in an archive, in the order of Compare. What the archive is tells its content alone: tar, plain
// or compressed with gzip, bzip2, xz or zstd. isArchive is false for anything else, and for compressed files that hold no
// tar archive.
//
// A plain archive that open returns as a file, or as something that can be read at any place and knows its size, is read
// in place; others are unpacked once, into a file without a name in dir. The entries can be opened until closeAll, which must be called in any case, and not afterwards. Names are clean, no
// two are the same, and none is a whiteout or leads out of the tree; modes and owners are those of the archive, and
// parents may be missing. Hard links are files of their own. Devices and named pipes are an error.
func FromArchive(ctx context.Context, dir string, open func() (io.ReadCloser, error)) (entries []Entry, isArchive bool, closeAll func() error, err error) {
	r, err := open()
	if err != nil {
		return nil, false, nothing, err
	}
	a := &archiveFile{file: r}
	defer func() {
		if err != nil || !isArchive {
			closeAll = nothing
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.prepare(ctx, dir, r); err != nil || a.at == nil {
		return nil, false, nil, err
	}
	if entries, err = a.list(ctx); err != nil {
		return nil, false, nil, fmt.Errorf("read the archive: %w", err)
	}
	return entries, true, a.Close, nil
}

func nothing() error { return nil }

// archiveFile is a tar archive that can be read at any place.
type archiveFile struct {
	file io.Closer
	at   io.ReaderAt // nil until it is known to be an archive
	size int64
	// unchanged is an error when the file is another than the one that was listed.
	unchanged func() error
}

// Close gives up the file.
func (a *archiveFile) Close() error { return a.file.Close() }

// prepare finds out what the file is, and if it is an archive makes it readable at any place.
func (a *archiveFile) prepare(ctx context.Context, dir string, r io.ReadCloser) error {
	source := &sourceReader{ctx: ctx, r: r}
	packed := bufio.NewReaderSize(source, 64<<10)
	head, err := packed.Peek(tarBlock)
	if source.err != nil {
		return source.err
	}
	switch r := r.(type) {
	case *os.File:
		if isTarHeader(head) {
			return a.inPlace(r)
		}
	case sizedReaderAt:
		if isTarHeader(head) {
			a.at, a.size, a.unchanged = r, r.Size(), nothing
			return nil
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	plain, err := unpack(packed)
	if err != nil {
		return source.err // what looks compressed and is not is a file like any other
	}
	defer plain.Close()
	unpacked := bufio.NewReaderSize(plain, 64<<10)
	head, err = unpacked.Peek(tarBlock)
	switch {
	case source.err != nil:
		return source.err
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("unpack the archive: %w: compress it anew", err)
	case !isTarHeader(head):
		return nil
	}
	return a.spool(ctx, dir, unpacked)
}

// sizedReaderAt is a part of a file, as io.SectionReader is.
type sizedReaderAt interface {
	io.ReaderAt
	Size() int64
}

// inPlace reads an archive where it lies.
func (a *archiveFile) inPlace(f *os.File) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", f.Name())
	}
	a.at, a.size = f, before.Size()
	a.unchanged = func() error {
		now, err := f.Stat()
		if err == nil && (now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())) {
			err = fmt.Errorf("%s changed while it was read: try again", f.Name())
		}
		return err
	}
	return nil
}

// spool writes the archive to a file in dir that has no name any more, and lets go of the source.
func (a *archiveFile) spool(ctx context.Context, dir string, r io.Reader) error {
	f, err := os.CreateTemp(dir, "unarchive-")
	if err != nil {
		return fmt.Errorf("unpack the archive: %w", err)
	}
	source := a.file
	defer source.Close()
	a.file = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("unpack the archive: %w", err)
	}
	// The context is asked again here, since a few bytes may unpack to very many.
	a.size, err = io.CopyBuffer(writerOnly{f}, io.LimitReader(&sourceReader{ctx: ctx, r: r}, maxSpool+1), make([]byte, copySize))
	switch {
	case err == nil && a.size > maxSpool:
		return fmt.Errorf("unpack the archive: %w: more than %d bytes: split it", ErrLimit, int64(maxSpool))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("unpack the archive: %w: free space, or choose another place with --root", err)
	case err != nil:
		return fmt.Errorf("unpack the archive: %w", err)
	}
	a.at, a.unchanged = f, nothing
	return nil
}

// unpack returns what r holds, uncompressed, as its first bytes say. Closing the result does not close r.
func unpack(r *bufio.Reader) (io.ReadCloser, error) {
	head, _ := r.Peek(10)
	count := &density{}
	switch {
	case hasPrefix(head, xzMagic):
		x, err := xz.NewReader(bufio.NewReader(count.in(r)))
		if err != nil {
			return nil, err
		}
		return &decompressor{"xz", x, io.NopCloser(x), count}, nil
	case hasPrefix(head, bzipMagic) && len(head) == 10 && string(head[4:]) == bzipBlock:
		b := bzip2.NewReader(bufio.NewReader(count.in(r)))
		return &decompressor{"bzip2", b, io.NopCloser(b), count}, nil
	default:
		return Decompress(r)
	}
}

// isTarHeader says whether a block begins a tar archive: its checksum is right. That of other files never is.
func isTarHeader(block []byte) bool {
	if len(block) < tarBlock || block[0] == 0 { // an archive of nothing is a file of zeros
		return false
	}
	want, err := strconv.ParseInt(strings.Trim(string(block[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	var sum, signed int64 // old archives have sums of signed bytes
	for i, b := range block[:tarBlock] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
		signed += int64(int8(b))
	}
	return want == sum || want == signed
}

// sourceReader ends with its context, and remembers why reading failed. It lives for one archive.
type sourceReader struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// open returns the content of one entry.
func (a *archiveFile) open(off, size int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		if err := a.unchanged(); err != nil {
			return nil, err
		}
		return io.NopCloser(io.NewSectionReader(a.at, off, size)), nil
	}
}

// openSparse returns the content of an entry with holes, which does not lie there in one piece: the archive is read
// from an entry before it on.
func (a *archiveFile) openSparse(from int64, skip int) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		if err := a.unchanged(); err != nil {
			return nil, err
		}
		tr := tar.NewReader(io.NewSectionReader(a.at, from, a.size-from))
		for range skip + 1 {
			if _, err := tr.Next(); err != nil {
				return nil, fmt.Errorf("read the archive: %w", err)
			}
		}
		return io.NopCloser(tr), nil
	}
}
