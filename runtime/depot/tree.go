package depot

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/mount"
)

// copyTree unpacks the layers of an image into its rootfs directory, which
// appears when all of it is safe on disk.
func (d *Depot) copyTree(ctx context.Context, l Listing) (err error) {
	dir := d.Rootfs(l.Manifest.Digest)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := disk.Reap(dir); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), disk.Unfinished(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.RemoveTree(tmp)) }()
	lock, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := disk.TryLock(lock, true); err != nil {
		return err
	}
	tree := filepath.Join(tmp, "tree")
	if err := errors.Join(os.Mkdir(tree, 0o755), os.Chmod(tree, 0o755)); err != nil {
		return err
	}
	o := layer.ExtractOptions{Spent: &layer.Spent{}, DropSetID: os.Geteuid() != 0}
	for i, part := range l.Layers {
		err := artifact.ReadLayer(ctx, d.store, l.reference(), part.Descriptor, func(r io.Reader) error {
			return d.change(l)(ctx, part.Descriptor, r, func(r io.Reader) error { return layer.Extract(ctx, tree, r, o) })
		})
		if err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(l.Layers), err)
		}
	}
	if err := syncFileSystem(tree); err != nil {
		return err
	}
	d.reach("unpacked")
	if err := disk.RemoveTree(dir); err != nil { // a mount point, or what was cut off
		return err
	}
	return errors.Join(os.Rename(tree, dir), syncFileSystem(filepath.Dir(dir)))
}

// change is how layers of an image are unpacked: without the blobs that they
// pack.
func (d *Depot) change(l Listing) mount.Change {
	return func(ctx context.Context, part v1.Descriptor, r io.Reader, use func(io.Reader) error) error {
		d.reach("unpacking")
		packs := slices.ContainsFunc(l.Layers, func(l Layer) bool { return l.Digest == part.Digest && l.Packs })
		if !packs {
			return use(r)
		}
		return d.takeOut(ctx, r, use)
	}
}

// takeOut gives use the bytes of a layer without the blobs of container images
// in it, which it puts into the store. It reads the layer once.
func (d *Depot) takeOut(ctx context.Context, r io.Reader, use func(io.Reader) error) error {
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, _, err := layer.Rewrite(ctx, in, r, layer.Options{Compression: layer.None}, func(hdr *tar.Header, content io.Reader) (io.Reader, error) {
			h, ok := blobOf(hdr, hdr.Name)
			if !ok {
				return content, nil
			}
			return nil, d.putInner(ctx, v1.Descriptor{Digest: h, Size: hdr.Size}, content)
		})
		in.CloseWithError(err)
		done <- err
	}()
	err := use(out)
	out.CloseWithError(errStopped)
	if unread := <-done; unread != nil && !errors.Is(unread, errStopped) {
		return unread // says more
	}
	return err
}

var errStopped = errors.New("nobody reads on")

// putInner stores a blob that was packed. One that is not what its name says
// is left out: an image that needs it is found not to be whole.
func (d *Depot) putInner(ctx context.Context, b v1.Descriptor, content io.Reader) error {
	err := d.store.Put(ctx, artifact.Reference{}.WithDigest(b.Digest), b, func(from int64) (io.ReadCloser, error) {
		if _, err := io.CopyN(io.Discard, content, from); err != nil {
			return nil, err
		}
		return io.NopCloser(content), nil
	})
	if artifact.IsDamaged(err) {
		d.note("%v", err)
		return nil
	}
	return err
}

// Tarballs lists the archives that the author of an adopted image left in
// images/ as files, sorted.
func (d *Depot) Tarballs(h v1.Hash) ([]string, error) {
	dir := filepath.Join(d.Rootfs(h), "images")
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if e.Type().IsRegular() && IsTarball(e.Name()) {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list, nil
}
