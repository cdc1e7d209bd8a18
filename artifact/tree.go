package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/artifact/layer"
)

// Unpack writes the tree of an image to dir: all layers of m, which Manifest returned for ref, one over the other.
// It makes dir and its parents. dir may exist if it is empty; it is there whole or not at all, because the tree grows
// in a directory beside it that is renamed at the end. Where dir cannot be replaced, because it is a mount point or
// where somebody stands, the tree grows in dir and what is in it moves up at the end. What an earlier call left
// half-written because its process was killed is removed. Layers are verified.
func Unpack(ctx context.Context, src Source, ref Reference, m *v1.Manifest, dir string) error {
	if err := unpack(ctx, src, ref, m, dir); err != nil {
		return fmt.Errorf("unpack %s: %w", ref.Familiar(), err)
	}
	return nil
}

func unpack(ctx context.Context, src Source, ref Reference, m *v1.Manifest, dir string) (err error) {
	dir = filepath.Clean(dir)
	beside, standing := dir, false
	if fi, err := os.Lstat(dir); err == nil && fi.IsDir() {
		beside, standing = filepath.Join(dir, "tree"), true
	} else if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := reapPartial(beside); err != nil {
		return err
	}
	if err := requireEmpty(dir); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(beside), partialPrefix(beside))
	if err != nil {
		return full(filepath.Dir(beside), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeTree(tmp))
		}
	}()
	lock, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := tryLock(lock, true); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for i, d := range m.Layers {
		if err := unpackLayer(ctx, src, ref, d, tmp); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), full(tmp, err))
		}
	}
	if standing {
		return moveUp(tmp, dir)
	}
	return unix.Rename(tmp, dir) // replaces an empty directory, which os.Rename does not
}

// moveUp moves what is in tmp to its parent dir, and gives dir the mode of tmp. On an error what was moved goes back.
func moveUp(tmp, dir string) (err error) {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	fi, err := os.Stat(tmp)
	if err != nil {
		return err
	}
	var moved []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range moved { // removed with tmp
			err = errors.Join(err, os.Rename(filepath.Join(dir, name), filepath.Join(tmp, name)))
		}
	}()
	for _, e := range entries {
		if err := os.Rename(filepath.Join(tmp, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
		moved = append(moved, e.Name())
	}
	if err := os.Chmod(dir, fi.Mode()); err != nil {
		return err
	}
	return os.Remove(tmp)
}

func unpackLayer(ctx context.Context, src Source, ref Reference, d v1.Descriptor, dir string) error {
	if isForeign(d) {
		return fmt.Errorf("%s is to be fetched from %s and is not part of the image", d.Digest, d.URLs[0])
	}
	r, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	v := newVerifier(r, ref, d)
	if err := layer.Extract(ctx, dir, v, layer.ExtractOptions{}); err != nil {
		var damaged *damagedError // says more than what a decoder stumbled over
		if _, verr := io.Copy(io.Discard, layer.UntilDone(ctx, v)); errors.As(verr, &damaged) {
			return damaged
		}
		return err
	}
	_, err = io.Copy(io.Discard, layer.UntilDone(ctx, v)) // what follows the end of the tar belongs to the digest
	return err
}

func requireEmpty(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	switch names, err := f.Readdirnames(1); {
	case len(names) > 0:
		return fmt.Errorf("%s is not empty: choose another directory, or remove it", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is not a directory: choose another one", dir)
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// removeTree removes a tree that may hold directories without write permission.
func removeTree(dir string) error {
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
