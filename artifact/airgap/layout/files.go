package layout

import (
	"bytes"
	"io"
	"io/fs"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
)

// layoutFile is the whole of oci-layout (OCI image-spec, image-layout.md).
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// BlobPath returns where a blob lies in the layout.
func BlobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// Dirs lists the directories of a layout that lies in dir, and dir, which is "."
// for a layout of its own.
func Dirs(dir string) []layer.Entry {
	var entries []layer.Entry
	for _, name := range []string{".", "blobs", "blobs/sha256"} {
		if name = path.Join(dir, name); name != "." {
			entries = append(entries, layer.Entry{Name: name, Mode: fs.ModeDir | 0o755})
		}
	}
	return entries
}

// Files lists the files that make a layout of the blobs in dir, with the
// directories.
func Files(dir string, index []byte) []layer.Entry {
	return append(Dirs(dir), content(path.Join(dir, "oci-layout"), []byte(layoutFile)), content(path.Join(dir, "index.json"), index))
}

// content returns a small file.
func content(name string, b []byte) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(b)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}
