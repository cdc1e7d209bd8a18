package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay is an overlay mount in the making (Linux Documentation/filesystems/overlayfs.rst).
type overlay struct {
	source      string
	lowers      []string // the top first
	upper, work string   // empty: read-only
}

// canMount says what is missing, if this process can mount no overlay, before work is done for it.
func canMount() error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EPERM):
		return ErrPermission
	case errors.Is(err, unix.ENODEV):
		return errors.New("this kernel has no overlay file system: load the module (modprobe overlay)")
	}
	return nil // an old kernel: the mount tells
}

// mount mounts the lowers at target, where nothing can be changed, and neither devices nor set-user-id programs work.
func (o *overlay) mount(target string) error {
	fd, err := o.detached(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID)
	if errors.Is(err, errOldKernel) {
		return o.mountOld(target)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return o.explain(unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// use calls do with the directory of a mount that takes changes and that nobody else sees. It is gone in the end, however
// that comes.
func (o *overlay) use(do func(dir string) error) error {
	fd, err := o.detached(unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID)
	if errors.Is(err, errOldKernel) {
		return errors.New("the layer writes through links of the layers below, and to mount such an image takes Linux 6.7 or newer")
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(procPath(fd))
}

// errOldKernel says that the kernel does not take lower directories one by one, which Linux 6.7 began with.
var errOldKernel = errors.New("old kernel")

// detached returns a descriptor of the mount, which is attached nowhere (fsopen(2), fsmount(2)).
func (o *overlay) detached(attributes int) (fd int, err error) {
	config, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) {
		return -1, errOldKernel
	}
	if err != nil {
		return -1, o.explain(err)
	}
	defer unix.Close(config)
	if err := unix.FsconfigSetString(config, "source", o.source); err != nil {
		return -1, o.explain(err)
	}
	done, err := o.configure(config)
	defer done()
	if err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(config); err != nil {
		return -1, o.explain(withLog(config, err))
	}
	fd, err = unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, attributes)
	return fd, o.explain(err)
}

// configure names the directories, as open files, since a value may have no more than 255 bytes. done closes them.
func (o *overlay) configure(config int) (done func(), err error) {
	var open []*os.File
	done = func() {
		for _, f := range open {
			f.Close()
		}
	}
	set := func(key, dir string) error {
		f, err := openDir(dir)
		if err != nil {
			return err
		}
		open = append(open, f)
		return unix.FsconfigSetString(config, key, procPath(int(f.Fd())))
	}
	for _, dir := range o.lowers {
		err := set("lowerdir+", dir)
		if errors.Is(err, unix.EINVAL) {
			return done, errOldKernel
		}
		if err != nil {
			return done, o.explain(err)
		}
	}
	if o.upper != "" {
		if err := errors.Join(set("upperdir", o.upper), set("workdir", o.work)); err != nil {
			return done, o.explain(err)
		}
	}
	if userNamespace() {
		return done, o.explain(unix.FsconfigSetFlag(config, "userxattr"))
	}
	for _, option := range []string{"redirect_dir=nofollow", "index=off", "metacopy=off"} { // whole files and directories in upper
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(config, key, value); err != nil {
			return done, o.explain(err)
		}
	}
	return done, nil
}

// mountOld is mount for older kernels, which take all options in one page of memory (mount(2)).
func (o *overlay) mountOld(target string) error {
	var names []string
	for _, dir := range o.lowers {
		f, err := openDir(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		names = append(names, procPath(int(f.Fd())))
	}
	options := "lowerdir=" + strings.Join(names, ":")
	if userNamespace() {
		options += ",userxattr"
	}
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("mount an overlay of %d directories: they are too many for this kernel: use Linux 6.7 or newer", len(o.lowers))
	}
	return o.explain(unix.Mount(o.source, target, "overlay", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID, options))
}

func (o *overlay) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	}
	return fmt.Errorf("mount an overlay of %d directories: %w", len(o.lowers), err)
}

// withLog adds what the kernel says to an error of fsconfig(2).
func withLog(config int, err error) error {
	buf := make([]byte, 1024)
	if n, readErr := unix.Read(config, buf); readErr == nil && n > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimPrefix(strings.TrimSpace(string(buf[:n])), "e "))
	}
	return err
}

func openDir(dir string) (*os.File, error) {
	return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// userNamespace says whether this process is in one of its own, where trusted.* attributes cannot be had.
func userNamespace() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(ids)), []string{"0", "0", "4294967295"})
}

// userMark ends the names of the layers that are unpacked here.
func userMark() string {
	if userNamespace() {
		return userSuffix
	}
	return ""
}

// unmount ends the mount at dir.
func unmount(dir string) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	switch {
	case errors.Is(err, unix.EBUSY):
		return errors.New("somebody is at work in it: leave the directory, end what has files of it open, and try again")
	case errors.Is(err, unix.EPERM):
		return ErrPermission
	}
	return err
}

func makeWhiteout(name string) error {
	if err := unix.Mknod(name, unix.S_IFCHR, 0); err != nil {
		return &fs.PathError{Op: "mknod", Path: name, Err: err}
	}
	return nil
}

// isOpaque says whether a directory of a layer hides what the layers below have in it.
func isOpaque(dir string) (bool, error) {
	name := "trusted.overlay.opaque"
	if userNamespace() {
		name = "user.overlay.opaque"
	}
	value := make([]byte, 8)
	n, err := unix.Lgetxattr(dir, name, value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "getxattr", Path: dir, Err: err}
	}
	return string(value[:n]) == "y", nil
}

// syncFileSystem makes all that lies where dir does safe on disk.
func syncFileSystem(dir string) error {
	f, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
