package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// idRange maps count ids of a user namespace, from inside on, to those of the machine from outside on.
type idRange struct{ inside, outside, count int }

// idMap is which ids of a sandbox are which of the machine. Nil is all, unchanged.
type idMap []idRange

// in translates an id of the machine. The kernel's number for ids that the namespace does not know is 65534.
func (m idMap) in(id int) int {
	if m == nil {
		return id
	}
	for _, r := range m {
		if id >= r.outside && id-r.outside < r.count {
			return r.inside + id - r.outside
		}
	}
	return 65534
}

// has says whether an id of the sandbox means one of the machine.
func (m idMap) has(id int) bool {
	for _, r := range m {
		if id >= r.inside && id-r.inside < r.count {
			return true
		}
	}
	return m == nil
}

// arguments is the map as newuidmap(1) and newgidmap(1) take it.
func (m idMap) arguments() []string {
	var args []string
	for _, r := range m {
		args = append(args, strconv.Itoa(r.inside), strconv.Itoa(r.outside), strconv.Itoa(r.count))
	}
	return args
}

// View translates owners and permissions of what lies in an upper directory to those that the command saw, or meant.
// They differ only for a process without root.
type View struct {
	uids, gids idMap
	changed    bool
}

// NewView returns the View of this process.
func NewView() View {
	if privileged() {
		return View{}
	}
	return View{ids("/etc/subuid", os.Geteuid()), ids("/etc/subgid", os.Getegid()), true}
}

// Owner translates the user and group of a file: the process's own are root's in the sandbox, and its subordinate ids
// are all others, in the order of /etc/subuid and /etc/subgid.
func (v View) Owner(uid, gid int) (int, int) { return v.uids.in(uid), v.gids.in(gid) }

// Mode returns the permissions that a command gave to a file whose mode is now mode: Run makes what it could not read
// readable to its caller, and remembers.
func (v View) Mode(file string, mode fs.FileMode) (fs.FileMode, error) {
	if !v.changed || !mode.IsRegular() && !mode.IsDir() {
		return mode, nil
	}
	value, err := attribute(file, modeAttribute)
	if err != nil || value == "" {
		return mode, err
	}
	perm, err := strconv.ParseUint(value, 8, 32)
	if err != nil {
		return mode, fmt.Errorf("%s: attribute %s: %w", file, modeAttribute, errors.Unwrap(err))
	}
	return mode&^fs.ModePerm | fs.FileMode(perm)&fs.ModePerm, nil
}

// ids is the map of a sandbox of this user: own is root's, and then come the subordinate ids that file has for the user.
// A file that cannot be read has none.
func ids(file string, own int) idMap {
	m := idMap{{0, own, 1}}
	f, err := os.Open(file)
	if err != nil {
		return m
	}
	defer f.Close()
	login := strconv.Itoa(os.Geteuid())
	names := []string{login}
	if u, err := user.LookupId(login); err == nil {
		names = append(names, u.Username)
	}
	ranges, err := subordinate(f, names)
	if err != nil {
		return m
	}
	return append(m, ranges...)
}

// subordinate reads the ranges of one user from a file such as /etc/subuid (subuid(5): name:first:count).
func subordinate(r io.Reader, names []string) (idMap, error) {
	var m idMap
	next := 1
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != names[0] && fields[0] != names[len(names)-1] {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 31)
		if err1 != nil || err2 != nil || count == 0 {
			continue
		}
		m = append(m, idRange{next, int(first), int(count)})
		next += int(count)
	}
	return m, lines.Err()
}

// modeAttribute holds the permissions that a command gave to a file which its caller could not read then. It is one of
// those that overlay mounts and layers leave out, as the kernel's own are.
const modeAttribute = "user.overlay.sealrt.mode"
