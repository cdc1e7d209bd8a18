package builder

import (
	"context"
	"encoding/binary"
	"io"
	"iter"
	"slices"

	"github.com/sealrt/sealrt/artifact/layer"
)

// addFiles adds layers of files, which are in order. What a layer is called in the cache follows from what it holds, so that it does not
// matter where in which Kubefile the files are copied. The layers are written while the build goes on.
func (w *work) addFiles(ctx context.Context, entries []layer.Entry, createdBy string) {
	if len(entries) == 0 {
		w.image.addHistory(createdBy, w.Created, true)
		return
	}
	archives, entries := apart(entries)
	var groups [][]layer.Entry
	if len(entries) > 0 {
		groups = group(entries)
	}
	if len(w.image.layers)+len(groups)+w.later > maxFileLayers {
		groups = [][]layer.Entry{entries}
	}
	for _, g := range groups {
		p := w.writeFiles(ctx, g)
		p.once.Do(p.begin)
		w.image.add(p, g, createdBy, w.Created)
	}
	for _, g := range archives { // BASE takes them apart, if it comes: their layers wait to be needed
		w.image.add(w.writeFiles(ctx, g), g, createdBy, w.Created)
	}
}

// writeFiles finds or writes a layer, in the background, once it is begun.
func (w *work) writeFiles(ctx context.Context, entries []layer.Entry) *pending {
	p := newPending()
	s, t, i := w.stage, w.task, w.step
	p.begin = func() {
		t.part()
		s.group.Go(func() error {
			r, err := s.fileLayer(ctx, t, entries)
			if err != nil {
				err = s.at(i, err)
				t.fail(ctx, err)
			}
			p.set(r, err)
			t.done()
			return err
		})
	}
	return p
}

// fileLayer returns the layer that holds entries. Content is read only when it must be: not when the files are known by their
// versions, and without compressing when a layer of files with these names, modes and sizes was made before and
// they turn out to be the same.
func (b *build) fileLayer(ctx context.Context, t *task, entries []layer.Entry) (record, error) {
	shape, version := b.fileKeys(entries)
	find := func() (any, error) {
		select {
		case b.writers <- struct{}{}:
			defer func() { <-b.writers }()
		case <-ctx.Done():
			return record{}, context.Cause(ctx)
		}
		return b.findFiles(ctx, t, entries, shape, version)
	}
	var made any
	var err error
	if version != "" {
		made, err, _ = b.shared.Do(version, find)
	} else {
		made, err = find()
	}
	if err != nil {
		return record{}, err
	}
	r := made.(record) //nolint:forcetypeassert // findFiles returns nothing else
	b.OnLayer(ctx, r.layer())
	return r, nil
}

func (b *build) findFiles(ctx context.Context, t *task, entries []layer.Entry, shape, version string) (record, error) {
	if version != "" {
		if r, ok := b.cache.find(ctx, version); ok {
			return r, nil
		}
	}
	keep := func(r record, keys ...string) (record, error) {
		if version != "" {
			keys = append(keys, version)
		}
		for _, key := range keys {
			if err := b.cache.keep(key, r); err != nil {
				return record{}, err
			}
		}
		return r, nil
	}
	if b.cache.known(ctx, shape) {
		id, err := layer.DiffID(ctx, inTurn(entries), b.layerOptions())
		if err != nil {
			return record{}, err
		}
		if r, ok := b.cache.find(ctx, b.contentKey(id.String())); ok {
			return keep(r)
		}
	}
	t.work()
	r, err := b.writeLayer(ctx, t, entries)
	if err != nil {
		return record{}, err
	}
	return keep(r, shape, b.contentKey(r.DiffID.String()))
}

// writeLayer streams a layer into the store.
func (b *build) writeLayer(ctx context.Context, t *task, entries []layer.Entry) (record, error) {
	if err := b.Store.CheckSpace(b.leastSize(entries)); err != nil {
		return record{}, err
	}
	w, err := b.Store.NewBlob(ctx)
	if err != nil {
		return record{}, err
	}
	defer w.Close()
	blob, err := layer.Write(ctx, w, followed(t, entries), b.layerOptions())
	if err != nil {
		return record{}, err
	}
	return recordOf(blob), w.Commit(blob.Digest, blob.Size)
}

func (b *build) layerOptions() layer.Options {
	return layer.Options{Compression: b.Compression, Created: b.Created, Buffers: b.buffers}
}

// fileKeys returns the key of everything about the entries but their content, and that of all of it, which is "" when
// the content of an entry is not known without reading it.
func (b *build) fileKeys(entries []layer.Entry) (shape, version string) {
	h := b.newKey("files")
	var line []byte
	for i := range entries {
		e := &entries[i]
		line = appendText(line[:0], e.Name)
		for _, n := range [...]int64{int64(e.Mode), int64(e.UID), int64(e.GID), e.Size} {
			line = binary.AppendVarint(line, n)
		}
		h.Write(appendText(line, e.Linkname))
	}
	shape = endKey("shape", h)
	for i := range entries {
		if e := &entries[i]; e.Mode.IsRegular() && e.Size > 0 {
			if e.Version == "" {
				return shape, ""
			}
			h.Write(appendText(line[:0], e.Version))
		}
	}
	return shape, endKey("version", h)
}

// appendText appends a text so that where it ends is beyond doubt.
func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// contentKey is the key of a layer whose uncompressed archive is known.
func (b *build) contentKey(diffID string) string {
	h := b.newKey("content")
	io.WriteString(h, diffID)
	return endKey("content", h)
}

// leastSize is how many bytes a layer will take at least, as far as can be told: a disk on which it has no room is told of
// before the work, and a little too small a one when it is full.
func (b *build) leastSize(entries []layer.Entry) int64 {
	if b.Compression == layer.None {
		return totalSize(entries)
	}
	return totalSize(entries) / 4
}

func totalSize(entries []layer.Entry) int64 {
	var n int64
	for _, e := range entries {
		n += e.Size
	}
	return n
}

// inOrder sorts entries as those of a layer are sorted.
func inOrder(entries []layer.Entry) {
	slices.SortFunc(entries, func(a, b layer.Entry) int { return layer.Compare(a.Name, b.Name) })
}

// inTurn yields entries that are in order.
func inTurn(entries []layer.Entry) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// followed yields the entries, and tells how far it came.
func followed(t *task, entries []layer.Entry) iter.Seq2[layer.Entry, error] {
	total, done, told := totalSize(entries), int64(0), int64(0)
	const step = 4 << 20
	count := func(n int) {
		if done += int64(n); done-told >= step || done == total {
			told = done
			t.progress("layer of "+entries[len(entries)-1].Name, done, total)
		}
	}
	return func(yield func(layer.Entry, error) bool) {
		for _, e := range entries {
			if open := e.Open; open != nil && e.Size >= step {
				e.Open = func() (io.ReadCloser, error) {
					r, err := open()
					return &counted{r, count}, err
				}
			} else {
				count(int(e.Size))
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// counted tells how many bytes are read.
type counted struct {
	io.ReadCloser
	count func(int)
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.count(n)
	return n, err
}
