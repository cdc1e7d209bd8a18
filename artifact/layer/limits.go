package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// What a layer may hold unless ExtractOptions says otherwise.
const (
	defaultMaxEntries = 2_000_000
	defaultMaxBytes   = 128 << 30
)

// Bounds of what an archive may cost to read. Nothing that images are made of comes near them.
const (
	// maxName is the length in bytes from which on no name is written or extracted: Linux knows no longer path.
	maxName = 4096
	// maxDepth is the number of directories that a name may lie in. What walks a tree holds each of them open.
	maxDepth = 255
	// maxNames is the size in bytes of the names that are held until an archive ends.
	maxNames = 256 << 20
	// maxDense is the number of bytes from which on an archive has to be more than a maxRatio-th of that when it is
	// compressed. The worst that gzip can do is 1032; 32768 is possible with zstd.
	maxDense = 8 << 30
	maxRatio = 1000
)

// ErrLimit is wrapped by the errors about a layer that is larger than ExtractOptions allows.
var ErrLimit = errors.New("larger than allowed")

// Spent is what was extracted: a caller that extracts several layers into one directory has them share the limits.
type Spent struct {
	// Entries is the number of entries, Bytes the size of all files together.
	Entries, Bytes int64
}

// entry counts an entry.
func (s *Spent) entry(limit int64) error {
	if s.Entries++; s.Entries > limit {
		return fmt.Errorf("%w: more than %d files and directories", ErrLimit, limit)
	}
	return nil
}

// file counts the content of a file.
func (s *Spent) file(size, limit int64) error {
	if size > limit-s.Bytes {
		return fmt.Errorf("%w: the files are more than %d bytes together", ErrLimit, limit)
	}
	s.Bytes += size
	return nil
}

// nameBytes counts the bytes of names that are held in memory.
type nameBytes int

func (n *nameBytes) add(list ...string) error {
	for _, name := range list {
		*n += nameBytes(len(name))
	}
	if *n > maxNames {
		return fmt.Errorf("the names are too long: more than %d bytes together", maxNames)
	}
	return nil
}

// tooDense says whether an archive of so many bytes has so few when it is compressed that only a bomb would.
func tooDense(plain, packed int64) bool { return plain > maxDense && plain/maxRatio > packed }

// density is a reader of what is compressed, and one of what it unpacks to that ends when that is too much.
type density struct {
	packed, plain int64
}

// in counts what is read of r, the compressed stream.
func (d *density) in(r io.Reader) io.Reader { return packedReader{r, &d.packed} }

// out counts p more bytes of what that unpacks to.
func (d *density) out(n int) error {
	if d.plain += int64(n); tooDense(d.plain, d.packed) {
		return fmt.Errorf("%d bytes unpack to more than %d times as many: this is no layer but a bomb (a layer without compression may hold such files)", d.packed, maxRatio)
	}
	return nil
}

type packedReader struct {
	r io.Reader
	n *int64
}

func (c packedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// isSparse says whether the content has holes that the archive leaves out (GNU tar manual, "Storing Sparse Files").
func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// hole writes a file with holes where the content is zero: an archive of a few bytes may claim that much of it.
type hole struct {
	f interface {
		io.Writer
		io.Seeker
	}
	size int64
}

// Write implements io.Writer. The last bytes may be a hole: the caller sets the file's size in the end.
func (h *hole) Write(p []byte) (int, error) {
	h.size += int64(len(p))
	if !isZero(p) {
		return h.f.Write(p)
	}
	_, err := h.f.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

// isZero says whether p has nothing but zeros.
func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeroBlock))
		if string(p[:n]) != zeroBlock[:n] {
			return false
		}
		p = p[n:]
	}
	return true
}

// zeroBlock is what isZero compares with.
var zeroBlock = strings.Repeat("\x00", 4<<10) //nolint:gochecknoglobals // nothing changes it
