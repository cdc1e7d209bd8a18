package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// identity is who a command is. The zero value, but for the home, is root.
type identity struct {
	UID, GID int
	Groups   []int // supplementary
	Home     string
}

// lookUpUser finds the user that USER names in the passwd and group of etc, the way container runtimes do
// (github.com/moby/sys/user, GetExecUser): a name or number with an optional group; a number need not be listed, and
// then has group 0 and the home noHome; the user's other groups count only when no group is named.
func lookUpUser(spec, etc string) (identity, error) {
	name, groupName, haveGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	who := identity{Home: noHome}
	found, err := listed(etc+"/passwd", name)
	if err != nil {
		return who, err
	}
	if found != nil {
		if len(found) < 6 {
			return who, fmt.Errorf("USER %s: its line in /etc/passwd has %d of 7 fields", spec, len(found))
		}
		name = found[0]
		if who.UID, err = number(found[2]); err == nil {
			who.GID, err = number(found[3])
		}
		if err != nil {
			return who, fmt.Errorf("USER %s: /etc/passwd: %w", spec, err)
		}
		if found[5] != "" {
			who.Home = found[5]
		}
	} else if who.UID, err = number(name); err != nil {
		return who, fmt.Errorf("USER %s: no user %q in /etc/passwd: add the user first, or give a number", spec, name)
	}
	if haveGroup && groupName != "" {
		who.GID, err = lookUpGroup(etc, groupName)
		return who, err
	}
	who.Groups, err = groupsOf(etc, name)
	return who, err
}

func lookUpGroup(etc, name string) (int, error) {
	found, err := listed(etc+"/group", name)
	if err != nil {
		return 0, err
	}
	if len(found) > 2 {
		name = found[2]
	}
	gid, err := number(name)
	if err != nil {
		return 0, fmt.Errorf("USER: no group %q in /etc/group: add the group first, or give a number", name)
	}
	return gid, nil
}

// groupsOf returns the groups that list a user as a member.
func groupsOf(etc, name string) ([]int, error) {
	var groups []int
	err := lines(etc+"/group", func(fields []string) bool {
		if len(fields) > 3 && slices.Contains(strings.Split(fields[3], ","), name) {
			if gid, err := number(fields[2]); err == nil {
				groups = append(groups, gid)
			}
		}
		return true
	})
	return groups, err
}

// listed returns the fields of the first line of file whose name, or else number, is key. Nil is none.
func listed(file, key string) ([]string, error) {
	var byName, byNumber []string
	err := lines(file, func(fields []string) bool {
		if fields[0] == key {
			byName = fields
			return false
		}
		if byNumber == nil && len(fields) > 2 && fields[2] == key {
			byNumber = fields
		}
		return true
	})
	if byName != nil {
		return byName, err
	}
	return byNumber, err
}

// lines calls do for the fields of each line of a file such as passwd (passwd(5), group(5)), until it says no. A
// file that is not there has no lines.
func lines(file string, do func(fields []string) bool) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", file)
	}
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20) // a group may have many members
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if line != "" && line[0] != '#' && !do(strings.Split(line, ":")) {
			return nil
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// number reads a user or group id. The last one means "no change" to the kernel.
func number(s string) (int, error) {
	id, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not an id: %w", s, errors.Unwrap(err))
	}
	return int(id), nil
}
