package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// Adopt shows the tree of an image, all of whose blobs were written, as the
// directory Rootfs, which it returns: by a mount of its unpacked layers that is
// made anew at every boot, or, where that cannot be had, as a copy. An image
// that is there already stays as it is. What is missing is an error that names
// it; what was cut off is completed by adopting again.
func (d *Depot) Adopt(ctx context.Context, l Listing) (dir string, err error) {
	release, err := d.store.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	err = d.alone(ctx, func() error { return d.adopt(ctx, l) })
	if err != nil {
		return "", fmt.Errorf("adopt %s: %w", l.reference().Familiar(), disk.Full(d.home, err))
	}
	return d.Rootfs(l.Manifest.Digest), nil
}

// Adopted reports whether the tree of the image with that manifest is there, and
// the blobs of the container images that were sent for it.
func (d *Depot) Adopted(ctx context.Context, h v1.Hash) (bool, error) {
	r, err := d.record(h)
	if err != nil || r == nil || !d.shows(*r) {
		return false, err
	}
	r.Images = slices.DeleteFunc(r.Images, func(b Blob) bool { return b.In != v1.Hash{} })
	err = d.hasImages(ctx, *r)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// record returns what there is about one image, nil for nothing.
func (d *Depot) record(h v1.Hash) (*record, error) {
	list, err := d.records()
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.Manifest.Digest == h {
			return &r, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing is no error
}

func (d *Depot) adopt(ctx context.Context, l Listing) error {
	old, err := d.record(l.Manifest.Digest)
	if err != nil {
		return err
	}
	if old != nil && d.shows(*old) {
		return nil
	}
	if err := d.complete(ctx, l); err != nil {
		return err
	}
	next := record{Listing: l, Seq: 1, Handed: old != nil && old.Handed}
	all, err := d.records()
	if err != nil {
		return err
	}
	if len(all) > 0 {
		next.Seq = all[0].Seq + 1
	}
	if next.Source, err = d.mount(ctx, l); err != nil {
		if !d.copies(ctx, err) {
			return d.resend(l, err)
		}
		d.note("the tree of %s is copied, not mounted: %v", l.reference().Familiar(), err)
		next.Copied, next.Source = true, ""
		if err := d.unmount(ctx, l.Manifest.Digest); err != nil {
			return err
		}
		if err := d.copyTree(ctx, l); err != nil {
			return err
		}
	}
	d.reach("shown")
	if err := d.hasImages(ctx, next); err != nil {
		return err
	}
	return d.keep(next)
}

// copies says whether a copy may succeed where a mount did not. What is wrong
// with the image, or the disk, is wrong with the copy too.
func (d *Depot) copies(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !disk.IsFull(err) && !artifact.IsDamaged(err) && !errors.Is(err, artifact.ErrNotFound)
}

// resend marks the layers to be sent again when the bytes of one are missing
// which is unpacked, but not in the form that this image needs.
func (d *Depot) resend(l Listing, err error) error {
	if !errors.Is(err, artifact.ErrNotFound) {
		return err
	}
	for _, layer := range l.Layers {
		if _, lost := os.Stat(d.store.BlobPath(layer.Digest)); lost == nil {
			continue
		}
		if err := os.MkdirAll(d.path(wantedName, layer.Digest.Hex), 0o755); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: run the command again: it is sent then", err)
}

// complete returns an error that names what is missing of an image.
func (d *Depot) complete(ctx context.Context, l Listing) error {
	if old, err := d.record(l.Manifest.Digest); err != nil {
		return err
	} else if old != nil && old.Handed {
		l.Images = nil
	}
	lacks, err := d.Missing(ctx, l.travels())
	if err != nil || len(lacks) == 0 {
		return err
	}
	return lacking(lacks)
}

// told is how many missing blobs an error names.
const told = 5

func lacking(lacks []Want) error {
	var names []string
	for _, w := range lacks[:min(told, len(lacks))] {
		names = append(names, fmt.Sprintf("%s (%s)", w.Digest, disk.Bytes(w.Size)))
	}
	if more := len(lacks) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("blobs are missing: %w: %s: run the command again: they are sent then", artifact.ErrNotFound, strings.Join(names, ", "))
}

// hasImages returns an error if a blob of the container images is missing.
func (d *Depot) hasImages(ctx context.Context, r record) error {
	if r.Handed {
		return nil
	}
	var lacks []Want
	for _, b := range r.Images {
		has, err := d.store.Has(ctx, artifact.Reference{}, b.Descriptor)
		if err != nil {
			return err
		}
		if !has {
			lacks = append(lacks, Want{Descriptor: b.Descriptor})
		}
	}
	if len(lacks) > 0 {
		return lacking(lacks)
	}
	return nil
}

// shows reports whether the tree of an adopted image is where it belongs.
func (d *Depot) shows(r record) bool {
	dir := d.Rootfs(r.Manifest.Digest)
	if r.Copied {
		fi, err := os.Lstat(dir)
		return err == nil && fi.IsDir()
	}
	return mounted(dir)
}

// real returns a path without links, for a service manager that takes no other.
func real(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return filepath.Join(dir, filepath.Base(path)), err
}
