package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Remove removes a directory that Run worked on, whatever the modes and owners are that a command or the kernel gave to
// the files in it. A directory that is not there is no error.
func Remove(dir string) error {
	err := removeLocked(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if foreign := removeForeign(dir); !errors.Is(foreign, fs.ErrPermission) {
		return foreign
	}
	return err
}

// removeLocked removes a directory whose files have one owner.
func removeLocked(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := unlock(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// unlock makes dir and the directories below it writable, from the top down.
func unlock(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.IsDir() {
			if err := unlock(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
