package contents

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// errTooMuch is wrapped by errors that say there is more than is read.
var errTooMuch = errors.New("this is more than is read")

// found is what the content of one file told.
type found struct {
	os       *OS
	packages []Package
	program  *Program
	charts   []Chart
	entries  []v1.Descriptor // of images/index.json
	doc      *document       // a blob of images/ that is one
	layer    *record         // a blob of images/ that is a layer of a container image
	note     string          // why it was not understood
}

// looker looks at files for what they say about software. It is for one
// goroutine.
type looker struct {
	*reader
	file *os.File // scratch, once it was needed
	buf  []byte
}

// close gives up the scratch file.
func (l *looker) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// inside looks at a file of a container image. It returns nil if that tells
// nothing.
func (l *looker) inside(f *File, content io.Reader) (*found, error) {
	read := l.database(f.Name)
	if read == nil {
		return l.program(f, content, true)
	}
	return l.understand(read, content)
}

// at looks at a file of the cluster image's own tree.
func (l *looker) at(f *File, content io.Reader) (*found, error) {
	read := l.database(f.Name)
	switch {
	case read != nil:
	case path.Base(f.Name) == chartFile:
		read = func(r io.Reader) (*found, error) { return readChartFile(f.Name, r) }
	case strings.HasPrefix(f.Name, "charts/") && isChartArchive(f.Name):
		read = func(r io.Reader) (*found, error) { return readChartArchive(f.Name, r) }
	case strings.HasPrefix(f.Name, "images/") && isImageArchive(f.Name):
		return &found{note: "the container images in this archive are not read"}, nil
	default:
		return l.program(f, content, false)
	}
	return l.understand(read, content)
}

// understand calls read; that it fails is noted, since the content is anybody's.
func (l *looker) understand(read func(io.Reader) (*found, error), content io.Reader) (*found, error) {
	out, err := read(content)
	if err != nil {
		return &found{note: err.Error()}, nil //nolint:nilerr // it is told as a note
	}
	if l.parts.Add(int64(len(out.packages)+len(out.charts))) > maxSoftware {
		return nil, fmt.Errorf("%w: %d packages", errTooMuch, maxSoftware)
	}
	return out, nil
}

// database returns how the file of that name is read if it lists packages or
// names the distribution; otherwise nil.
func (l *looker) database(name string) func(io.Reader) (*found, error) {
	switch name {
	case "etc/os-release", "usr/lib/os-release":
		return readOSRelease
	case "var/lib/dpkg/status":
		return func(r io.Reader) (*found, error) { return readDpkg(name, r) }
	case "lib/apk/db/installed", "usr/lib/apk/db/installed":
		return func(r io.Reader) (*found, error) { return readApk(name, r) }
	}
	dir, base := path.Split(name)
	switch {
	case dir == "var/lib/dpkg/status.d/" && !strings.HasSuffix(base, ".md5sums"): // without dpkg, as distroless images have it
		return func(r io.Reader) (*found, error) { return readDpkg(name, r) }
	case isRPM(dir, base):
		return func(io.Reader) (*found, error) {
			return &found{note: "the packages of RPM are not read"}, nil
		}
	}
	return nil
}

// isRPM reports whether a file is a database of RPM.
func isRPM(dir, base string) bool {
	if dir != "var/lib/rpm/" && dir != "usr/lib/sysimage/rpm/" {
		return false
	}
	return base == "Packages" || base == "Packages.db" || base == "rpmdb.sqlite"
}

// isImageArchive reports whether a file is called as an archive of container
// images is.
func isImageArchive(name string) bool {
	for _, end := range [...]string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
