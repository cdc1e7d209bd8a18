package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// mountSources returns the sources of the overlay mounts of this mount namespace, and those of all others that this
// process can look into. Root of the machine sees all; others see those of their own processes, and nobody else can mount
// what is theirs but root.
func mountSources() (here, elsewhere map[string]bool, err error) {
	if here, err = sourcesIn("self"); err != nil {
		return nil, nil, fmt.Errorf("read the mounts: %w", err)
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, nil, fmt.Errorf("read the mounts: %w", err)
	}
	elsewhere = map[string]bool{}
	seen := map[string]bool{own: true}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range processes {
		namespace, err := os.Readlink(filepath.Join(dir, "ns", "mnt"))
		if err != nil || seen[namespace] {
			continue // gone, or not ours to look into
		}
		found, err := sourcesIn(filepath.Base(dir))
		if hasEnded(err) {
			continue // another process of the namespace may tell
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the mounts of process %s: %w", filepath.Base(dir), err)
		}
		seen[namespace] = true
		for source := range found {
			elsewhere[source] = true
		}
	}
	return here, elsewhere, nil
}

// hasEnded says whether a process ended while it was looked at, or may not be looked at.
func hasEnded(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EINVAL)
}

// sourcesIn reads the mounts that a process sees (proc_pid_mountinfo(5)).
func sourcesIn(process string) (map[string]bool, error) {
	f, err := os.Open(filepath.Join("/proc", process, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := map[string]bool{}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n') // options of overlays make long lines
		if _, rest, ok := strings.Cut(line, " - "); ok {
			if fields := strings.Fields(rest); len(fields) > 1 && fields[0] == "overlay" {
				found[fields[1]] = true
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
