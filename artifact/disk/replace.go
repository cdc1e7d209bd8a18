package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Replace makes the file at path of what write writes, at least need bytes. It appears, or replaces the one that was
// there, when it is complete and safe on disk; that there is room for it is checked first. What an earlier call left
// half-written because its process was killed is removed. The writer is an *os.File at its start.
func Replace(path string, need int64, write func(w io.Writer) error) error {
	return replace(path, need, 0o644, write)
}

// ReplaceSecret is [Replace] for what only its owner may read, from its first byte on.
func ReplaceSecret(path string, need int64, write func(w io.Writer) error) error {
	return replace(path, need, 0o600, write)
}

func replace(path string, need int64, mode fs.FileMode, write func(w io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := Reap(path); err != nil {
		return err
	}
	if err := CheckFree(dir, need); err != nil {
		return err
	}
	f, err := Temp(dir, Unfinished(path))
	if err != nil {
		return Full(dir, err)
	}
	defer Discard(f) // its name is gone already when all went well
	if err := write(f); err != nil {
		return Full(dir, err)
	}
	if err := errors.Join(f.Chmod(mode), f.Sync()); err != nil {
		return Full(dir, err)
	}
	return os.Rename(f.Name(), path)
}

// Unfinished begins the names of what will become path and is not complete yet. It lies beside it.
func Unfinished(path string) string { return "." + filepath.Base(path) + ".sealrt-" }

// Reap removes what dead processes left Unfinished beside path, files and trees.
func Reap(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // it may be writable all the same
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), Unfinished(path)) {
			continue
		}
		if err := reapOne(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func reapOne(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // gone, or not ours
	}
	defer f.Close()
	if ok, err := TryLock(f, true); err != nil || !ok {
		return nil // its process lives
	}
	return RemoveTree(path)
}

// RemoveTree removes a tree that may hold directories without write permission.
func RemoveTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return errors.Join(err, os.RemoveAll(dir))
}
