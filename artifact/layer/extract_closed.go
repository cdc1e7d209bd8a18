package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// place puts an entry where it belongs. Directories of the layers below that their owner may not write to hinder
// everybody but root: they are opened, and get their modes back in the end.
func (x *extractor) place(hdr *tar.Header, content io.Reader) error {
	err := x.put(hdr, content)
	if x.owner || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	x.leave()
	if unlockErr := x.unlock(hdr); unlockErr != nil {
		return fmt.Errorf("%w: %w", err, unlockErr)
	}
	return x.put(hdr, content) // none of content was read: the file could not be made
}

// unlock makes accessible what putting the entry needs: the directories that lead to it and to what it links to, and
// those that go for it.
func (x *extractor) unlock(hdr *tar.Header) error {
	names := []string{path.Dir(hdr.Name)}
	if target, err := cleanName(hdr.Linkname); err == nil && hdr.Typeflag == tar.TypeLink {
		names = append(names, path.Dir(target))
	}
	for _, name := range names {
		if err := x.unlockDir("."); err != nil {
			return err
		}
		for prefix := range prefixes(name) {
			if err := x.unlockDir(prefix); err != nil {
				return err
			}
		}
	}
	return x.unlockTree(victimOf(hdr.Name))
}

// unlockDir makes a directory accessible, if there is one of that name. What is wrong otherwise shows when the entry is
// put.
func (x *extractor) unlockDir(name string) error {
	info, ok := x.directoryAt(name)
	if !ok || info.Mode()&0o700 == 0o700 {
		return nil
	}
	if _, ok := x.dirs[name]; !ok {
		if err := x.remember(name, directory{info.Mode() &^ fs.ModeDir, info.ModTime()}); err != nil {
			return err
		}
	}
	return x.root.Chmod(name, info.Mode()|0o700)
}

// unlockTree makes a directory and all below it accessible, if there is one of that name.
func (x *extractor) unlockTree(name string) error {
	if err := x.unlockDir(name); err != nil {
		return err
	}
	if _, ok := x.directoryAt(name); !ok {
		return nil
	}
	members, err := x.members(name)
	if err != nil {
		return err
	}
	for _, m := range members {
		if !m.IsDir() {
			continue
		}
		if err := x.unlockTree(path.Join(name, m.Name())); err != nil {
			return err
		}
	}
	return nil
}

// directoryAt describes the directory called name, if it is one.
func (x *extractor) directoryAt(name string) (fs.FileInfo, bool) {
	info, err := x.root.Lstat(name)
	return info, err == nil && info.IsDir()
}

// members lists the directory called name.
func (x *extractor) members(name string) ([]os.DirEntry, error) {
	dir, err := x.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return readDir(dir)
}
