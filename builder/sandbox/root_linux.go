package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// buildRoot gives this mount namespace the root file system of the command and makes it /. inTree says that it is
// the tree itself, as that has a shell.
func buildRoot(req request) (inTree bool, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return false, fmt.Errorf("make mounts private: %w", err)
	}
	tree, err := newTree(req)
	if err != nil {
		return false, err
	}
	root := filepath.Join(req.Work, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return false, err
	}
	if err := tree.mountLowers(root); err != nil {
		return false, err
	}
	if inTree, err = hasShell(root); err != nil {
		return false, err
	}
	if err := unix.Unmount(root, 0); err != nil {
		return false, fmt.Errorf("unmount the tree: %w", err)
	}
	mounts, err := makeMounts(req)
	if err != nil {
		return false, err
	}
	fill, at := fillSandbox, TreeDir
	if inTree {
		fill, at = fillTree, "/"
	}
	if err := fill(root, tree, req, mounts.stubs()); err != nil {
		return false, err
	}
	if err := mounts.attach(root, at); err != nil {
		return false, err
	}
	return inTree, enterRoot(root)
}

// hasShell says whether /bin/sh exists in root, following symbolic links the way a process inside would.
func hasShell(root string) (bool, error) {
	fd, err := openIn(root, "bin/sh")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a shell in the tree: %w", err)
	}
	return true, unix.Close(fd)
}

// fillTree mounts a tree that has a shell at root, with /proc, /dev and name resolution, and the mount points needed.
func fillTree(root string, tree *overlay, req request, needed []stub) error {
	wanted := []stub{{"/dev", true}, {"/proc", true}, {"/etc/hosts", false}, {"/etc/resolv.conf", false}}
	if err := mountTree(root, "/", tree, req, append(wanted, needed...)); err != nil {
		return err
	}
	for _, dir := range wanted[:2] {
		if info, err := os.Lstat(filepath.Join(root, dir.target)); err != nil || !info.IsDir() {
			return told{fmt.Errorf("%s of the tree is not a directory: RUN in it is impossible", dir.target)} // nor may a link lead the mount outside
		}
	}
	if err := mountDev(root, req.CAFile); err != nil {
		return err
	}
	if err := coverNames(root, req); err != nil {
		return err
	}
	return mountProc(root)
}

// mountTree mounts the tree at root/at, with the mount points wanted.
func mountTree(root, at string, tree *overlay, req request, wanted []stub) error {
	target := filepath.Join(root, at)
	if err := tree.mountLowers(target); err != nil {
		return err
	}
	if err := plant(root, at, tree, req.Work, wanted); err != nil {
		return fmt.Errorf("make mount points: %w", err)
	}
	if err := unix.Unmount(target, 0); err != nil {
		return fmt.Errorf("unmount the tree: %w", err)
	}
	if err := os.Chmod(req.Upper, 0o755); err != nil { // its mode is that of the tree's root, which every user may enter
		return err
	}
	return tree.mount(target)
}

// coverNames mounts the builder's hosts and resolv.conf over those of the tree.
func coverNames(root string, req request) error {
	for _, name := range []string{"hosts", "resolv.conf"} {
		file := filepath.Join(req.Work, name)
		if err := copyName(file, name, req.HostLines); err != nil {
			return err
		}
		target, err := openIn(root, "etc/"+name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a tree whose /etc is no directory has no names
		}
		if err != nil {
			return fmt.Errorf("open /etc/%s of the tree: %w", name, err)
		}
		err = bind(file, fmt.Sprintf("/proc/self/fd/%d", target))
		unix.Close(target)
		if err != nil {
			return err
		}
	}
	return nil
}

// fillSandbox makes the build sandbox at root: the builder's tools, and the tree at /rootfs.
func fillSandbox(root string, tree *overlay, req request, needed []stub) error {
	if err := mountTmpfs(root, "mode=0755,size=64m", unix.MS_NOSUID|unix.MS_NODEV); err != nil {
		return err
	}
	tmp := filepath.Join(req.Work, "tmp")
	for _, dir := range []string{tmp, filepath.Join(root, "tmp"), filepath.Join(root, "dev"), filepath.Join(root, "proc"), filepath.Join(root, TreeDir)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := bind(tmp, filepath.Join(root, "tmp")); err != nil {
		return err
	}
	if err := showTools(root, req); err != nil {
		return err
	}
	if err := writeEtc(root, req.HostLines); err != nil {
		return err
	}
	if err := offerDirs(tree, req); err != nil {
		return err
	}
	if err := mountTree(root, TreeDir, tree, req, needed); err != nil {
		return err
	}
	if err := mountDev(root, req.CAFile); err != nil {
		return err
	}
	return mountProc(root)
}

// offerDirs puts the directories that installers write to, and do not make, below the tree: they are there, and leave
// no trace when nothing is written to them.
func offerDirs(tree *overlay, req request) error {
	offered := filepath.Join(req.Work, "offered")
	for _, dir := range []string{"bin", "etc"} {
		if err := os.MkdirAll(filepath.Join(offered, dir), 0o755); err != nil {
			return err
		}
	}
	return tree.addLower(offered)
}

// enterRoot makes root / of this mount namespace and lets go of everything else.
func enterRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the builder's root: %w", err)
	}
	return os.Chdir("/")
}
