package state

import (
	"context"
	"fmt"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// Save makes this the state on all sides: the document, with the next revision,
// which is put into it, and further files; those that are not named stay as
// they are, nil content removes one. Where nothing changes, the revision stays.
func (h *Hold) Save(ctx context.Context, d *clusterfile.Document, files Files) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, err := readFiles(h.o.Folder.dir)
	if err != nil {
		return err
	}
	before, err := now.Files.document()
	if err != nil {
		return err
	}
	revision := int64(0)
	if before != nil {
		revision = before.Metadata.Revision
	}
	next := Files{}
	for name, data := range now.Files {
		next[name] = data
	}
	for name, data := range files {
		if next[name] = data; data == nil {
			delete(next, name)
		}
	}
	d.Metadata.Revision = revision
	if next[Clusterfile], err = clusterfile.Format(d); err != nil {
		return err
	}
	if before == nil || next.Digest() != now.Files.Digest() {
		d.Metadata.Revision = revision + 1
		if next[Clusterfile], err = clusterfile.Format(d); err != nil {
			return err
		}
	}
	for name, data := range files {
		if data == nil {
			next[name] = nil
		}
	}
	return h.spread(ctx, next)
}

// spread writes files to all sides: the masters first, so that a client that is
// killed in between is behind, and takes it from there.
func (h *Hold) spread(ctx context.Context, files Files) error {
	if err := h.enough(); err != nil {
		return err
	}
	h.offered = files.Digest()
	h.all(func(c *connection) error {
		_, err := c.ask(context.WithoutCancel(ctx), request{Op: opSave, Files: files})
		return err
	})
	if err := h.enough(); err != nil {
		return err
	}
	if err := writeFiles(h.o.Folder.dir, files); err != nil {
		return fmt.Errorf("write the state of cluster %s: %w", h.o.Cluster, err)
	}
	return nil
}
