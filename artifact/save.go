package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// WriteArchive writes the images that refs name in src to w, as one OCI archive. The same images give the same bytes,
// in whatever order they are named.
func WriteArchive(ctx context.Context, w io.Writer, src Source, refs []Reference, o CopyOptions) error {
	sink := NewArchiveSink(w)
	for _, ref := range inOrder(refs) {
		if _, err := Copy(ctx, sink, ref, src, ref, o); err != nil {
			return err
		}
	}
	return sink.Close()
}

func inOrder(refs []Reference) []Reference {
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b Reference) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

// SaveArchive is WriteArchive for a file. The file appears, or replaces the one that was there, when it is complete;
// that there is room for it is checked first. What an earlier call left half-written because its process was killed is
// removed.
func SaveArchive(ctx context.Context, path string, src Source, refs []Reference, o CopyOptions) error {
	need, err := archiveSize(ctx, src, refs)
	if err != nil {
		return err
	}
	if err := saveArchive(ctx, path, need, src, refs, o); err != nil {
		return fmt.Errorf("save to %s: %w", path, err)
	}
	return nil
}

func saveArchive(ctx context.Context, path string, need int64, src Source, refs []Reference, o CopyOptions) error {
	return Replace(path, need, func(w io.Writer) error { return WriteArchive(ctx, w, src, refs, o) })
}

// Replace makes the file at path of what write writes, at least need bytes. It appears, or replaces the one that was
// there, when it is complete; that there is room for it is checked first. What an earlier call left half-written because
// its process was killed is removed.
func Replace(path string, need int64, write func(w io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := reapPartial(path); err != nil {
		return err
	}
	if err := checkSpace(dir, need); err != nil {
		return err
	}
	f, err := lockTemp(dir, partialPrefix(path))
	if err != nil {
		return full(dir, err)
	}
	defer discard(f) // its name is gone already when all went well
	if err := write(f); err != nil {
		return full(dir, err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return full(dir, err)
	}
	return os.Rename(f.Name(), path)
}

// archiveSize returns the bytes of the different blobs of images, and what a tar archive has beside each.
func archiveSize(ctx context.Context, src Source, refs []Reference) (int64, error) {
	const header, block = 512, 512
	c := &copying{dst: nil, src: src, seen: map[v1.Hash]bool{}}
	for _, ref := range refs {
		c.from = ref
		d, err := src.Resolve(ctx, ref)
		if err != nil {
			return 0, err
		}
		if err := c.plan(ctx, d, 0); err != nil {
			return 0, err
		}
	}
	var n int64
	for _, p := range c.blobs {
		n += header + (p.Size+block-1)/block*block
	}
	for _, m := range c.trunk {
		n += header + (m.Size+block-1)/block*block
	}
	return n, nil
}

// partialPrefix begins the names of what will become path and is not complete yet. It lies beside it.
func partialPrefix(path string) string { return "." + filepath.Base(path) + ".sealrt-" }

// reapPartial removes what dead processes left beside path.
func reapPartial(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // it may be writable all the same
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), partialPrefix(path)) {
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
	if ok, err := tryLock(f, true); err != nil || !ok {
		return nil // its process lives
	}
	return removeTree(path)
}
