package hosttest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// tee writes standard input to the files and to standard output.
func (m *machine) tee(flags string, names []string) int {
	m.stdout.Write(m.stdin)
	for _, name := range names {
		if !m.files.isDir(path.Dir(name)) {
			return m.fail(1, "%s: No such file or directory", name)
		}
		n := m.files[name]
		if n == nil {
			n = &node{mode: 0o644}
			m.files[name] = n
		}
		if !strings.Contains(flags, "a") {
			n.content = nil
		}
		n.content = append(n.content, m.stdin...)
	}
	return 0
}

// tail prints whole files, each under its name: tail -n +1 FILE FILE...
func (m *machine) tail(args []string) int {
	if len(args) < 4 || args[0] != "-n" || args[1] != "+1" {
		return m.fail(1, "hosttest knows only -n +1 and several files")
	}
	code, before := 0, ""
	for _, name := range args[2:] {
		n := m.files[path.Clean(name)]
		if n == nil || n.mode.IsDir() {
			code = m.fail(1, "cannot open '%s' for reading: %s", name, noSuchFile)
			continue
		}
		fmt.Fprintf(&m.stdout, "%s==> %s <==\n%s", before, name, n.content)
		before = "\n"
	}
	return code
}

// date prints the time of this process: date +%s.
func (m *machine) date(args []string) int {
	if len(args) != 1 || args[0] != "+%s" {
		return m.fail(1, "hosttest knows only +%%s")
	}
	fmt.Fprintln(&m.stdout, time.Now().Unix())
	return 0
}

// cp copies one file to another name.
func (m *machine) cp(names []string) int {
	from, ok := m.files[names[0]]
	if !ok || from.mode.IsDir() || !m.files.isDir(path.Dir(names[1])) {
		return m.fail(1, "cannot copy '%s' to '%s': No such file or directory", names[0], names[1])
	}
	m.files[names[1]] = &node{mode: from.mode, content: slices.Clone(from.content)}
	return 0
}

// rmdir removes directories that are empty; others are left without a word, as
// with --ignore-fail-on-non-empty.
func (m *machine) rmdir(names []string) int {
	for _, name := range names {
		if !m.files.isDir(name) {
			return m.fail(1, "failed to remove '%s': No such file or directory", name)
		}
		if len(m.files.below(name)) == 1 {
			delete(m.files, name)
		}
	}
	return 0
}

// find lists those of some paths that are there, find PATH... -maxdepth 0
// -print0, or the files right below a directory: find DIR -mindepth 1
// -maxdepth 1 ! -type d.
func (m *machine) find(args []string) int {
	if k := slices.Index(args, "-maxdepth"); k > 0 && strings.Join(args[k:], " ") == "-maxdepth 0 -print0" {
		code := 0
		for _, name := range args[:k] {
			if m.files[path.Clean(name)] == nil {
				code = m.fail(1, "'%s': No such file or directory", name)
				continue
			}
			m.stdout.WriteString(name + "\x00")
		}
		return code
	}
	if k := slices.Index(args, "-maxdepth"); k > 0 && slices.Equal(args[k+1:], []string{"1", "-type", "f", "-name", host.Unfinished, "-delete"}) {
		for _, name := range m.files.below("/") {
			if ok, err := path.Match(host.Unfinished, path.Base(name)); ok && err == nil && slices.Contains(args[:k], path.Dir(name)) {
				delete(m.files, name)
			}
		}
		return 0
	}
	if k := slices.Index(args, "-maxdepth"); k > 0 && len(args) == k+5 && slices.Equal(args[k:k+3], []string{"-maxdepth", "1", "-name"}) && args[k+4] == "-print0" {
		for _, name := range slices.Sorted(slices.Values(m.files.below("/"))) {
			if ok, err := path.Match(args[k+3], path.Base(name)); ok && err == nil && slices.Contains(args[:k], path.Dir(name)) {
				m.stdout.WriteString(name + "\x00")
			}
		}
		return 0
	}
	if len(args) != 8 || strings.Join(args[1:], " ") != "-mindepth 1 -maxdepth 1 ! -type d" {
		return m.fail(1, "hosttest knows only DIR -mindepth 1 -maxdepth 1 ! -type d")
	}
	if !m.files.isDir(args[0]) {
		return m.fail(1, "'%s': No such file or directory", args[0])
	}
	for _, name := range m.files.below(args[0]) {
		if path.Dir(name) == args[0] && !m.files.isDir(name) {
			fmt.Fprintln(&m.stdout, name)
		}
	}
	return 0
}
