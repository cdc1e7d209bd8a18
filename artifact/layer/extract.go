package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// capabilityRecord is the PAX record of the one extended attribute that is extracted.
const capabilityRecord = "SCHILY.xattr.security.capability"

// ExtractOptions bounds what Extract does. The zero value is good.
type ExtractOptions struct {
	// MaxEntries is the largest number of entries; 0 is two million.
	MaxEntries int64
	// MaxBytes is the largest size of all files together, in bytes; 0 is 128 GiB.
	MaxBytes int64
	// Spent counts towards the limits, and is counted up; nil is a new one.
	Spent *Spent
	// DropSetID leaves the setuid and setgid bits of files out. Without the owner that a layer declares, which only root
	// can set, they would lend the rights of whoever unpacks.
	DropSetID bool
}

// Extract applies the layer that r holds, compressed or not, on dir, which must exist and hold the layers below it
// (OCI image-spec, layer.md, "Applying Changesets"). Nothing outside of dir is read or changed, whatever r holds: a
// name, or the target of a hard link, that leads out of dir, also by way of symbolic links, is an error. Symbolic
// links themselves may lead anywhere. Devices and named pipes are an error.
//
// Modes and times are set as declared (not the times of symbolic links), owners and file capabilities only when the
// process is root; other extended attributes are left out. What is more than the options allow is an error that wraps
// ErrLimit. Nobody else may change dir meanwhile. After an error dir is
// in between and good for nothing. r is read to its end, but whether it is what it should be only a digest can tell.
func Extract(ctx context.Context, dir string, r io.Reader, o ExtractOptions) error {
	return apply(ctx, dir, r, o, nil)
}

func apply(ctx context.Context, dir string, r io.Reader, o ExtractOptions, over *overlayForm) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("extract layer: %w", err)
	}
	defer root.Close()
	x := &extractor{
		root: root, owner: os.Geteuid() == 0, buf: make([]byte, copySize), o: o,
		dirs: map[string]directory{}, seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(), over: over,
	}
	if x.o.MaxEntries <= 0 {
		x.o.MaxEntries = defaultMaxEntries
	}
	if x.o.MaxBytes <= 0 {
		x.o.MaxBytes = defaultMaxBytes
	}
	if x.o.Spent == nil {
		x.o.Spent = &Spent{}
	}
	defer x.leave()
	err = Walk(ctx, r, func(hdr *tar.Header, content io.Reader) error {
		if err := x.apply(hdr, content); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
		return nil
	})
	if err == nil && over != nil {
		err = x.hide()
	}
	if err == nil {
		err = x.finish()
	}
	if err != nil {
		return fmt.Errorf("extract layer: %w", err)
	}
	return nil
}

// extractor applies one layer on one directory.
type extractor struct {
	root  *os.Root
	owner bool // whether to set owners
	buf   []byte
	o     ExtractOptions

	// parent is the directory of the last entry, kept open since the next one is likely to lie in it too. What is
	// removed is always a member of parent, so that it is never stale.
	parent     *os.Root
	parentName string

	dirs    map[string]directory // what to set once nothing more goes into them
	held    nameBytes            // of dirs
	visited int64                // what whiteouts made look at

	seen map[uint64]struct{} // hashes of all names of this layer, which its whiteouts spare
	seed maphash.Seed

	over *overlayForm // nil: dir holds the layers below
}

// directory is what a directory gets in the end.
type directory struct {
	mode  fs.FileMode
	mtime time.Time // zero: as it is
}

func (x *extractor) apply(hdr *tar.Header, content io.Reader) error {
	if err := x.o.Spent.entry(x.o.MaxEntries); err != nil {
		return err
	}
	if ignored, err := marker(hdr.Name); ignored || err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeReg || hdr.Typeflag == tar.TypeGNUSparse || hdr.Typeflag == tar.TypeCont {
		if err := x.o.Spent.file(hdr.Size, x.o.MaxBytes); err != nil {
			return err
		}
	}
	return x.place(hdr, content)
}

// put puts an entry where it belongs.
func (x *extractor) put(hdr *tar.Header, content io.Reader) error {
	if strings.HasPrefix(path.Base(hdr.Name), WhiteoutPrefix) {
		return x.whiteout(hdr.Name)
	}
	if hdr.Name == "." {
		return x.directory(x.root, hdr)
	}
	parent, err := x.enter(path.Dir(hdr.Name))
	if err != nil {
		return err
	}
	x.see(hdr.Name)
	switch hdr.Typeflag {
	case tar.TypeDir:
		return x.directory(parent, hdr)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return x.file(parent, hdr, content)
	case tar.TypeSymlink:
		return x.symlink(parent, hdr)
	case tar.TypeLink:
		return x.link(parent, hdr)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return errors.New("devices and named pipes are not extracted: build the image without it")
	default:
		return fmt.Errorf("entries of type %q are not known", hdr.Typeflag)
	}
}

// directory makes a directory, or takes the one that is there. What is in it from the layers below stays.
func (x *extractor) directory(parent *os.Root, hdr *tar.Header) error {
	base, mode := path.Base(hdr.Name), fileMode(hdr.Mode)
	if hdr.Typeflag != tar.TypeDir {
		return errors.New("the root of an image is a directory")
	}
	err := parent.Mkdir(base, 0o700)
	if errors.Is(err, fs.ErrExist) || base == "." {
		info, statErr := parent.Lstat(base)
		switch {
		case statErr != nil:
			return statErr
		case info.IsDir():
			err = parent.Chmod(base, mode|0o700)
		default:
			err = replace(parent, base, func() error { return parent.Mkdir(base, 0o700) })
		}
	}
	if err != nil {
		return err
	}
	if err := x.remember(hdr.Name, directory{mode, hdr.ModTime}); err != nil {
		return err
	}
	x.over.stated(hdr.Name)
	return x.chown(parent, hdr)
}

func (x *extractor) file(parent *os.Root, hdr *tar.Header, content io.Reader) error {
	base := path.Base(hdr.Name)
	var f *os.File
	err := replace(parent, base, func() (err error) {
		f, err = parent.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = x.fill(f, hdr, content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return parent.Chtimes(base, hdr.ModTime, hdr.ModTime)
}

// fill writes a new file. The mode comes after the owner, and that before the capabilities: a change of owner clears both.
func (x *extractor) fill(f *os.File, hdr *tar.Header, content io.Reader) error {
	if err := x.content(f, hdr, content); err != nil {
		return err
	}
	if x.owner {
		if err := checkOwner(hdr); err != nil {
			return err
		}
		if err := f.Chown(hdr.Uid, hdr.Gid); err != nil {
			return err
		}
		if value, ok := hdr.PAXRecords[capabilityRecord]; ok {
			if err := setCapability(f, value); err != nil {
				return err
			}
		}
	}
	mode := fileMode(hdr.Mode)
	if x.o.DropSetID {
		mode &^= fs.ModeSetuid | fs.ModeSetgid
	}
	return f.Chmod(mode)
}

// content writes the content of a new file. Holes that the archive left out are holes in the file.
func (x *extractor) content(f *os.File, hdr *tar.Header, content io.Reader) error {
	if !isSparse(hdr) {
		_, err := io.CopyBuffer(writerOnly{f}, content, x.buf)
		return err
	}
	h := &hole{f: f}
	if _, err := io.CopyBuffer(writerOnly{h}, content, x.buf); err != nil {
		return err
	}
	return f.Truncate(h.size)
}

func (x *extractor) symlink(parent *os.Root, hdr *tar.Header) error {
	if hdr.Linkname == "" {
		return errors.New("the symbolic link has no target")
	}
	base := path.Base(hdr.Name)
	if err := replace(parent, base, func() error { return parent.Symlink(hdr.Linkname, base) }); err != nil {
		return err
	}
	return x.chown(parent, hdr)
}

func (x *extractor) link(parent *os.Root, hdr *tar.Header) error {
	target, err := cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link %q leaves the image", hdr.Linkname)
	}
	if target == hdr.Name {
		return errors.New("the hard link leads to itself")
	}
	err = replace(parent, path.Base(hdr.Name), func() error { return x.root.Link(target, hdr.Name) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("hard link %q leads to nothing", hdr.Linkname)
	default:
		return fmt.Errorf("hard link %q: %w", hdr.Linkname, x.explain(path.Dir(target), err))
	}
}

func (x *extractor) chown(parent *os.Root, hdr *tar.Header) error {
	if !x.owner {
		return nil
	}
	if err := checkOwner(hdr); err != nil {
		return err
	}
	return parent.Lchown(path.Base(hdr.Name), hdr.Uid, hdr.Gid)
}

// checkOwner refuses what the system would take for "leave it as it is", or cut.
func checkOwner(hdr *tar.Header) error {
	if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) >= math.MaxUint32 || int64(hdr.Gid) >= math.MaxUint32 {
		return fmt.Errorf("there is no owner %d:%d", hdr.Uid, hdr.Gid)
	}
	return nil
}

// replace runs create and, when something of that name is there, removes that and runs create again.
func replace(parent *os.Root, base string, create func() error) error {
	err := create()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := parent.RemoveAll(base); err != nil {
		return err
	}
	return create()
}

// remember notes what a directory gets in the end.
func (x *extractor) remember(name string, d directory) error {
	if _, ok := x.dirs[name]; !ok {
		if err := x.held.add(name); err != nil {
			return err
		}
	}
	x.dirs[name] = d
	return nil
}

// finish sets the modes and times of directories, the deepest first, now that nothing more goes into them.
func (x *extractor) finish() error {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(x.dirs))) {
		info, err := x.root.Lstat(name)
		if err == nil && !info.IsDir() || err != nil && x.replaced(name) {
			continue // by a later entry
		}
		if err != nil {
			return err
		}
		d := x.dirs[name]
		if err := x.root.Chmod(name, d.mode); err != nil {
			return err
		}
		if err := x.root.Chtimes(name, d.mtime, d.mtime); err != nil {
			return err
		}
	}
	return nil
}

// writerOnly hides all methods but Write, so that io.CopyBuffer uses the buffer it is given.
type writerOnly struct{ io.Writer }
