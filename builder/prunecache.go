package builder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/remote"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// Directories of the builder beside the blobs of a store.
const (
	treesName  = "trees"  // unpacked layers
	mountsName = "mounts" // what RUN --mount=type=cache keeps
)

// cachePrefixes begin the keys of the records that builds keep in a store: of instructions, of files, of listings of
// layers, of downloads. Records about container images in layers (airgap/) are not among them: they say what is in a
// layer, and go with it.
var cachePrefixes = [...]string{"build", store.HeldRecords, "view", "diffid", remote.Records} //nolint:gochecknoglobals // a table that nothing changes

// PruneCache drops all that builds keep to save work: records, unpacked layers and cache mounts. It then sweeps the
// store, as nothing but names holds a layer any more. It returns the bytes freed. While a build runs, or another
// process adds to the store, nothing is dropped and the error wraps artifact.ErrBusy.
func PruneCache(ctx context.Context, store *store.Store) (freed int64, err error) {
	freed, err = store.SweepAfter(ctx, func() (int64, error) { return dropCache(ctx, store) })
	if err != nil {
		return freed, fmt.Errorf("prune the build cache: %w", err)
	}
	return freed, nil
}

// dropCache does the work of PruneCache; no build runs meanwhile.
func dropCache(ctx context.Context, store *store.Store) (freed int64, err error) {
	for _, prefix := range cachePrefixes {
		n, err := store.CacheDrop(prefix)
		freed += n
		if err != nil {
			return freed, err
		}
	}
	doomed, err := doom(store.Root())
	if err != nil {
		return freed, err
	}
	for _, dir := range doomed {
		n, err := removeTree(ctx, dir)
		freed += n
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// doom gives the unpacked layers and the cache mounts of a store names under which no build finds them, and returns
// those. A half-removed tree would be taken for a layer; under its new name the next build removes what a prune that
// was killed left.
func doom(root string) (doomed []string, err error) {
	trees := filepath.Join(root, treesName)
	if err := os.MkdirAll(trees, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(trees)
	if err != nil {
		return nil, err
	}
	old := []string{filepath.Join(root, mountsName)}
	for _, e := range entries {
		old = append(old, filepath.Join(trees, e.Name()))
	}
	for _, dir := range old {
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.IsDir() {
			err = os.Chmod(dir, 0o700) // to move it to another directory, and to look into it
		}
		dead := filepath.Join(trees, temporaryPrefix+rand.Text())
		if err == nil {
			err = os.Rename(dir, dead)
		}
		if err != nil {
			return doomed, err
		}
		doomed = append(doomed, dead)
	}
	return doomed, nil
}

// removeTree removes a directory, whatever the modes in it are, and returns the bytes of its files.
func removeTree(ctx context.Context, dir string) (freed int64, err error) {
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case e.IsDir():
			return unlockDir(name, e)
		case e.Type().IsRegular():
			info, err := e.Info()
			if err != nil {
				return err
			}
			freed += sizeOnDisk(info)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return freed, sandbox.Remove(dir)
}

// unlockDir lets this user read a directory that is to be removed.
func unlockDir(name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil || info.Mode()&0o700 == 0o700 {
		return err
	}
	return os.Chmod(name, 0o700)
}

// sizeOnDisk shares the size of a file among its names.
func sizeOnDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return info.Size() / int64(st.Nlink)
	}
	return info.Size()
}
