package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"
)

// archive writes a tar archive whose bytes follow from the entries alone.
type archive struct {
	out     *pipeline
	tar     *tar.Writer // to out
	created time.Time
	last    string // the name of the entry written last
	lastDir bool
	behind  [1]byte
}

// writeAll writes the whole archive, with its end.
func (a *archive) writeAll(ctx context.Context, entries iter.Seq2[Entry, error]) error {
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
	return a.tar.Close()
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
	for left := e.Size; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := a.read(f, left)
		left -= int64(n)
		switch {
		case left < 0:
			return fmt.Errorf("the file changed while it was read: more than %d bytes", e.Size)
		case errors.Is(err, io.EOF) && left == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the file changed while it was read: %d bytes instead of %d", e.Size-left, e.Size)
		case err != nil:
			return err
		}
	}
}

// read reads once and adds what it got to the archive, unless that is more than left, and returns how much it was.
// Content is read to where it is compressed from. Behind its end one more byte is asked for, to find that end.
func (a *archive) read(r io.Reader, left int64) (int, error) {
	if left == 0 {
		return r.Read(a.behind[:])
	}
	room, err := a.out.room()
	if err != nil {
		return 0, err
	}
	n, err := r.Read(room[:min(int64(len(room)), left)])
	if n > 0 {
		if _, err := a.tar.Write(room[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// checkEntry refuses what a layer cannot say, or what Extract would not take back.
func checkEntry(e Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if e.Name == "." {
		return errors.New("the root is no entry of its own")
	}
	if strings.HasPrefix(path.Base(e.Name), WhiteoutPrefix) && (e.Mode != 0 || e.Open != nil || e.Size != 0) {
		return fmt.Errorf("names that start with %s are reserved for whiteouts: rename it", WhiteoutPrefix)
	}
	if i := strings.Index("/"+e.Name, "/"+WhiteoutPrefix); i >= 0 && strings.Contains(e.Name[i:], "/") {
		return fmt.Errorf("names that start with %s are reserved for whiteouts: rename it", WhiteoutPrefix)
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
