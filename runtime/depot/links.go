package depot

import (
	"os"
	"path/filepath"
	"strconv"
)

// link returns a short name for each of the directories: a link in l/. Names
// that are there already stay, since mounts of other images use them.
func (d *Depot) link(dirs []string) ([]string, error) {
	entries, err := os.ReadDir(d.path(linksName))
	if err != nil {
		return nil, err
	}
	names, next := map[string]string{}, 0
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		next = max(next, n+1)
		to, err := os.Readlink(d.path(linksName, e.Name()))
		if err != nil {
			return nil, err
		}
		names[to] = e.Name()
	}
	list := make([]string, len(dirs))
	for i, dir := range dirs {
		to, err := filepath.Rel(d.path(linksName), dir)
		if err != nil {
			return nil, err
		}
		if names[to] == "" {
			names[to] = strconv.Itoa(next)
			next++
			if err := os.Symlink(to, d.path(linksName, names[to])); err != nil {
				return nil, err
			}
		}
		list[i] = d.path(linksName, names[to])
	}
	return list, syncFileSystem(d.path(linksName))
}

// unlink removes the links that lead nowhere.
func (d *Depot) unlink() error {
	entries, err := os.ReadDir(d.path(linksName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := d.path(linksName, e.Name())
		if _, err := os.Stat(path); os.IsNotExist(err) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
