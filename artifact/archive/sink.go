package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Sink writes images as one OCI archive: the tar of an OCI image layout (OCI image-spec image-layout.md), each blob once
// however many images share it. The same images copied in the same order give the same bytes. It implements
// artifact.Sink and artifact.Attacher; an error leaves the archive unusable.
type Sink struct {
	mu     sync.Mutex
	w      *writer
	have   map[v1.Hash]bool
	index  artifact.Index
	begun  bool
	closed bool
	err    error // what broke the archive
}

// NewSink returns a sink that writes to w as images arrive. Close completes the archive; it does not close w.
func NewSink(w io.Writer) *Sink { return &Sink{w: newWriter(w), have: map[v1.Hash]bool{}} }

// Serial tells artifact.Copy that the order of blobs matters.
func (a *Sink) Serial() {}

// Has implements artifact.Sink: it knows what it has written.
func (a *Sink) Has(_ context.Context, _ artifact.Reference, d v1.Descriptor) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.have[d.Digest], a.err
}

// Put implements artifact.Sink. That the bytes are those of d is for who opens them to see to, as artifact.Copy does.
func (a *Sink) Put(ctx context.Context, _ artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || a.have[d.Digest] {
		return a.err
	}
	r, err := open(0) // before the header: a blob that is not there does not break the archive
	if err != nil {
		return err
	}
	defer r.Close()
	if err = a.begin(); err == nil {
		err = a.w.file(blobDir+d.Digest.Hex, d.Size, func() error {
			_, err := io.CopyBuffer(a.w, layer.UntilDone(ctx, r), make([]byte, chunk))
			return err
		})
	}
	if err != nil {
		a.err = fmt.Errorf("write archive: %w", err)
		return a.err
	}
	a.have[d.Digest] = true
	return nil
}

// begin writes what stands before the first blob, once.
func (a *Sink) begin() error {
	if a.begun {
		return nil
	}
	a.begun = true
	return a.w.begin()
}

// Tag implements artifact.Sink. Names are written with both annotations that tools look for.
func (a *Sink) Tag(_ context.Context, ref artifact.Reference, d v1.Descriptor) error {
	return a.name(ref, d, func() error {
		a.index.SetName(ref, d, artifact.AnnotationContainerdName)
		return nil
	})
}

// Attach implements artifact.Attacher.
func (a *Sink) Attach(_ context.Context, ref artifact.Reference, n artifact.Named) error {
	return a.name(ref, n.Desc, func() error {
		_, err := a.index.Attach(ref, n)
		return err
	})
}

func (a *Sink) name(ref artifact.Reference, d v1.Descriptor, change func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if !a.have[d.Digest] {
		return fmt.Errorf("name %s in the archive: manifest %s: %w", ref.Familiar(), d.Digest, artifact.ErrNotFound)
	}
	return change()
}

// Close writes index.json and the end of the archive. An archive without images is an error, as is closing after one.
func (a *Sink) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || a.closed {
		return a.err
	}
	a.closed = true
	if len(a.index.Refs()) == 0 {
		return errors.New("write archive: no image was put into it")
	}
	err := a.begin()
	if err == nil {
		err = a.w.index(&a.index)
	}
	if err == nil {
		err = a.w.end()
	}
	if err != nil {
		a.err = fmt.Errorf("write archive: %w", err)
	}
	return a.err
}
