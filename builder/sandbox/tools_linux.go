package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// showTools shows the builder's programs and libraries in root, each directory under a throw-away overlay.
func showTools(root string, req request) error {
	points, err := mountPoints("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	shown := 0
	for _, dir := range toolDirs() {
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 { // /bin -> usr/bin
			if err := copyLink(dir, filepath.Join(root, dir)); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
		for _, point := range append([]string{dir}, below(dir, points)...) {
			shown++
			if err := showDir(root, point, filepath.Join(req.Work, "tools", strconv.Itoa(shown))); err != nil {
				return err
			}
		}
	}
	return nil
}

// toolDirs returns the top-level directories of the builder, and links to them, that hold programs and libraries.
func toolDirs() []string {
	var dirs []string
	for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32", "/libilp32", "/libexec"} {
		if _, err := os.Lstat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// showDir mounts dir of the builder in root, under an overlay with scratch directory work. What overlay refuses (a
// file, a nested overlay, locked mounts in a user namespace) appears read-only.
func showDir(root, dir, work string) error {
	upper := filepath.Join(work, "upper")
	if err := os.MkdirAll(upper, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil // a mount that the user cannot see either, or one that another mount covers
	}
	if err != nil {
		return err
	}
	target := filepath.Join(root, dir)
	if info.IsDir() {
		o, err := newOverlay(filepath.Join(work, "overlay"), upper, dir)
		if err != nil {
			return err
		}
		if o.mount(target) == nil {
			return nil
		}
	}
	return bindReadOnly(dir, target)
}

// below returns the mount points below dir, parents first.
func below(dir string, points []string) []string {
	var found []string
	for _, p := range points {
		if strings.HasPrefix(p, dir+"/") {
			found = append(found, p)
		}
	}
	sort.Strings(found)
	return found
}

// mountPoints reads the mount points of a mountinfo file (proc_pid_mountinfo(5), field 5).
func mountPoints(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 {
			points = append(points, unescape.Replace(fields[4]))
		}
	}
	return points, lines.Err()
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}
