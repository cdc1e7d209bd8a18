package convert

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"
	"testing/fstest"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

const (
	maxText  = 8 << 20  // bytes of one text that is kept
	maxTexts = 32 << 20 // of all
)

// texts are the files of the tree that say which container images it needs and what it is, and the names of others that
// matter.
type texts struct {
	files fstest.MapFS
	fresh fstest.MapFS // of the layer that is being read
	gone  []string     // what that layer hides; with a slash at the end only what is below
	size  int64
	large []string // texts that were not kept
}

func newTexts() *texts { return &texts{files: fstest.MapFS{}, fresh: fstest.MapFS{}} }

// isText reports whether the content of a file matters, and matters whether its name does.
func isText(name string) (content, matters bool) {
	dir, rest, inside := strings.Cut(name, "/")
	switch {
	case path.Base(name) == ".imageignore", name == artifact.MetadataFile:
		return true, true
	case dir == "manifests", dir == "charts":
		return inside, inside
	case dir == "images":
		return strings.HasPrefix(rest, "shim/") || strings.HasPrefix(rest, "skopeo/"), inside
	case dir == "bin", dir == "plugins", dir == "plugin":
		return false, inside
	}
	ext := path.Ext(name)
	text := !inside && (ext == ".txt" || ext == ".yaml" || ext == ".yml")
	return text, text
}

// take looks at an entry of a layer with a clean name, and returns a reader of all that the entry holds.
func (t *texts) take(hdr *tar.Header, content io.Reader) (io.Reader, error) {
	dir, base := path.Split(hdr.Name)
	if base == layer.OpaqueWhiteout {
		t.gone = append(t.gone, path.Clean(dir)+"/")
		return content, nil
	}
	if gone, ok := strings.CutPrefix(base, layer.WhiteoutPrefix); ok {
		t.gone = append(t.gone, path.Join(dir, gone))
		return content, nil
	}
	read, matters := isText(hdr.Name)
	if !matters {
		return content, nil
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		f := &fstest.MapFile{Mode: 0o644}
		if read && (hdr.Size > maxText || t.size+hdr.Size > maxTexts) {
			t.large, read = append(t.large, hdr.Name), false
		}
		if read {
			t.size += hdr.Size
			b, err := io.ReadAll(content)
			if err != nil {
				return nil, err
			}
			f.Data, content = b, bytes.NewReader(b)
		}
		t.fresh[hdr.Name] = f
	case tar.TypeSymlink:
		t.fresh[hdr.Name] = &fstest.MapFile{Data: []byte(hdr.Linkname), Mode: fs.ModeSymlink | 0o777}
	case tar.TypeLink:
		if f, ok := t.fresh[path.Clean(hdr.Linkname)]; ok {
			t.fresh[hdr.Name] = f
		}
	}
	return content, nil
}

// endLayer lays what a layer has over those below.
func (t *texts) endLayer() {
	for _, gone := range t.gone {
		dir := strings.TrimSuffix(gone, "/")
		maps.DeleteFunc(t.files, func(name string, _ *fstest.MapFile) bool {
			return strings.HasPrefix(name, dir+"/") || name == gone || dir == "."
		})
	}
	for name, f := range t.fresh {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			delete(t.files, dir) // a file or link that is a directory now
		}
		t.files[name] = f
	}
	t.gone = t.gone[:0]
	clear(t.fresh)
}

// has reports whether the tree has a file.
func (t *texts) has(name string) bool { return t.files[name] != nil }

// below returns the names of files in a directory, in any depth.
func (t *texts) below(dir string) []string {
	var list []string
	for name := range t.files {
		if strings.HasPrefix(name, dir+"/") {
			list = append(list, name)
		}
	}
	return list
}
