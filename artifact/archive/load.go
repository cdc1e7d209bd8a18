package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// Load loads an OCI archive, plain or compressed with gzip or zstd, from r into s and returns what it names, sorted. r
// needs no seeking: a pipe will do. Every blob is verified before it gets its place, and an image gets its name when all
// that it needs is in the store, from the archive or from before; what is missing is listed in the error, which then
// wraps artifact.ErrNotFound. What is attached to images is attached to them in the store.
func Load(ctx context.Context, s *store.Store, r io.Reader, observe func(artifact.Event)) (list []artifact.Named, err error) {
	return load(ctx, s, observe, func(l *loader) error {
		if f, ok := r.(*os.File); ok {
			a, err := openFile(f)
			if err != nil {
				return err
			}
			if a != nil {
				return l.archive(ctx, a)
			}
		}
		return l.stream(ctx, r)
	})
}

// loader is a Load under way.
type loader struct {
	s        *store.Store
	observe  func(artifact.Event)
	index    *artifact.Index
	presumes *Inventory
}

// load has read fill the store, and names what is in it then.
func load(ctx context.Context, s *store.Store, observe func(artifact.Event), read func(*loader) error) (list []artifact.Named, err error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	l := &loader{s: s, observe: artifact.OneByOne(observe)}
	if err := read(l); err != nil {
		return nil, fmt.Errorf("load archive: %w", advise(err))
	}
	if err := l.name(ctx); err != nil {
		return nil, fmt.Errorf("load archive: %w", err)
	}
	return l.index.Refs(), nil
}

// openFile opens an archive that can be read at any place, nil for others: those are met as they come.
func openFile(f *os.File) (*Archive, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, errDirectory
	}
	if !fi.Mode().IsRegular() {
		return nil, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || at != 0 {
		return nil, err
	}
	a := &Archive{name: f.Name(), blobs: map[v1.Hash][]extent{}}
	err = a.scan(io.NewSectionReader(f, 0, fi.Size()))
	if compressed := (*compressedError)(nil); errors.As(err, &compressed) {
		_, err = f.Seek(0, io.SeekStart)
		return nil, err
	}
	return a, err
}

// loadJobs is how many blobs are read at a time where any place can be reached.
const loadJobs = 3

// archive puts the blobs of an archive into the store, several at a time.
func (l *loader) archive(ctx context.Context, a *Archive) error {
	l.index, l.presumes = a.index, a.presumes
	if err := a.Over(l.s).RequireWhole(ctx, a.Refs()); err != nil {
		return err
	}
	lacking, err := l.lacking(ctx, a.Blobs())
	if err != nil {
		return err
	}
	return putAll(ctx, lacking, func(ctx context.Context, d v1.Descriptor) error {
		return l.put(ctx, join(a.blobs[d.Digest], 0), d)
	})
}

// requirePresumed wants the store to have what a delta presumes, before the first blob is read.
func (l *loader) requirePresumed(ctx context.Context) error {
	if l.presumes == nil {
		return nil
	}
	var lacks []planned
	for _, b := range l.presumes.Blobs {
		d := v1.Descriptor{Digest: b.Digest, Size: b.Size}
		has, err := l.s.Has(ctx, artifact.Reference{}, d)
		if err != nil {
			return err
		}
		if !has {
			lack := planned{Part: artifact.Part{Descriptor: d, Name: "layer"}}
			if b.Of != nil {
				lack.ref = *b.Of
			}
			lacks = append(lacks, lack)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return lacksError(lacks, l.presumes)
}

// lacking returns those blobs that the store has not, and asks whether it has room for them.
func (l *loader) lacking(ctx context.Context, list []v1.Descriptor) ([]v1.Descriptor, error) {
	var lacking []v1.Descriptor
	var need int64
	for _, d := range list {
		has, err := l.s.Has(ctx, artifact.Reference{}, d)
		if err != nil {
			return nil, err
		}
		if has {
			l.observe(artifact.Event{Kind: artifact.EventExists, Digest: d.Digest, Name: "blob", Size: d.Size, Done: d.Size})
			continue
		}
		lacking = append(lacking, d)
		need += disk.OnDisk(d.Size)
	}
	if need == 0 {
		return lacking, nil
	}
	return lacking, l.s.CheckSpace(need + disk.Reserve)
}

func putAll(ctx context.Context, list []v1.Descriptor, put func(context.Context, v1.Descriptor) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loadJobs)
	for _, d := range list {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return put(ctx, d) })
	}
	return g.Wait()
}

// stream puts blobs into the store as they come.
func (l *loader) stream(ctx context.Context, r io.Reader) error {
	plain, err := layer.Decompress(layer.UntilDone(ctx, r))
	if err != nil {
		return err
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	var entries layoutReader
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return entries.broken(err)
		}
		h, isBlob, err := entries.entry(hdr, tr)
		if err != nil {
			return err
		}
		if entries.volume {
			return errVolume
		}
		if entries.presumes != nil && l.presumes == nil {
			l.presumes = entries.presumes
			if err := l.requirePresumed(ctx); err != nil {
				return err
			}
		}
		if isBlob {
			if err := l.streamed(ctx, tr, v1.Descriptor{Digest: h, Size: hdr.Size}); err != nil {
				return err
			}
		}
	}
	// What follows the archive's end belongs to the pipe's writer, who would otherwise see it break.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return err
	}
	l.index, err = entries.finish()
	return err
}

// streamed puts a blob into the store unless it is there.
func (l *loader) streamed(ctx context.Context, r io.Reader, d v1.Descriptor) error {
	lacking, err := l.lacking(ctx, []v1.Descriptor{d})
	if err != nil || len(lacking) == 0 {
		return err
	}
	return l.put(ctx, r, d)
}

// put verifies a blob while it writes it into the store.
func (l *loader) put(ctx context.Context, r io.Reader, d v1.Descriptor) error {
	e := artifact.Event{Kind: artifact.EventStarted, Digest: d.Digest, Name: "blob", Size: d.Size}
	l.observe(e)
	w, err := l.s.BeginBlob(ctx, d, func(text string) { l.observe(artifact.Event{Kind: artifact.EventNote, Name: text}) })
	if err != nil {
		return err
	}
	if w == nil { // another process was waited for
		e.Kind, e.Done = artifact.EventExists, d.Size
		l.observe(e)
		return nil
	}
	defer w.Close()
	e.Kind = artifact.EventProgress
	err = verified(ctx, w, r, d, func(done int64) {
		e.Done = done
		l.observe(e)
	})
	if err != nil {
		if artifact.IsDamaged(err) {
			w.Drop()
		}
		return err
	}
	if err := w.Commit(d.Digest, d.Size); err != nil {
		return err
	}
	e.Kind, e.Done = artifact.EventDone, d.Size
	l.observe(e)
	return nil
}

// name gives the images their names, and attaches what is attached to them, once all is there.
func (l *loader) name(ctx context.Context) error {
	list := l.index.Refs()
	if err := requireWhole(ctx, l.s, list, l.presumes); err != nil {
		return err
	}
	for _, n := range list {
		if err := l.s.Tag(ctx, n.Ref, n.Desc); err != nil {
			return err
		}
		l.observe(artifact.Event{Kind: artifact.EventTagged, Ref: n.Ref.Familiar(), Digest: n.Desc.Digest})
	}
	return l.attach(ctx)
}

// attach attaches what index.json says is attached, to whatever it is attached to.
func (l *loader) attach(ctx context.Context) error {
	for about, d := range l.index.Attachments() {
		subject, err := v1.NewHash(about)
		if err != nil {
			continue // about nothing that can be here
		}
		ref := l.nameOf(subject)
		list, err := l.index.Attached(ref)
		if err != nil {
			return err
		}
		if err := requireWhole(ctx, l.s, list, l.presumes); err != nil {
			return err
		}
		for _, n := range list {
			if n.Desc.Digest != d.Digest {
				continue
			}
			if err := l.s.Attach(ctx, ref, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameOf returns a reference for what has no name of its own here, as platforms of an index have none.
func (l *loader) nameOf(h v1.Hash) artifact.Reference {
	list := l.index.Refs()
	for _, n := range list {
		if n.Desc.Digest == h {
			return n.Ref.WithDigest(h)
		}
	}
	return list[0].Ref.WithDigest(h)
}
