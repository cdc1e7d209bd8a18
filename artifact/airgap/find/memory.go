package find

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// memory is the file system that kustomize reads: the files of a kustomization,
// by their names in the tree with a slash before. The one of kustomize itself
// refuses names with a plus.
type memory struct {
	filesys.FileSystem // empty
	files              map[string][]byte
	dirs               map[string]bool
}

// add adds a file of the tree.
func (m memory) add(name string, text []byte) {
	m.files["/"+name] = text
	for dir := path.Dir("/" + name); !m.dirs[dir]; dir = path.Dir(dir) {
		m.dirs[dir] = true
	}
}

// ReadFile implements filesys.FileSystem.
func (m memory) ReadFile(name string) ([]byte, error) {
	text, ok := m.files[path.Clean(name)]
	if !ok {
		return nil, fmt.Errorf("%s is no file", strings.TrimPrefix(path.Clean(name), "/"))
	}
	return bytes.Clone(text), nil
}

// CleanedAbs implements filesys.FileSystem.
func (m memory) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	name = path.Clean("/" + name)
	switch {
	case m.dirs[name]:
		return filesys.ConfirmedDir(name), "", nil
	case m.files[name] != nil:
		return filesys.ConfirmedDir(path.Dir(name)), path.Base(name), nil
	}
	return "", "", fmt.Errorf("%s does not exist", strings.TrimPrefix(name, "/"))
}

// Exists implements filesys.FileSystem.
func (m memory) Exists(name string) bool { return m.IsDir(name) || m.files[path.Clean(name)] != nil }

// IsDir implements filesys.FileSystem.
func (m memory) IsDir(name string) bool { return m.dirs[path.Clean(name)] }
