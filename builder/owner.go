package builder

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// ownerIn reads --chown, "user", "user:group" or ":group". Names are looked up in the tree's own passwd and group files
// (passwd(5), group(5)); root needs no file. A user without a group has the group of the same number, as in Dockerfiles.
func ownerIn(t *tree, s string) (uid, gid int, err error) {
	if s == "" {
		return 0, 0, nil
	}
	user, group, hasGroup := strings.Cut(s, ":")
	primary := 0
	if user != "" {
		if uid, primary, err = lookUp(t, "etc/passwd", user); err != nil {
			return 0, 0, fmt.Errorf("--chown=%s: %w", s, err)
		}
	}
	if !hasGroup || group == "" {
		return uid, primary, nil
	}
	if gid, _, err = lookUp(t, "etc/group", group); err != nil {
		return 0, 0, fmt.Errorf("--chown=%s: %w", s, err)
	}
	return uid, gid, nil
}

// numbered replaces the names in "user[:group]" that the tree knows by their numbers: in the build sandbox they would
// mean users of this machine. What the tree does not know stays as it is.
func numbered(t *tree, user string) string {
	name, group, _ := strings.Cut(user, ":")
	if _, err := (treeFS{t}).Stat("etc/passwd"); err != nil || isID(name) && isID(group) {
		return user
	}
	uid, gid, err := ownerIn(t, user)
	if err != nil {
		return user
	}
	return fmt.Sprintf("%d:%d", uid, gid)
}

// isID says whether s names nobody.
func isID(s string) bool { return strings.Trim(s, "0123456789") == "" }

// lookUp returns the number of a user or group, and the primary group of a user.
func lookUp(t *tree, file, name string) (id, primary int, err error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), int(n), nil
	}
	f, err := treeFS{t}.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		if name == "root" {
			return 0, 0, nil
		}
		return 0, 0, fmt.Errorf("the tree has no %s to find %s in: write numbers, as in --chown=1000:1000", file, name)
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 3 {
			continue
		}
		names = append(names, fields[0])
		if fields[0] != name {
			continue
		}
		if id, err = strconv.Atoi(fields[2]); err != nil {
			return 0, 0, fmt.Errorf("%s: %s has the number %q", file, name, fields[2])
		}
		if len(fields) > 3 {
			primary, _ = strconv.Atoi(fields[3]) // a group's members are no number
		}
		return id, primary, nil
	}
	if name == "root" {
		return 0, 0, nil
	}
	return 0, 0, fmt.Errorf("%s is not in %s%s", name, file, didYouMean(name, names))
}
