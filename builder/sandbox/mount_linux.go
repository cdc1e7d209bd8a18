package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay is an overlay mount in the making. Its directories are named through short links in one directory, so
// that many lowers fit into the one page of options that the kernel reads, whatever characters their paths have.
type overlay struct {
	links  string
	lowers int
	top    bool // there is one more, above them
}

// newTree prepares the overlay of the tree.
func newTree(req request) (*overlay, error) {
	return newOverlay(filepath.Join(req.Work, "tree"), req.Upper, req.Lowers...)
}

// newOverlay prepares an overlay whose links and kernel work directory lie in the new directory dir.
func newOverlay(dir, upper string, lowers ...string) (*overlay, error) {
	work := filepath.Join(dir, "work")
	empty := filepath.Join(dir, "empty")
	bottom := filepath.Join(dir, "bottom")
	o := &overlay{links: filepath.Join(dir, "l")}
	for _, d := range []string{work, empty, bottom, o.links} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(o.link(upper, "u"), o.link(work, "w"), o.link(bottom, "b")); err != nil {
		return nil, err
	}
	if len(lowers) == 0 {
		lowers = []string{empty} // the kernel wants one
	}
	for _, lower := range lowers {
		if err := o.addLower(lower); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *overlay) link(target, name string) error {
	return os.Symlink(target, filepath.Join(o.links, name))
}

// addLower puts dir below the lowers that are there.
func (o *overlay) addLower(dir string) error {
	if err := o.link(dir, strconv.Itoa(o.lowers)); err != nil {
		return err
	}
	o.lowers++
	return nil
}

// setTop puts dir above the lowers that are there, and those to come.
func (o *overlay) setTop(dir string) error {
	o.top = true
	return o.link(dir, "t")
}

// lowerdir is the mount option that names the lowers, top first.
func (o *overlay) lowerdir() string {
	names := make([]string, o.lowers)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	if o.top {
		names = append([]string{"t"}, names...)
	}
	return "lowerdir=" + strings.Join(names, ":")
}

// mount mounts the overlay at target, where it takes changes. Device files of a layer are no devices there.
func (o *overlay) mount(target string) error {
	options := o.lowerdir() + ",upperdir=u,workdir=w"
	if initialUserNamespace() {
		options += ",redirect_dir=nofollow,index=off,metacopy=off" // whole files and directories in upper
	}
	flags := uintptr(unix.MS_NODEV | unix.MS_NOSUID)
	err := o.mountWith(target, flags, options+",volatile") // upper is read back at once: nothing to sync
	if errors.Is(err, unix.EINVAL) {                       // before Linux 5.10
		err = o.mountWith(target, flags, options)
	}
	return err
}

// mountLowers mounts what is there before the command runs at target, read-only.
func (o *overlay) mountLowers(target string) error {
	return o.mountWith(target, unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID, o.lowerdir()+":b") // b: without an upper there must be two
}

func (o *overlay) mountWith(target string, flags uintptr, options string) error {
	if !initialUserNamespace() {
		options += ",userxattr"
	}
	if err := os.Chdir(o.links); err != nil {
		return err
	}
	if err := unix.Mount("overlay", target, "overlay", flags, options); err != nil {
		return fmt.Errorf("mount an overlay of %d layers: %w", o.lowers, err)
	}
	return os.Chdir("/")
}

// initialUserNamespace says whether trusted.* attributes, with which overlay marks directories, can be had.
func initialUserNamespace() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && slices.Equal(strings.Fields(string(ids)), []string{"0", "0", "4294967295"})
}

func mountTmpfs(target, options string, flags uintptr) error {
	if err := unix.Mount("tmpfs", target, "tmpfs", flags, options); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", filepath.Base(target), err)
	}
	return nil
}

// bind mounts source, without what is mounted below it, at target.
func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	return nil
}

// bindReadOnly mounts source with everything below it at target, read-only. Neither devices nor set-user-id programs work
// there, whatever is mounted below it on the machine.
func bindReadOnly(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("make %s read-only (Linux 5.12 or newer): %w", source, err)
	}
	return nil
}
