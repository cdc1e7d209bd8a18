// Package transport reads container images from places that are no registries:
// a docker daemon, archives of docker and OCI, image layouts.
package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Place is where container images are. Resolve and Open are those of
// [artifact.Source]; blobs are verified by whoever reads them. The methods may
// be called concurrently, Close when nothing is read any more.
type Place interface {
	artifact.Source
	// Refs returns every name in the place and what it names, sorted by name. An
	// image without a name is an error, since no node can ask for it.
	Refs(ctx context.Context) ([]artifact.Named, error)
	// Close gives the place up, and removes what was unpacked of it.
	Close() error
}

// Options says how places are read. The zero value is usable.
type Options struct {
	Dir     string // that relative paths are meant from: the build context
	TempDir string // where what cannot be read in place is unpacked; "" is the system's

	// Platform is that of the image where a place has several under one name; zero
	// is any.
	Platform v1.Platform
	// Adopt lets an image that has no name of its own answer to the one that is
	// asked for, when no other image of the place could be meant. It is for lines
	// that name place and image; in a place that is merely looked through, such an
	// image would stand in for every other.
	Adopt bool

	DockerHost  string // as DOCKER_HOST has it; "" is the socket in /var/run
	DockerCerts string // folder of ca.pem, cert.pem and key.pem, as DOCKER_CERT_PATH; "" is no TLS
}

// Open opens the place that a name in the notation of containers-transports(5)
// means, without an image: docker-daemon:, docker-archive:PATH, oci-archive:PATH
// or oci:PATH. What is in an archive its content tells, not the notation. The
// caller closes the place.
func Open(ctx context.Context, name string, o Options) (Place, error) {
	place, image, err := Split(name)
	switch {
	case err != nil:
		return nil, err
	case place == "":
		return nil, fmt.Errorf("%q is an image of a registry, not a place: a place is docker-daemon:, docker-archive:FILE, oci-archive:FILE or oci:FOLDER", name)
	case image != "":
		return nil, fmt.Errorf("%q names an image in a place: leave out %s", name, image)
	}
	transport, path, _ := strings.Cut(place, ":")
	if transport == daemonTransport {
		return newDaemon(o)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(o.Dir, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w: relative paths are meant from the build context", name, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case transport == layoutTransport && !info.IsDir():
		return nil, fmt.Errorf("%s is no folder: write oci-archive:%s for an archive", name, strings.TrimPrefix(name, "oci:"))
	case transport == layoutTransport:
		return openFolder(name, path, o)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder: write oci:PATH if it is an OCI image layout", name)
	case !info.Mode().IsRegular(): // opening a pipe waits for somebody to write
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return openArchive(ctx, name, func() (io.ReadCloser, error) { return os.Open(path) }, o)
}

// Tarball opens an archive of container images, of docker or OCI, compressed or
// not, that open gives the bytes of. What it is its content tells; one that is an
// [*os.File] or an [io.ReaderAt] with a Size and not compressed is read in place.
// An image without any name in it is an error, unless it is adopted: such an image
// cannot be asked for by a node, and a tree that seems to have it is not complete.
// name stands in errors. The caller closes the place.
func Tarball(ctx context.Context, name string, open func() (io.ReadCloser, error), o Options) (Place, error) {
	p, err := openArchive(ctx, name, open, o)
	if err != nil {
		return nil, err
	}
	if err := p.allNamed(); err != nil && !o.Adopt {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}
