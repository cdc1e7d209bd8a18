package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// list reads the headers of the archive, and no content.
func (a *archiveFile) list(ctx context.Context) ([]Entry, error) {
	section := io.NewSectionReader(a.at, 0, a.size)
	tr := tar.NewReader(section) // it passes over content by seeking
	l := archiveList{entries: map[string]Entry{}}
	var from int64 // where a header is known to begin
	skip := 0      // entries since
	skipped := 0   // sum of skip for all that is opened from there
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !(hdr != nil && errors.Is(err, tar.ErrInsecurePath)) {
			return nil, fmt.Errorf("it is damaged: %w", err)
		}
		if n == defaultMaxEntries { // a list of more takes too much memory
			return nil, fmt.Errorf("%w: more than %d entries: split it", ErrLimit, defaultMaxEntries)
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		content := a.open(at, hdr.Size)
		if isSparse(hdr) {
			if skipped += skip; skipped > maxSkipped {
				return nil, errors.New("it takes too long to reach its files with holes: make it without them (tar without --sparse)")
			}
			content = a.openSparse(from, skip)
		}
		if err := l.add(hdr, content); err != nil {
			return nil, fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
		skip++
		if hdr.Typeflag == tar.TypeReg && !isSparse(hdr) {
			from, skip = at+(hdr.Size+tarBlock-1)/tarBlock*tarBlock, 0
		}
	}
	sorted := slices.SortedFunc(maps.Keys(l.entries), Compare)
	entries := make([]Entry, len(sorted))
	for i, name := range sorted {
		entries[i] = l.entries[name]
	}
	return entries, l.checkParents(entries)
}

// What an archive may make a reader do that does not go by its size.
const (
	maxSkipped  = 50_000_000 // entries passed over to open the files with holes
	maxReplaced = 1000       // directories that something else replaces: all entries are looked at for each
)

// archiveList collects entries by name; the later of two wins.
type archiveList struct {
	entries  map[string]Entry
	held     nameBytes
	spent    Spent
	replaced int
}

func (l *archiveList) add(hdr *tar.Header, open func() (io.ReadCloser, error)) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil // "git archive" writes one: a comment
	}
	name, err := archiveName(hdr.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if hdr.Typeflag == tar.TypeDir {
			return nil // the destination is there, or is made like any other
		}
		return errors.New("the root of an archive is a directory")
	}
	e, err := l.entry(name, hdr, open)
	if err != nil {
		return err
	}
	if err := l.held.add(name, e.Linkname); err != nil {
		return err
	}
	if err := l.spent.file(e.Size, defaultMaxBytes); err != nil {
		return err
	}
	if have, ok := l.entries[name]; ok && have.Mode.IsDir() && !e.Mode.IsDir() {
		if l.replaced++; l.replaced > maxReplaced {
			return fmt.Errorf("more than %d directories are replaced by files: make the archive anew", maxReplaced)
		}
		maps.DeleteFunc(l.entries, func(other string, _ Entry) bool { return strings.HasPrefix(other, name+"/") })
	}
	l.entries[name] = e
	return nil
}

func (l *archiveList) entry(name string, hdr *tar.Header, open func() (io.ReadCloser, error)) (Entry, error) {
	e := Entry{Name: name, Mode: fileMode(hdr.Mode), UID: hdr.Uid, GID: hdr.Gid}
	if err := checkOwner(hdr); err != nil {
		return e, err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		e.Mode |= fs.ModeDir
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		e.Size = hdr.Size
		if e.Size > 0 {
			e.Open = open
		}
	case tar.TypeSymlink:
		e.Mode, e.Linkname = fs.ModeSymlink|0o777, hdr.Linkname
		return e, checkLink(name, hdr.Linkname)
	case tar.TypeLink:
		return l.hardLink(name, hdr.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		return e, errors.New("it is a device, which no image may hold: make the archive without it (tar --exclude)")
	case tar.TypeFifo:
		return e, errors.New("it is a named pipe, which no image may hold: make the archive without it (tar --exclude)")
	default:
		return e, fmt.Errorf("entries of type %q are not known", hdr.Typeflag)
	}
	return e, nil
}

// hardLink returns an entry like the one that the link leads to, which comes before it in the archive.
func (l *archiveList) hardLink(name, target string) (Entry, error) {
	clean, err := archiveName(target)
	if err != nil {
		return Entry{}, fmt.Errorf("hard link to %q: %w", target, err)
	}
	e, ok := l.entries[clean]
	switch {
	case !ok:
		return Entry{}, fmt.Errorf("the hard link leads to %q, which is not before it in the archive", target)
	case e.Mode.IsDir():
		return Entry{}, fmt.Errorf("the hard link leads to %q, a directory", target)
	}
	e.Name = name
	if e.Mode&fs.ModeSymlink != 0 {
		return e, checkLink(name, e.Linkname)
	}
	return e, nil
}

// checkParents refuses entries below something that is no directory. Following links would put them elsewhere.
func (l *archiveList) checkParents(entries []Entry) error {
	for _, e := range entries {
		for dir := path.Dir(e.Name); dir != "."; dir = path.Dir(dir) {
			if have, ok := l.entries[dir]; ok && !have.Mode.IsDir() {
				return fmt.Errorf("entry %q: %q, in which it lies, is no directory there: make the archive anew", e.Name, dir)
			}
		}
	}
	return nil
}

// archiveName returns the clean name, relative to where the archive is unpacked. A slash in front is left out, as tar
// and docker do.
func archiveName(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errors.New("it leads out of the archive")
	}
	for part := range strings.SplitSeq(clean, "/") {
		if strings.HasPrefix(part, WhiteoutPrefix) {
			return "", fmt.Errorf("names that start with %s delete files in images: rename it", WhiteoutPrefix)
		}
	}
	return clean, checkName(clean)
}

// checkLink refuses symbolic links that climb out of the archive, as docker does. One with an absolute target stays in
// the image.
func checkLink(name, target string) error {
	if target == "" {
		return errors.New("the symbolic link has no target")
	}
	to := path.Join(path.Dir(name), target)
	if !path.IsAbs(target) && (to == ".." || strings.HasPrefix(to, "../")) {
		return fmt.Errorf("the symbolic link to %q leads out of the archive", target)
	}
	return nil
}
