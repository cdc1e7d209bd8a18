package layer

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
)

// The names by which a layer says that something of the layers below is gone (OCI image-spec, layer.md, "Whiteouts").
const (
	WhiteoutPrefix = ".wh."         // before the name of what is gone
	OpaqueWhiteout = ".wh..wh..opq" // in a directory of which nothing shows through from below
	// markerPrefix starts the names of which only the opaque marker has a meaning; old aufs left the others behind.
	markerPrefix = ".wh..wh."
)

// Entry is one file, directory, symbolic link or whiteout of a layer.
type Entry struct {
	// Name is the path inside the image: slash separated, relative, clean, without a trailing slash.
	Name string
	// Mode is the type (regular, fs.ModeDir or fs.ModeSymlink), the permissions, and the setuid, setgid and sticky bits.
	Mode fs.FileMode
	// Linkname is the target of a symbolic link, which may lead anywhere.
	Linkname string
	// UID and GID own the entry.
	UID, GID int
	// Size is the exact length in bytes of a regular file's content.
	Size int64
	// Open returns the content of a regular file; whoever calls it closes it. It may be nil when Size is 0.
	Open func() (io.ReadCloser, error)
	// Version identifies the content: two readings of Open give the same bytes when their versions are equal and not
	// empty. Write ignores it.
	Version string
}

// Whiteout returns the entry that deletes name, with all below it, from the layers below.
func Whiteout(name string) Entry {
	dir, base := path.Split(name)
	return Entry{Name: dir + WhiteoutPrefix + base}
}

// Opaque returns the entry that deletes everything in dir from the layers below, but not dir itself.
func Opaque(dir string) Entry {
	return Entry{Name: path.Join(dir, OpaqueWhiteout)}
}

// Compare orders two names as the entries of a layer are ordered: a directory before what is in it, that before
// the directory's next sibling, and the whiteouts of a directory before its other members (layer.md asks for that).
// It returns -1, 0 or +1.
func Compare(a, b string) int {
	for {
		headA, restA, moreA := strings.Cut(a, "/")
		headB, restB, moreB := strings.Cut(b, "/")
		if headA != headB {
			return compareBase(headA, headB)
		}
		if !moreA || !moreB {
			return cmp.Compare(len(restA), len(restB))
		}
		a, b = restA, restB
	}
}

func compareBase(a, b string) int {
	hideA, hideB := strings.HasPrefix(a, WhiteoutPrefix), strings.HasPrefix(b, WhiteoutPrefix)
	switch {
	case hideA == hideB:
		return strings.Compare(a, b)
	case hideA:
		return -1
	default:
		return 1
	}
}

// Sorted yields a copy of entries in the order of Compare, without any error.
func Sorted(entries []Entry) iter.Seq2[Entry, error] {
	sorted := slices.SortedStableFunc(slices.Values(entries), func(a, b Entry) int { return Compare(a.Name, b.Name) })
	return func(yield func(Entry, error) bool) {
		for _, e := range sorted {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// checkName says what is wrong with a name or hard link target inside an image, once it is clean.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	case strings.Count(name, "/") > maxDepth:
		return fmt.Errorf("the name lies in more than %d directories", maxDepth)
	case strings.Contains(name, "\x00"):
		return fmt.Errorf("the name contains a NUL byte")
	case !fs.ValidPath(strings.ToValidUTF8(name, "_")):
		return fmt.Errorf("the name is not a clean relative path")
	}
	return nil
}
