package builder

import (
	"io"
	"io/fs"
	"path"
	"time"
)

// treeFS is a tree as a file system. Symbolic links are followed within it.
type treeFS struct{ *tree }

// Open implements fs.FS.
func (t treeFS) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	f := &treeFile{info: treeInfo{n, path.Base(name)}, left: keys(n.children)}
	if n.children == nil && n.Open == nil {
		return f, nil
	}
	if n.children == nil {
		if f.content, err = n.Open(); err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
	return f, nil
}

// Stat implements fs.StatFS, so that looking does not read.
func (t treeFS) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return treeInfo{n, path.Base(name)}, nil
}

func (t treeFS) find(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n := t.node(t.resolve(name))
	if n == nil || n.Mode&fs.ModeSymlink != 0 {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// treeFile is an open file or directory.
type treeFile struct {
	info    treeInfo
	content io.ReadCloser // nil for directories and empty files
	left    []string      // members that ReadDir did not return yet
}

// Stat implements fs.File.
func (f *treeFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Read implements fs.File.
func (f *treeFile) Read(p []byte) (int, error) {
	switch {
	case f.info.IsDir():
		return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: fs.ErrInvalid}
	case f.content == nil:
		return 0, io.EOF
	}
	return f.content.Read(p)
}

// Close implements fs.File.
func (f *treeFile) Close() error {
	if f.content == nil {
		return nil
	}
	return f.content.Close()
}

// ReadDir implements fs.ReadDirFile.
func (f *treeFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !f.info.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: f.info.name, Err: fs.ErrInvalid}
	}
	if n > 0 && len(f.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.left) {
		n = len(f.left)
	}
	var list []fs.DirEntry
	for _, name := range f.left[:n] {
		list = append(list, fs.FileInfoToDirEntry(treeInfo{f.info.n.children[name], name}))
	}
	f.left = f.left[n:]
	return list, nil
}

// treeInfo describes a node.
type treeInfo struct {
	n    *node
	name string
}

func (i treeInfo) Name() string       { return i.name }
func (i treeInfo) Size() int64        { return i.n.Size }
func (i treeInfo) Mode() fs.FileMode  { return i.n.Mode }
func (i treeInfo) ModTime() time.Time { return time.Time{} }
func (i treeInfo) IsDir() bool        { return i.n.Mode.IsDir() }
func (i treeInfo) Sys() any           { return nil }
