package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// attacher makes the mounts of a request, and puts them into a root before the command sees it.
type attacher struct {
	root   string
	work   string // scratch, gone with the request
	tree   uint64 // device of the tree, in which no mount point may be made
	memory string // a tmpfs for content, mounted when first needed
	staged int
	made   []made
}

// made is a mount that is attached nowhere yet.
type made struct {
	target string
	fd     int
	dir    bool // a directory, not a file
}

// makeMounts makes the mounts of req, and that of its script. They are closed with this process, which executes
// another soon.
func makeMounts(req request) (*attacher, error) {
	a := &attacher{work: filepath.Join(req.Work, "mounts")}
	mounts := req.Mounts
	if len(req.Script) > 0 {
		mounts = append(mounts, Mount{Target: ScriptFile, Content: req.Script, Mode: 0o555})
	}
	for _, m := range mounts {
		fd, err := a.make(m)
		if err != nil {
			return nil, told{fmt.Errorf("mount %s: %w", m.Target, err)}
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, err
		}
		a.made = append(a.made, made{m.Target, fd, st.Mode&unix.S_IFMT == unix.S_IFDIR})
	}
	return a, nil
}

// stubs are the mount points that the mounts need.
func (a *attacher) stubs() []stub {
	var needed []stub
	for _, m := range a.made {
		needed = append(needed, stub{m.target, m.dir})
	}
	return needed
}

// attach attaches all mounts in their order, so that one may lie in another. at is where the tree is in root.
func (a *attacher) attach(root, at string) error {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, at), &st); err != nil {
		return err
	}
	a.root, a.tree = root, st.Dev
	for _, m := range a.made {
		target, err := a.point(m.target, m.dir)
		if err == nil {
			err = unix.MoveMount(m.fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
			unix.Close(target)
		}
		if err != nil {
			return told{fmt.Errorf("mount %s: %w", m.target, err)}
		}
	}
	return nil
}

// make returns m as a mount that is attached nowhere yet.
func (a *attacher) make(m Mount) (fd int, err error) {
	switch {
	case m.Content != nil:
		return a.content(m)
	case m.Tmpfs:
		return a.tmpfs(m)
	case m.layered():
		return a.layers(m)
	}
	source, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: m.Source, Err: err}
	}
	defer unix.Close(source)
	if !m.ReadOnly && (m.UID != 0 || m.GID != 0) {
		if err := own(fmt.Sprintf("/proc/self/fd/%d", source), m); err != nil {
			return -1, err
		}
	}
	return detached(source, m, 0)
}

// layers mounts a tree of layers aside and returns the part of it that is wanted.
func (a *attacher) layers(m Mount) (fd int, err error) {
	dir, err := a.stage()
	if err != nil {
		return -1, err
	}
	upper := m.Upper
	if upper == "" {
		upper = filepath.Join(dir, "upper")
	}
	shown := filepath.Join(dir, "shown")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.Mkdir(shown, 0o755)); err != nil {
		return -1, err
	}
	links := filepath.Join(dir, "overlay")
	if m.Upper != "" {
		links = m.Work
	}
	o, err := newOverlay(links, upper, m.Lowers...)
	if err != nil {
		return -1, err
	}
	if m.ReadOnly && m.Upper == "" {
		err = o.mountLowers(shown)
	} else {
		err = o.mount(shown)
	}
	if err != nil {
		return -1, err
	}
	source, err := openIn(shown, path.Join("/", m.Source)[1:])
	if err != nil {
		return -1, fmt.Errorf("find %q in its layers: %w", m.Source, err)
	}
	defer unix.Close(source)
	return detached(source, m, 0)
}

func (a *attacher) tmpfs(m Mount) (fd int, err error) {
	dir, err := a.stage()
	if err != nil {
		return -1, err
	}
	mode := unixMode(m.Mode)
	if mode == 0 {
		mode = 0o1777
	}
	options := fmt.Sprintf("mode=%o", mode)
	if m.Size > 0 {
		options += ",size=" + strconv.FormatInt(m.Size, 10)
	}
	if err := mountTmpfs(dir, options, unix.MS_NOSUID|unix.MS_NODEV); err != nil {
		return -1, err
	}
	if err := own(dir, m); err != nil {
		return -1, err
	}
	return detachedPath(dir, m, 0)
}

// content makes a file in memory. What the kernel swaps out of it, where it may, is as safe as the rest of the memory.
func (a *attacher) content(m Mount) (fd int, err error) {
	if a.memory == "" {
		dir, err := a.stage()
		if err != nil {
			return -1, err
		}
		if mountTmpfs(dir, "mode=0700,noswap", unix.MS_NOSUID|unix.MS_NODEV) != nil { // Linux 6.4, as root
			if err := mountTmpfs(dir, "mode=0700", unix.MS_NOSUID|unix.MS_NODEV); err != nil {
				return -1, err
			}
		}
		a.memory = dir
	}
	a.staged++
	file := filepath.Join(a.memory, strconv.Itoa(a.staged))
	if err := os.WriteFile(file, m.Content, 0o600); err != nil {
		return -1, err
	}
	mode := m.Mode
	if mode == 0 {
		mode = 0o400
	}
	if err := own(file, m); err != nil {
		return -1, err
	}
	if err := os.Chmod(file, mode); err != nil {
		return -1, err
	}
	m.ReadOnly = true
	attr := uint64(unix.MOUNT_ATTR_NOEXEC)
	if m.Target == ScriptFile {
		attr = 0
	}
	return detachedPath(file, m, attr)
}

// stage returns a new directory to mount something at, unseen by the command.
func (a *attacher) stage() (string, error) {
	a.staged++
	dir := filepath.Join(a.work, strconv.Itoa(a.staged))
	return dir, os.MkdirAll(dir, 0o755)
}

// own makes the owner of m that of a file.
func own(file string, m Mount) error {
	if m.UID == 0 && m.GID == 0 {
		return nil
	}
	if err := mapped(m.UID, m.GID); err != nil {
		return err
	}
	return os.Chown(file, m.UID, m.GID)
}

func detachedPath(file string, m Mount, attr uint64) (fd int, err error) {
	source, err := unix.Open(file, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(source)
	return detached(source, m, attr)
}

// detached returns a new mount of what source refers to, attached nowhere, with the attributes attr and those of m.
func detached(source int, m Mount, attr uint64) (fd int, err error) {
	fd, err = unix.OpenTree(source, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, fmt.Errorf("clone the mount: %w", err)
	}
	attr |= unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	if m.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: attr}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set its attributes (Linux 5.12 or newer): %w", err)
	}
	return fd, nil
}

func unixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	return bits
}
