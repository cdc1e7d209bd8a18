package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// view is the listing of a layer that lies in the store, as the cache keeps it.
type view struct {
	Digest v1.Hash     `json:"digest"` // of the layer
	Files  []viewEntry `json:"files"`
}

type viewEntry struct {
	Name string      `json:"n"`
	Mode fs.FileMode `json:"m"`
	Link string      `json:"l,omitempty"`
	UID  int         `json:"u,omitempty"`
	GID  int         `json:"g,omitempty"`
	Size int64       `json:"s,omitempty"`
	Text []byte      `json:"t,omitempty"` // content, of small files that a build may have to read
}

const (
	maxViewText   = 512 << 10       // bytes of a file whose content a view keeps
	maxViewRecord = store.MaxRecord // bytes
	fewFiles      = 64              // in an uncompressed layer, which are listed as fast as a record is read
)

// viewLayer lists a layer of the store. Unchanged layers are read once; later builds read the listing.
func (b *build) viewLayer(ctx context.Context, d v1.Descriptor) ([]layer.Entry, error) {
	var v view
	if data, ok := b.Store.CacheGet(viewKey(d)); !ok || json.Unmarshal(data, &v) != nil || v.Digest != d.Digest {
		var err error
		if v, err = readView(ctx, b.Store, d); err != nil {
			return nil, fmt.Errorf("list layer %s: %w", d.Digest, err)
		}
		if d.MediaType == layer.None.MediaType() && len(v.Files) <= fewFiles {
			return b.entries(ctx, v, d), nil
		}
		if err := v.keep(b.Store, d); err != nil {
			return nil, err
		}
	}
	return b.entries(ctx, v, d), nil
}

func viewKey(d v1.Descriptor) string { return "view/" + d.Digest.Hex }

// keep remembers the listing, unless that is larger than a record may be.
func (v view) keep(store *store.Store, d v1.Descriptor) error {
	data, err := json.Marshal(v)
	if err != nil || len(data) > maxViewRecord || !v.isText() {
		return err
	}
	return store.CachePut(viewKey(d), data)
}

// entries returns what the listing lists. Content of files is read from the unpacked layer when it is asked for.
func (b *build) entries(ctx context.Context, v view, d v1.Descriptor) []layer.Entry {
	entries := make([]layer.Entry, len(v.Files))
	for i, f := range v.Files {
		entries[i] = layer.Entry{Name: f.Name, Mode: f.Mode, Linkname: f.Link, UID: f.UID, GID: f.GID, Size: f.Size}
		if f.Mode.IsRegular() {
			entries[i].Version = d.Digest.Hex + " " + f.Name
			entries[i].Open = func() (io.ReadCloser, error) {
				if int64(len(f.Text)) == f.Size {
					return io.NopCloser(bytes.NewReader(f.Text)), nil
				}
				if d.MediaType == layer.None.MediaType() {
					return openInLayer(ctx, b.Store, d, f.Name)
				}
				return b.trees.open(ctx, d, f.Name)
			}
		}
	}
	return entries
}

// viewOf lists entries that were just made into the layer d.
func viewOf(entries []layer.Entry, d v1.Descriptor) (view, error) {
	v := view{Digest: d.Digest}
	for e := range layer.Sorted(entries) {
		f := viewEntry{Name: e.Name, Mode: e.Mode, Link: e.Linkname, UID: e.UID, GID: e.GID, Size: e.Size}
		if e.Mode.IsRegular() && e.Open != nil && wanted(e.Name) && e.Size <= maxViewText {
			var err error
			if f.Text, err = readAll(e); err != nil {
				return v, err
			}
		}
		v.Files = append(v.Files, f)
	}
	return v, nil
}

func readAll(e layer.Entry) ([]byte, error) {
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// isText says whether all names survive JSON.
func (v view) isText() bool {
	return !slices.ContainsFunc(v.Files, func(f viewEntry) bool { return !utf8.ValidString(f.Name) || !utf8.ValidString(f.Link) })
}

func readView(ctx context.Context, store *store.Store, d v1.Descriptor) (view, error) {
	v := view{Digest: d.Digest}
	sizes := map[string]int64{} // what hard links share
	err := walkLayer(ctx, store, d, func(hdr *tar.Header, content io.Reader) error {
		e := viewEntry{Name: hdr.Name, Mode: headerMode(hdr), UID: hdr.Uid, GID: hdr.Gid, Size: hdr.Size}
		switch hdr.Typeflag {
		case tar.TypeSymlink:
			e.Link, e.Size = hdr.Linkname, 0
		case tar.TypeLink:
			e.Size = sizes[path.Clean(hdr.Linkname)]
		case tar.TypeReg:
			sizes[hdr.Name] = hdr.Size
			if wanted(hdr.Name) && hdr.Size <= maxViewText {
				var err error
				if e.Text, err = io.ReadAll(content); err != nil {
					return err
				}
			}
		}
		v.Files = append(v.Files, e)
		return nil
	})
	return v, err
}

// headerMode is the mode of an entry; a hard link is a file of its own to those who read.
func headerMode(hdr *tar.Header) fs.FileMode {
	if hdr.Typeflag == tar.TypeLink {
		return hdr.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	}
	return hdr.FileInfo().Mode()
}

// wanted says whether a build may have to read the file: lists and objects that name images, and what says what the
// image is.
func wanted(name string) bool {
	dir, _, nested := strings.Cut(name, "/")
	return !nested || dir == "manifests" || dir == "charts" || name == "images/index.json"
}

// openInLayer opens a file of an uncompressed layer where it lies.
func openInLayer(ctx context.Context, store *store.Store, d v1.Descriptor, name string) (io.ReadCloser, error) {
	f, err := os.Open(store.BlobPath(d.Digest))
	if err != nil {
		return nil, err
	}
	for tr := tar.NewReader(f); ctx.Err() == nil; {
		hdr, err := tr.Next()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("look for %s in layer %s: %w", name, d.Digest, err)
		}
		if strings.TrimPrefix(path.Clean("/"+hdr.Name), "/") == name {
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil || hdr.Typeflag != tar.TypeReg || hdr.PAXRecords["GNU.sparse.major"] != "" { // not as it lies
				return fileInLayer{tr, f}, err
			}
			return struct {
				*io.SectionReader
				io.Closer
			}{io.NewSectionReader(f, at, hdr.Size), f}, nil
		}
	}
	f.Close()
	return nil, context.Cause(ctx)
}

// fileInLayer is an open file of a layer.
type fileInLayer struct {
	io.Reader
	io.Closer
}

// walkLayer calls fn for each entry of a layer of the store. Content of uncompressed layers that fn does not read is
// skipped without reading it.
func walkLayer(ctx context.Context, store *store.Store, d v1.Descriptor, fn func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(store.BlobPath(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	if d.MediaType != layer.None.MediaType() {
		return layer.Walk(ctx, f, fn)
	}
	for tr := tar.NewReader(f); ; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		hdr.Name = strings.TrimPrefix(path.Clean("/"+hdr.Name), "/")
		if hdr.Name == "" {
			continue
		}
		if err := fn(hdr, tr); err != nil {
			if errors.Is(err, fs.SkipAll) {
				return nil
			}
			return err
		}
	}
}
