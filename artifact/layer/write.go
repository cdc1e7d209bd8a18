package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// copySize is the number of bytes that are read from or written to a file at once.
const copySize = 256 << 10

// Options says how a layer is written. The zero value is good.
type Options struct {
	// Compression of the archive.
	Compression Compression
	// Created is the modification time of every entry, cut to seconds; the zero time stands for the Unix epoch.
	Created time.Time
	// Jobs is the number of goroutines that compress zstd; 0 is GOMAXPROCS. It does not change the result.
	// Each takes about 16 MiB.
	Jobs int
	// Buffers may be shared by layers; nil means that the layer has its own. It does not change the result.
	Buffers *Buffers
}

// Write writes entries to w as one layer, in a single pass, and returns the digests and the size of what it wrote.
//
// The entries must be in the order of Compare and name nothing twice. Parents that are not listed are written as
// directories of mode 0755, owned by 0:0. An error that entries yields, or a file whose content is not exactly Size
// bytes long, ends the writing; so does ctx. What w got by then is no layer. Write does not close w.
func Write(ctx context.Context, w io.Writer, entries iter.Seq2[Entry, error], o Options) (Blob, error) {
	blob, err := write(ctx, w, entries, o)
	if err != nil {
		return Blob{}, fmt.Errorf("write layer: %w", err)
	}
	return blob, nil
}

func write(ctx context.Context, w io.Writer, entries iter.Seq2[Entry, error], o Options) (Blob, error) {
	out := &digester{w: w, hash: sha256.New()}
	diff := out
	var compressed io.WriteCloser
	if o.Compression != None {
		var err error
		if compressed, err = newCompressor(ctx, out, o); err != nil {
			return Blob{}, err
		}
		diff = &digester{w: compressed, hash: sha256.New()}
	}
	err := writeArchive(ctx, diff, entries, o.Created)
	if compressed != nil {
		// The compressor works behind our back: its own error is the cause of ours, and it has to end in any case.
		if closeErr := compressed.Close(); closeErr != nil {
			err = closeErr
		}
	}
	if err != nil {
		return Blob{}, err
	}
	return Blob{Digest: out.sum(), DiffID: diff.sum(), Size: out.size, MediaType: o.Compression.MediaType()}, nil
}

func writeArchive(ctx context.Context, w io.Writer, entries iter.Seq2[Entry, error], created time.Time) error {
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	buffered := bufio.NewWriterSize(w, copySize)
	a := &archive{tar: tar.NewWriter(buffered), created: created.Truncate(time.Second).UTC(), buf: make([]byte, copySize)}
	for e, err := range entries {
		if err != nil {
			return err
		}
		if err := a.add(ctx, e); err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// archive writes a tar archive whose bytes follow from the entries alone.
type archive struct {
	tar     *tar.Writer
	created time.Time
	buf     []byte
	last    string // the name of the entry written last
	lastDir bool
}

func (a *archive) add(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkEntry(e); err != nil {
		return err
	}
	if err := a.parents(ctx, e.Name); err != nil {
		return err
	}
	return a.write(ctx, e)
}

// parents writes the directories above name that are not written yet. The order of the entries guarantees that
// those written are the ones that hold the last entry, or are it.
func (a *archive) parents(ctx context.Context, name string) error {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		dir := name[:i]
		below, found := strings.CutPrefix(a.last, dir)
		if found && (below == "" && a.lastDir || strings.HasPrefix(below, "/")) {
			continue
		}
		if found && below == "" {
			return fmt.Errorf("its parent %q is not a directory", dir)
		}
		if err := a.write(ctx, Entry{Name: dir, Mode: fs.ModeDir | 0o755}); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) write(ctx context.Context, e Entry) error {
	switch order := Compare(a.last, e.Name); {
	case a.last == "" || order < 0:
	case order == 0:
		return errors.New("the name is listed twice")
	default:
		return fmt.Errorf("it comes after %q: sort the entries", a.last)
	}
	a.last, a.lastDir = e.Name, e.Mode.IsDir()
	if err := a.tar.WriteHeader(a.header(e)); err != nil {
		return err
	}
	if !e.Mode.IsRegular() || e.Open == nil {
		return nil
	}
	return a.content(ctx, e)
}

func (a *archive) header(e Entry) *tar.Header {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: e.Name, Mode: headerMode(e.Mode), Uid: e.UID, Gid: e.GID, ModTime: a.created}
	switch e.Mode.Type() {
	case fs.ModeDir:
		hdr.Typeflag, hdr.Name = tar.TypeDir, e.Name+"/"
	case fs.ModeSymlink:
		hdr.Typeflag, hdr.Linkname, hdr.Mode = tar.TypeSymlink, e.Linkname, 0o777
	default:
		hdr.Size = e.Size
	}
	return hdr
}

// content copies exactly e.Size bytes; a file that grew or shrank since it was listed is an error.
func (a *archive) content(ctx context.Context, e Entry) error {
	f, err := e.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	r := &contextReader{ctx, f}
	n, err := io.CopyBuffer(writerOnly{a.tar}, io.LimitReader(r, e.Size), a.buf)
	if err != nil {
		return err
	}
	if n < e.Size {
		return fmt.Errorf("the file changed while it was read: %d bytes instead of %d", n, e.Size)
	}
	switch _, err := io.ReadFull(r, a.buf[:1]); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("the file changed while it was read: more than %d bytes", e.Size)
	default:
		return err
	}
}

// checkEntry refuses what a layer cannot say, or what Extract would not take back.
func checkEntry(e Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if e.Name == "." {
		return errors.New("the root is no entry of its own")
	}
	if strings.HasPrefix(path.Base(e.Name), whiteoutPrefix) && (e.Mode != 0 || e.Open != nil || e.Size != 0) {
		return fmt.Errorf("names that start with %s are reserved for whiteouts: rename it", whiteoutPrefix)
	}
	if i := strings.Index("/"+e.Name, "/"+whiteoutPrefix); i >= 0 && strings.Contains(e.Name[i:], "/") {
		return fmt.Errorf("names that start with %s are reserved for whiteouts: rename it", whiteoutPrefix)
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
	case fs.ModeSymlink:
		if e.Linkname == "" {
			return errors.New("the symbolic link has no target")
		}
	case 0:
		if e.Size < 0 || e.Size > 0 && e.Open == nil {
			return fmt.Errorf("there is no content of %d bytes", e.Size)
		}
	default:
		return unsupported(e.Mode)
	}
	return nil
}

// unsupported is the error about a file of a type that images of ours do not hold.
func unsupported(mode fs.FileMode) error {
	kind := "file of an unknown type"
	switch {
	case mode&fs.ModeSocket != 0:
		kind = "socket"
	case mode&fs.ModeNamedPipe != 0:
		kind = "named pipe"
	case mode&fs.ModeDevice != 0:
		kind = "device"
	}
	return fmt.Errorf("a %s cannot go into a layer: remove or exclude it", kind)
}

// headerMode translates permissions and the three special bits to the numbers of tar.
func headerMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for _, b := range modeBits {
		if mode&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// fileMode translates the mode of a tar header to permissions and the three special bits.
func fileMode(bits int64) fs.FileMode {
	mode := fs.FileMode(bits) & fs.ModePerm
	for _, b := range modeBits {
		if bits&b.bit != 0 {
			mode |= b.mode
		}
	}
	return mode
}

var modeBits = []struct { //nolint:gochecknoglobals // a table that nothing changes
	mode fs.FileMode
	bit  int64
}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}

// digester counts and hashes what is written through it.
type digester struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func (d *digester) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	d.hash.Write(p[:n])
	d.size += int64(n)
	return n, err
}

func (d *digester) sum() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(d.hash.Sum(nil))}
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// writerOnly hides all methods but Write, so that io.CopyBuffer uses the buffer it is given.
type writerOnly struct{ io.Writer }
