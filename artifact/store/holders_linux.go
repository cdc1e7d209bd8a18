package store

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockHolders returns the processes that hold a lock of the file at path, as words for people: "sealrt pull (process
// 12)". The kernel lists locks by file (proc_locks(5)); what it does not tell this user is left out.
func lockHolders(path string) []string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []string
	inode := ":" + strconv.FormatUint(st.Ino, 10)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 1: FLOCK ADVISORY READ 1234 08:01:5678 0 EOF; who waits has an arrow before the second word
		words := strings.Fields(lines.Text())
		if len(words) < 6 || words[1] != "FLOCK" || !strings.HasSuffix(words[5], inode) {
			continue
		}
		pid, err := strconv.Atoi(words[4])
		if err != nil || pid <= 0 || !hasOpen(pid, &st) {
			continue
		}
		// The kernel tells a lock twice when others come and go while the list is read, and a process may have two.
		if name := processName(pid); !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// hasOpen reports whether a process has a file open, or keeps that to itself. The device of /proc/locks is not always
// that of stat, so inodes of other file systems are to be told apart.
func hasOpen(pid int, st *unix.Stat_t) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true
	}
	for _, e := range entries {
		var other unix.Stat_t
		if unix.Stat(filepath.Join(dir, e.Name()), &other) == nil && other.Ino == st.Ino && other.Dev == st.Dev {
			return true
		}
	}
	return false
}

// processName names a process by its program and verb; further arguments may be secret.
func processName(pid int) string {
	name := fmt.Sprintf("process %d", pid)
	if pid == os.Getpid() {
		return "this process"
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := bytes.Split(b, []byte{0})
	if err != nil || len(words[0]) == 0 {
		return name
	}
	program := filepath.Base(string(words[0]))
	if len(words) > 1 && regexp.MustCompile(`^[a-z-]{2,20}$`).Match(words[1]) {
		program += " " + string(words[1])
	}
	return program + " (" + name + ")"
}
