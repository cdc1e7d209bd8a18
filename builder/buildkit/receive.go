package buildkit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// receiver is the content store to which the daemon exports a result. Layers of the command's tree are said to be here,
// so that they are not sent; everything else goes to files without a name beside the store's unpacked layers.
type receiver struct {
	readOnly
	store *store.Store
	known map[digest.Digest]int64 // sizes of the layers that are not to be sent

	mu    sync.Mutex
	files map[digest.Digest]*os.File
}

func newReceiver(store *store.Store) *receiver {
	return &receiver{store: store, known: map[digest.Digest]int64{}, files: map[digest.Digest]*os.File{}}
}

// temporary returns an empty file without a name.
func temporary(store *store.Store) (*os.File, error) {
	dir := filepath.Join(store.Root(), "trees")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "tmp-")
	if err != nil {
		return nil, err
	}
	// Another process may take it for what a dead one left.
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Info implements content.InfoProvider.
func (r *receiver) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size, ok := r.known[d]; ok {
		return content.Info{Digest: d, Size: size}, nil
	}
	f, ok := r.files[d]
	if !ok {
		return content.Info{}, fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
	}
	info, err := f.Stat()
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: d, Size: info.Size()}, nil
}

// ReaderAt implements content.Provider: nothing is read back.
func (r *receiver) ReaderAt(context.Context, ocispecs.Descriptor) (content.ReaderAt, error) {
	return nil, errdefs.ErrPermissionDenied
}

// Writer implements content.Ingester. Every blob begins anew.
func (r *receiver) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if _, err := r.Info(ctx, o.Desc.Digest); err == nil {
		return nil, fmt.Errorf("blob %s: %w", o.Desc.Digest, errdefs.ErrAlreadyExists)
	}
	if err := r.store.CheckSpace(o.Desc.Size); err != nil {
		return nil, err
	}
	f, err := temporary(r.store)
	if err != nil {
		return nil, err
	}
	return &incoming{to: r, ref: o.Ref, want: o.Desc, file: f, hash: sha256.New()}, nil
}

// take returns a file that was received, or nil. The receiver no longer closes it.
func (r *receiver) take(d digest.Digest) *os.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[d]
	delete(r.files, d)
	return f
}

// read returns the content of a small file that was received.
func (r *receiver) read(d digest.Digest) ([]byte, error) {
	f := r.take(d)
	if f == nil {
		return nil, fmt.Errorf("the daemon did not send %s", d)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > artifact.MaxManifest {
		return nil, fmt.Errorf("%s has %d bytes, more than a manifest or config may have", d, info.Size())
	}
	return io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
}

// close gives up what was not taken.
func (r *receiver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, f := range r.files {
		f.Close()
		delete(r.files, d)
	}
}

// incoming is a blob that is being received.
type incoming struct {
	to   *receiver
	ref  string
	want ocispecs.Descriptor
	file *os.File // nil once it is the receiver's, or closed
	hash hash.Hash
	size int64
}

// Write implements io.Writer.
func (i *incoming) Write(p []byte) (int, error) {
	if i.file == nil {
		return 0, os.ErrClosed
	}
	n, err := i.file.Write(p)
	i.hash.Write(p[:n])
	i.size += int64(n)
	return n, err
}

// Digest implements content.Writer.
func (i *incoming) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, i.hash) }

// Status implements content.Writer.
func (i *incoming) Status() (content.Status, error) {
	return content.Status{Ref: i.ref, Offset: i.size, Total: i.want.Size, Expected: i.want.Digest}, nil
}

// Truncate implements content.Writer; only a new beginning is asked for.
func (i *incoming) Truncate(size int64) error {
	switch {
	case size != 0:
		return errdefs.ErrNotImplemented
	case i.file == nil:
		return os.ErrClosed
	}
	i.hash.Reset()
	i.size = 0
	if _, err := i.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return i.file.Truncate(0)
}

// Commit implements content.Writer.
func (i *incoming) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	defer i.Close()
	switch got := i.Digest(); {
	case i.file == nil:
		return os.ErrClosed
	case size > 0 && size != i.size:
		return fmt.Errorf("blob %s: %d bytes instead of %d: %w", expected, i.size, size, errdefs.ErrFailedPrecondition)
	case expected != "" && expected != got:
		return fmt.Errorf("blob %s has digest %s: %w", expected, got, errdefs.ErrFailedPrecondition)
	default:
		i.to.mu.Lock()
		defer i.to.mu.Unlock()
		if _, ok := i.to.files[got]; ok {
			return errdefs.ErrAlreadyExists
		}
		i.to.files[got], i.file = i.file, nil
		return nil
	}
}

// Close implements io.Closer. It can be called twice.
func (i *incoming) Close() error {
	if i.file == nil {
		return nil
	}
	f := i.file
	i.file = nil
	return f.Close()
}
