package artifact

import (
	"cmp"
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

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
)

// What an image may hold unless UnpackOptions says otherwise.
const (
	maxTreeBytes   = 1 << 40
	maxTreeEntries = 10_000_000
)

// UnpackOptions bounds what Unpack writes. The zero value is good.
type UnpackOptions struct {
	// MaxBytes is the largest size of all files of all layers together, in bytes; 0 is 1 TiB.
	MaxBytes int64
	// MaxEntries is the largest number of files and directories in all layers; 0 is ten million.
	MaxEntries int64
}

// Unpack writes the tree of an image to dir: all layers of m, which Manifest returned for ref, one over the other.
// It makes dir and its parents. dir may exist if it is empty; it is there whole or not at all, because the tree grows
// in a directory beside it that is renamed at the end. Where dir cannot be replaced, because it is a mount point or
// where somebody stands, the tree grows in dir and what is in it moves up at the end. What an earlier call left
// half-written because its process was killed is removed. Layers are verified, and nobody else can reach what is in them
// before all are.
//
// Modes and owners are those that the layers declare. Who is not root owns all files, so setuid and setgid bits of files
// are left out then. More than the options allow is an error that wraps layer.ErrLimit.
func Unpack(ctx context.Context, src Source, ref Reference, m *v1.Manifest, dir string, o UnpackOptions) error {
	if err := unpack(ctx, src, ref, m, dir, o); err != nil {
		return fmt.Errorf("unpack %s: %w", ref.Familiar(), err)
	}
	return nil
}

func unpack(ctx context.Context, src Source, ref Reference, m *v1.Manifest, dir string, o UnpackOptions) (err error) {
	dir = filepath.Clean(dir)
	beside, standing := dir, false
	if fi, err := os.Lstat(dir); err == nil && fi.IsDir() {
		beside, standing = filepath.Join(dir, "tree"), true
	} else if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := disk.Reap(beside); err != nil {
		return err
	}
	if err := requireEmpty(dir); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(beside), disk.Unfinished(beside))
	if err != nil {
		return disk.Full(filepath.Dir(beside), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, disk.RemoveTree(tmp))
		}
	}()
	lock, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := disk.TryLock(lock, true); err != nil {
		return err
	}
	tree := filepath.Join(tmp, "tree") // nobody else comes here before all layers are verified: tmp is closed
	if err := makeOpen(tree); err != nil {
		return err
	}
	if err := unpackLayers(ctx, src, ref, m, tree, o); err != nil {
		return err
	}
	if standing {
		return moveUp(tree, dir)
	}
	if err := relocate(tree, dir); err != nil {
		return err
	}
	return os.Remove(tmp)
}

// relocate renames a file or directory. An empty directory in its place is replaced, which os.Rename does not. Only root
// may move a directory that nobody may write to, so it gets its mode afterwards.
func relocate(from, to string) error {
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	closed := fi.IsDir() && fi.Mode()&0o200 == 0
	if closed {
		if err := os.Chmod(from, fi.Mode()|0o200); err != nil {
			return err
		}
	}
	if err := unix.Rename(from, to); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	if closed {
		return os.Chmod(to, fi.Mode())
	}
	return nil
}

// makeOpen makes a directory that all may read.
func makeOpen(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) // whatever the umask
}

// moveUp moves what is in tree to dir, and gives dir the mode of tree. tree goes, and the directory that it lies in. On an
// error what was moved goes back.
func moveUp(tree, dir string) (err error) {
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	fi, err := os.Stat(tree)
	if err != nil {
		return err
	}
	if err := os.Chmod(tree, fi.Mode()|0o700); err != nil { // what is in it could not leave it
		return err
	}
	var moved []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range moved { // to be removed there
			err = errors.Join(err, relocate(filepath.Join(dir, name), filepath.Join(tree, name)))
		}
	}()
	for _, e := range entries {
		if err := relocate(filepath.Join(tree, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
		moved = append(moved, e.Name())
	}
	for _, gone := range []string{tree, filepath.Dir(tree)} {
		if err := os.Remove(gone); err != nil {
			return err
		}
	}
	return os.Chmod(dir, fi.Mode())
}

// unpackLayers unpacks all layers into dir.
func unpackLayers(ctx context.Context, src Source, ref Reference, m *v1.Manifest, dir string, o UnpackOptions) error {
	extract := layer.ExtractOptions{
		MaxBytes: cmp.Or(o.MaxBytes, maxTreeBytes), MaxEntries: cmp.Or(o.MaxEntries, maxTreeEntries),
		Spent: &layer.Spent{}, DropSetID: os.Geteuid() != 0,
	}
	for i, d := range m.Layers {
		use := func(r io.Reader) error { return layer.Extract(ctx, dir, r, extract) }
		if err := ReadLayer(ctx, src, ref, d, use); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), disk.Full(dir, err))
		}
	}
	return nil
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
