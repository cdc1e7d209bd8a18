package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// GarbageTree is the kind of artifact.Garbage that is a directory of the builder: an unpacked layer, or what cache
// mounts keep.
const GarbageTree = "tree"

// Garbage lists what a sweep of the store and PruneTrees would remove now, if what gone says were gone, and with cache
// what PruneCache would.
func Garbage(ctx context.Context, blobs *store.Store, gone store.Without, cache bool) ([]store.Garbage, error) {
	if cache {
		gone.Records = append(gone.Records, cachePrefixes[:]...)
	}
	list, err := blobs.Garbage(ctx, gone)
	if err != nil {
		return nil, err
	}
	going := map[string]bool{}
	for _, g := range list {
		if g.Kind == store.GarbageBlob {
			going[g.Name] = true
		}
	}
	trees, err := os.ReadDir(filepath.Join(blobs.Root(), treesName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	var dirs []string
	for _, e := range trees {
		h := v1.Hash{Algorithm: "sha256", Hex: e.Name()}
		_, err := os.Stat(blobs.BlobPath(h))
		if cache || going[h.String()] || artifact.IsSHA256(h) && errors.Is(err, fs.ErrNotExist) {
			dirs = append(dirs, treesName+"/"+e.Name())
		}
	}
	if cache {
		dirs = append(dirs, mountsName)
	}
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(blobs.Root(), dir)); err == nil {
			list = append(list, store.Garbage{Kind: GarbageTree, Name: dir, Size: treeSize(ctx, filepath.Join(blobs.Root(), dir))})
		}
	}
	return list, context.Cause(ctx)
}

// HasTrees reports whether there are unpacked layers beside the store.
func HasTrees(blobs *store.Store) bool {
	list, err := os.ReadDir(filepath.Join(blobs.Root(), treesName))
	return err == nil && len(list) > 0
}

// treeSize returns the bytes of the files in a directory, as far as this user may look.
func treeSize(ctx context.Context, dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be seen is not counted
		}
		if info, err := e.Info(); err == nil {
			size += sizeOnDisk(info)
		}
		return nil
	})
	return size
}
