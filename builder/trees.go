package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// trees are the unpacked layers that RUN commands work on, in trees/ beside the blobs of a store: one directory a
// layer, named after the digest of its blob, in the form of an overlayfs lower directory.
type trees struct {
	store     *store.Store
	dir       string
	unpacking singleflight.Group
}

// temporaryPrefix begins the names of directories that live as long as their process.
const temporaryPrefix = "tmp-"

// openTrees makes the directory when there is none.
func openTrees(store *store.Store) (*trees, error) {
	t := &trees{store: store, dir: filepath.Join(store.Root(), "trees")}
	return t, os.MkdirAll(t.dir, 0o700)
}

// PruneTrees removes the unpacked layers beside the store whose blobs are gone, and what dead processes left there.
// It belongs after a sweep of the store; every build begins with it.
func PruneTrees(store *store.Store) error {
	t := &trees{store: store, dir: filepath.Join(store.Root(), "trees")}
	list, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if err == nil {
			err = t.reap(e.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("prune unpacked layers: %w", err)
	}
	return nil
}

// reap removes a member of the directory if nobody needs it. A temporary one stays locked meanwhile, so that whoever is
// making it notices.
func (t *trees) reap(name string) error {
	dir := filepath.Join(t.dir, name)
	if !strings.HasPrefix(name, temporaryPrefix) {
		if _, err := os.Stat(t.store.BlobPath(v1.Hash{Algorithm: "sha256", Hex: name})); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return sandbox.Remove(dir)
	}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // its process lives
	}
	return sandbox.Remove(dir)
}

// temporary makes a directory that is locked until remove is called, which removes it, or this process ends.
func (t *trees) temporary() (dir string, remove func(), err error) {
	for {
		if dir, err = os.MkdirTemp(t.dir, temporaryPrefix); err != nil {
			return "", nil, err
		}
		lock, err := lockDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process took it for a dead one's, before it was locked
		}
		if err != nil {
			return "", nil, err
		}
		return dir, func() {
			_ = sandbox.Remove(dir) // what is left goes with the next build
			lock.Close()
		}, nil
	}
}

// lockDir locks a directory that this process made. When it is removed by then, the error is fs.ErrNotExist.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH)
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// open opens a file of a layer, which is unpacked for it.
func (t *trees) open(ctx context.Context, d v1.Descriptor, name string) (io.ReadCloser, error) {
	dir, err := t.extract(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", d.Digest, err)
	}
	return os.OpenInRoot(dir, name)
}

// extract returns the directory of an unpacked layer.
func (t *trees) extract(ctx context.Context, d v1.Descriptor) (string, error) {
	return t.make(d.Digest.Hex, func(tree string) error {
		return t.unpack(ctx, tree, d)
	})
}

// make returns the directory of that name, filled by fill when there is none. Two processes may make it at the same
// time; one wins.
func (t *trees) make(name string, fill func(tree string) error) (string, error) {
	final := filepath.Join(t.dir, name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	_, err, _ := t.unpacking.Do(name, func() (any, error) {
		dir, remove, err := t.temporary()
		if err != nil {
			return nil, whenFull(err)
		}
		defer remove()
		tree := filepath.Join(dir, "tree")
		if err := os.Mkdir(tree, 0o755); err != nil {
			return nil, err
		}
		if err := fill(tree); err != nil {
			return nil, whenFull(err)
		}
		if err := os.Rename(tree, final); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return nil, err
		}
		return nil, nil
	})
	return final, err
}

// whenFull says what to do when err is that the disk is full.
func whenFull(err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("%w: free space (`sealrt rmi` removes images, `sealrt prune --cache` what builds left), or choose another place with --root", err)
	}
	return err
}

func (t *trees) unpack(ctx context.Context, tree string, d v1.Descriptor) error {
	f, err := os.Open(t.store.BlobPath(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = layer.ExtractOverlay(ctx, tree, f, layer.ExtractOptions{})
	return err
}
