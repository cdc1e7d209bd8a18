package depot

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
)

// Unfinished is the name that a file has until WriteFile is done with it: beside
// the directory where it is to appear, since who watches that directory takes
// every file in it for whole.
func Unfinished(path string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(path)), "."+filepath.Base(path)+".sealrt")
}

// Beside is where an archive that the author left in images/ goes when the other
// container images become file.
func Beside(file, tarball string) string {
	base := filepath.Base(tarball)
	for _, ext := range tarballSuffixes {
		base = strings.TrimSuffix(base, ext)
	}
	return strings.TrimSuffix(file, ".tar") + "-" + base + ".tar"
}

// tarballSuffixes end the names of archives of images.
var tarballSuffixes = [...]string{".tar.gz", ".tar.zst", ".tgz", ".tar"} //nolint:gochecknoglobals // a table that nothing changes

// IsTarball reports whether a file in images/ is an archive that the author of
// the image left there.
func IsTarball(name string) bool {
	for _, suffix := range tarballSuffixes {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// WriteFile makes the file at path of what write writes. It appears there, or
// replaces the one that was, when all of it is safe on disk. Its directory is
// made; the one above has to be on the same file system.
func WriteFile(path string, write func(w io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := Unfinished(path)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer disk.Discard(f)
	if err := errors.Join(write(f), f.Sync()); err != nil {
		return disk.Full(filepath.Dir(tmp), err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// OpenTarball opens an archive of images and returns its bytes uncompressed; the
// caller closes it.
func OpenTarball(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	plain, err := layer.Decompress(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened{plain, f}, nil
}

// opened is what is read out of a file.
type opened struct {
	io.ReadCloser
	file *os.File
}

// Close implements io.Closer.
func (o opened) Close() error { return errors.Join(o.ReadCloser.Close(), o.file.Close()) }
