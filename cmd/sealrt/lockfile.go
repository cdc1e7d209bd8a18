package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealrt/sealrt/builder/remote"
)

// lockSuffix is what the name of a lock has more than that of its Kubefile.
const lockSuffix = ".lock"

// lockName returns the name of the lock that lies beside a Kubefile, which is given as -f has it.
func lockName(file, dir string) (string, error) {
	switch file {
	case "-":
		return "", usageError{errors.New("a Kubefile from standard input has no place for a lock: name a file with -f, or leave --lock and --frozen away")}
	case "":
		return filepath.Join(dir, remote.LockName), nil
	}
	return file + lockSuffix, nil
}

// readLock reads a lock. One that is not there, or is damaged, is empty, unless all is to come from it.
func readLock(name string, frozen bool) (*remote.Lock, error) {
	f, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !frozen:
		return &remote.Lock{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("--frozen: %w: `sealrt build --lock` writes it", err)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file: move it away", name))
	}
	l, err := remote.ParseLock(name, f)
	if err != nil && !frozen {
		return &remote.Lock{}, nil // it is written anew
	}
	return l, err
}

// writeLock writes a lock, whole or not at all.
func writeLock(name string, l *remote.Lock) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	defer os.Remove(f.Name()) // once it is renamed there is nothing to remove
	_, err = f.Write(l.Format())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	return nil
}
