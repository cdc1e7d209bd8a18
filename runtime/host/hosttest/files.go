package hosttest

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// tree is a file system: absolute clean path to what is there.
type tree map[string]*node

type node struct {
	mode    fs.FileMode // with fs.ModeDir for directories
	content []byte
}

func newTree() tree {
	t := tree{"/": {mode: fs.ModeDir | 0o755}}
	for _, dir := range []string{"/etc/systemd/system", "/opt", "/root", "/run/systemd/system", "/tmp", "/usr/local/bin", "/var/lib", "/var/log"} {
		t.mkdirAll(dir, 0o755)
	}
	return t
}

func (t tree) isDir(name string) bool { n := t[name]; return n != nil && n.mode.IsDir() }

// mkdirAll reports whether name is a directory now.
func (t tree) mkdirAll(name string, mode fs.FileMode) bool {
	if n := t[name]; n != nil {
		return n.mode.IsDir()
	}
	if !t.mkdirAll(path.Dir(name), 0o755) {
		return false
	}
	t[name] = &node{mode: fs.ModeDir | mode}
	return true
}

// below returns name and everything in it.
func (t tree) below(name string) []string {
	var all []string
	for p := range t {
		if p == name || strings.HasPrefix(p, strings.TrimSuffix(name, "/")+"/") {
			all = append(all, p)
		}
	}
	return all
}

// WriteFile puts a file on the machine, and the directories above it.
func (h *Host) WriteFile(name string, mode fs.FileMode, content []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files.mkdirAll(path.Dir(name), 0o755)
	h.files[name] = &node{mode: mode, content: slices.Clone(content)}
}

// File returns what a file holds, and its permissions. The error wraps fs.ErrNotExist when there is no such file.
func (h *Host) File(name string) ([]byte, fs.FileMode, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.files[name]
	if n == nil || n.mode.IsDir() {
		return nil, 0, fmt.Errorf("%s: %w", h.name, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist})
	}
	return slices.Clone(n.content), n.mode, nil
}

// Files returns the paths of all regular files, sorted.
func (h *Host) Files() []string { return h.paths(false) }

// Dirs returns the paths of all directories, sorted.
func (h *Host) Dirs() []string { return h.paths(true) }

func (h *Host) paths(dirs bool) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, p := range slices.Sorted(maps.Keys(h.files)) {
		if h.files[p].mode.IsDir() == dirs {
			all = append(all, p)
		}
	}
	return all
}

const noSuchFile = "No such file or directory"

func (m *machine) cat(names []string) int {
	if len(names) == 0 {
		m.stdout.Write(m.stdin)
		return 0
	}
	code := 0
	for _, name := range names {
		switch n := m.files[path.Clean(name)]; {
		case n == nil:
			code = m.fail(1, "%s: %s", name, noSuchFile)
		case n.mode.IsDir():
			code = m.fail(1, "%s: Is a directory", name)
		default:
			m.stdout.Write(n.content)
		}
	}
	return code
}

func (m *machine) chmod(words []string) int {
	if len(words) < 2 {
		return m.fail(1, "missing operand")
	}
	bits, err := strconv.ParseUint(words[0], 8, 12)
	if err != nil {
		return m.fail(1, "hosttest knows octal modes only, not %q", words[0])
	}
	for _, name := range words[1:] {
		n := m.files[path.Clean(name)]
		if n == nil {
			return m.fail(1, "cannot access '%s': %s", name, noSuchFile)
		}
		n.mode = n.mode.Type() | unixMode(bits)
	}
	return 0
}

func unixMode(bits uint64) fs.FileMode {
	mode := fs.FileMode(bits) & fs.ModePerm
	if bits&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if bits&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if bits&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

func (m *machine) dd(args []string) int {
	var in, out string
	var more bool
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "if":
			in = value
		case "of":
			out = value
		case "oflag":
			more = value == "append"
		case "bs", "conv", "status":
		default:
			return m.fail(1, "hosttest does not know %q", a)
		}
	}
	content := m.stdin
	if in != "" {
		n := m.files[in]
		if n == nil {
			return m.fail(1, "failed to open '%s': %s", in, noSuchFile)
		}
		content = n.content
	}
	if out == "" {
		m.stdout.Write(content)
		return 0
	}
	if !m.files.isDir(path.Dir(out)) {
		return m.fail(1, "failed to open '%s': %s", out, noSuchFile)
	}
	n := m.files[out]
	if n == nil {
		n = &node{mode: 0o644}
		m.files[out] = n
	}
	if n.mode.IsDir() {
		return m.fail(1, "failed to open '%s': Is a directory", out)
	}
	if !more {
		n.content = nil
	}
	n.content = append(n.content, content...)
	return 0
}

func (m *machine) mkdir(flags string, names []string) int {
	mode := fs.FileMode(0o755)
	if strings.Contains(flags, "m") { // the mode is a word of its own
		if len(names) == 0 {
			return m.fail(1, "missing operand")
		}
		bits, err := strconv.ParseUint(names[0], 8, 12)
		if err != nil {
			return m.fail(1, "invalid mode '%s'", names[0])
		}
		mode, names = unixMode(bits), names[1:]
	}
	for _, name := range names {
		name = path.Clean(name)
		if !strings.Contains(flags, "p") {
			if m.files[name] != nil {
				return m.fail(1, "cannot create directory '%s': File exists", name)
			}
			if !m.files.isDir(path.Dir(name)) {
				return m.fail(1, "cannot create directory '%s': %s", name, noSuchFile)
			}
		}
		if !m.files.mkdirAll(name, mode) {
			return m.fail(1, "cannot create directory '%s': Not a directory", name)
		}
	}
	return 0
}

// mktemp gives the first name that is free, so that transcripts do not change from run to run.
func (m *machine) mktemp(flags string, names []string) int {
	if len(names) != 1 || !path.IsAbs(names[0]) || !strings.HasSuffix(names[0], "XXXXXX") {
		return m.fail(1, "hosttest knows one absolute template only")
	}
	if !m.files.isDir(path.Dir(names[0])) {
		return m.fail(1, "failed to create file via template '%s': %s", names[0], noSuchFile)
	}
	name, isDir := "", strings.Contains(flags, "d")
	for i := 1; name == "" || m.files[name] != nil; i++ {
		name = strings.TrimSuffix(names[0], "XXXXXX") + fmt.Sprintf("%06d", i)
	}
	m.files[name] = &node{mode: 0o600}
	if isDir {
		m.files[name].mode = fs.ModeDir | 0o700
	}
	fmt.Fprintln(&m.stdout, name)
	return 0
}

func (m *machine) mv(flags string, names []string) int {
	if len(names) != 2 {
		return m.fail(1, "hosttest moves one file at a time")
	}
	from, to := path.Clean(names[0]), path.Clean(names[1])
	switch {
	case m.files[from] == nil:
		return m.fail(1, "cannot stat '%s': %s", from, noSuchFile)
	case m.files.isDir(to) && !strings.Contains(flags, "T"):
		to = path.Join(to, path.Base(from))
	case m.files.isDir(to) && !m.files.isDir(from):
		return m.fail(1, "cannot overwrite directory '%s' with non-directory", to)
	case m.files.isDir(to) && len(m.files.below(to)) > 1:
		return m.fail(1, "cannot overwrite '%s': Directory not empty", to)
	}
	if !m.files.isDir(path.Dir(to)) {
		return m.fail(1, "cannot move '%s' to '%s': %s", from, to, noSuchFile)
	}
	for _, p := range m.files.below(from) {
		n := m.files[p]
		delete(m.files, p)
		m.files[to+strings.TrimPrefix(p, from)] = n
	}
	return 0
}

func (m *machine) rm(flags string, names []string) int {
	recursive, force := strings.ContainsAny(flags, "rR"), strings.Contains(flags, "f")
	code := 0
	for _, name := range names {
		name = path.Clean(name)
		switch n := m.files[name]; {
		case n == nil && !force:
			code = m.fail(1, "cannot remove '%s': %s", name, noSuchFile)
		case n != nil && n.mode.IsDir() && !recursive:
			code = m.fail(1, "cannot remove '%s': Is a directory", name)
		case name == "/":
			code = m.fail(1, "it is dangerous to operate recursively on '/'")
		default:
			for _, p := range m.files.below(name) {
				delete(m.files, p)
			}
		}
	}
	return code
}

func (m *machine) test(args []string) int {
	want := true
	if len(args) > 0 && args[0] == "!" {
		want, args = false, args[1:]
	}
	if len(args) != 2 {
		return m.fail(2, "hosttest knows one condition at a time")
	}
	n := m.files[path.Clean(args[1])]
	holds := false
	switch args[0] {
	case "-e":
		holds = n != nil
	case "-L": // there are no links on this machine
	case "-d":
		holds = n != nil && n.mode.IsDir()
	case "-f":
		holds = n != nil && n.mode.IsRegular()
	case "-s":
		holds = n != nil && len(n.content) > 0
	case "-x":
		holds = n != nil && (n.mode.IsDir() || n.mode&0o111 != 0)
	default:
		return m.fail(2, "hosttest does not know %s", args[0])
	}
	if holds == want {
		return 0
	}
	return 1
}

// Remove takes a path and everything below it off the machine.
func (h *Host) Remove(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.files.below(path.Clean(name)) {
		delete(h.files, p)
	}
}

// ln makes a link, which nothing on this machine follows.
func (m *machine) ln(names []string) int {
	if len(names) != 2 {
		return m.fail(1, "hosttest makes one link at a time")
	}
	at := path.Clean(names[1])
	if m.files[at] != nil {
		return m.fail(1, "failed to create symbolic link '%s': File exists", at)
	}
	m.files[at] = &node{mode: fs.ModeSymlink | 0o777, content: []byte(names[0])}
	return 0
}

// readlink prints where links lead, and what is none as it is called.
func (m *machine) readlink(names []string) int {
	for _, name := range names {
		if n := m.files[path.Clean(name)]; n != nil && n.mode&fs.ModeSymlink != 0 {
			name = string(n.content)
		}
		fmt.Fprintln(&m.stdout, name)
	}
	return 0
}
