package buildkit

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
)

// newLayer returns the plain archive of the one layer that the received image has more than the command's tree, or nil
// when it has none more. The caller closes it.
func (r *receiver) newLayer(ctx context.Context, manifest digest.Digest, c builder.Command) (*os.File, error) {
	data, err := r.read(manifest)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if data, err = r.read(digest.Digest(m.Config.Digest.String())); err != nil {
		return nil, err
	}
	var config ocispecs.Image
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	ids, below := config.RootFS.DiffIDs, len(c.DiffIDs)
	if len(ids) != len(m.Layers) || len(ids) < below || len(ids) > below+1 {
		return nil, fmt.Errorf("it made %d layers of a tree of %d", len(m.Layers), below)
	}
	for i, id := range c.DiffIDs {
		if ids[i].String() != id.String() {
			return nil, fmt.Errorf("it replaced layer %s of the tree by %s", id, ids[i])
		}
	}
	if len(ids) == below {
		return nil, nil
	}
	return r.archive(ctx, m.Layers[below])
}

// archive returns the plain archive of a layer that was received, or that is in the tree already.
func (r *receiver) archive(ctx context.Context, d v1.Descriptor) (_ *os.File, err error) {
	f := r.take(digest.Digest(d.Digest.String()))
	if f == nil {
		if f, err = os.Open(r.store.BlobPath(d.Digest)); err != nil {
			return nil, err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if d.MediaType == layer.None.MediaType() {
		return f, nil
	}
	// The daemon had it compressed already, for somebody else.
	defer f.Close()
	plain, err := layer.Decompress(layer.UntilDone(ctx, f))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	to, err := temporary(r.store)
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(to, layer.UntilDone(ctx, plain)); err == nil {
		_, err = to.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return to, nil
}

// readEntries lists the archive, as package layer lists an overlay's upper directory: hard links are files of their own,
// and times and attributes are left out. The entries' content is read from f.
func readEntries(ctx context.Context, f *os.File) ([]layer.Entry, error) {
	var entries []layer.Entry
	linked := map[string]int{} // index of the entry of each file that is no directory, for hard links
	for tr := tar.NewReader(f); ; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := entryOf(hdr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", hdr.Name, err)
		}
		if e.Name == "" { // the root
			continue
		}
		if hdr.Typeflag == tar.TypeLink {
			i, ok := linked[cleanName(hdr.Linkname)]
			if !ok {
				return nil, fmt.Errorf("%s: hard link to %s, which did not change", hdr.Name, hdr.Linkname)
			}
			name := e.Name
			e = entries[i]
			e.Name = name
		}
		if hdr.Typeflag == tar.TypeReg && e.Size > 0 {
			at, err := f.Seek(0, io.SeekCurrent) // the reader takes headers block by block, and nothing ahead
			if err != nil {
				return nil, err
			}
			e.Open = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, at, hdr.Size)), nil }
		}
		if !e.Mode.IsDir() {
			linked[e.Name] = len(entries)
		}
		entries = append(entries, e)
	}
}

// entryOf translates a header, but for the content.
func entryOf(hdr *tar.Header) (layer.Entry, error) {
	e := layer.Entry{Name: cleanName(hdr.Name), Mode: hdr.FileInfo().Mode(), UID: hdr.Uid, GID: hdr.Gid}
	if base := path.Base(e.Name); strings.HasPrefix(base, layer.WhiteoutPrefix) {
		if hdr.Typeflag != tar.TypeReg || hdr.Size > 0 || hdr.Mode&0o7777 != 0 {
			return layer.Entry{}, errors.New("names that start with .wh. are reserved for whiteouts: rename it")
		}
		return layer.Entry{Name: e.Name}, nil
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		e.Size = hdr.Size
	case tar.TypeSymlink:
		e.Linkname = hdr.Linkname
	case tar.TypeDir, tar.TypeLink:
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return layer.Entry{}, errors.New("a device or named pipe cannot go into a layer: remove it")
	default:
		return layer.Entry{}, fmt.Errorf("entries of type %q are not known", hdr.Typeflag)
	}
	return e, nil
}

// cleanName returns the path within the image that a name in an archive means; "" is the root.
func cleanName(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
