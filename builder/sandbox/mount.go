package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// Mount is something that a command sees besides its tree and keeps no trace of in it. It is one of four things: a
// file or directory of the machine (Source), a tree of layers (Lowers or Upper), an empty directory in memory (Tmpfs)
// or a file in memory (Content). All of them are without device files and without set-user-id programs.
//
// Links in the tree are followed inside the root that the command sees. What is missing on the way to Target is there
// while the command runs.
type Mount struct {
	Target   string // absolute, in the root that the command sees: a tree without a shell is at TreeDir there
	ReadOnly bool   // the machine's file or the tree of layers cannot be changed

	// Source is an absolute path of the machine. With Lowers or Upper it is a path in that tree instead; empty is its
	// root.
	Source string

	// Lowers are directories of layers, top first. Changes go to Upper, with Work beside it as in Config, and are
	// the caller's to throw away; without Upper they end with Config.Work.
	Lowers      []string
	Upper, Work string

	Tmpfs bool
	Size  int64 // bytes that Tmpfs holds at most; 0 is what the kernel allows, half of the memory

	Content []byte // not nil, but maybe empty; never written to a disk

	// Mode, UID and GID are those of the file or directory in memory; a Mode of 0 is 0400 for Content and 01777 for
	// Tmpfs. When they are not 0, UID and GID become the owner of a Source that can be written, too.
	Mode     fs.FileMode
	UID, GID int
}

// layered says that the mount is a tree of layers.
func (m Mount) layered() bool { return len(m.Lowers) > 0 || m.Upper != "" }

func (m Mount) check() error {
	kinds := 0
	for _, is := range []bool{m.layered() || m.Source != "", m.Tmpfs, m.Content != nil} {
		if is {
			kinds++
		}
	}
	switch target := path.Clean(m.Target); {
	case !path.IsAbs(m.Target):
		return fmt.Errorf("mount %q: the target is not absolute", m.Target)
	case reserved(target):
		return fmt.Errorf("mount %s: the sandbox needs this path itself: mount elsewhere", target)
	case kinds != 1:
		return fmt.Errorf("mount %s: need one of a source, layers, tmpfs or content", target)
	case m.Upper != "" && m.Work == "":
		return fmt.Errorf("mount %s: upper has no work directory", target)
	case m.Size < 0 || m.UID < 0 || m.GID < 0:
		return fmt.Errorf("mount %s: negative size or owner", target)
	}
	dirs := m.Lowers
	if m.Upper != "" {
		dirs = append([]string{m.Upper, m.Work}, dirs...)
	}
	if !m.layered() && m.Source != "" {
		dirs = []string{m.Source}
	}
	for _, dir := range dirs {
		if !path.IsAbs(dir) {
			return fmt.Errorf("mount %s: %q is not absolute", m.Target, dir)
		}
	}
	return nil
}

// reserved says that nothing may be mounted at a clean path, as the sandbox would no longer be one.
func reserved(target string) bool {
	for _, whole := range []string{"/proc", ScriptFile, CABundle} {
		if target == whole || len(target) > len(whole) && target[:len(whole)+1] == whole+"/" {
			return true
		}
	}
	return target == "/" || target == "/dev" || target == TreeDir
}

// errReserved is the answer to a link that leads a mount to a reserved path.
var errReserved = errors.New("a link leads to a path that the sandbox needs itself")
