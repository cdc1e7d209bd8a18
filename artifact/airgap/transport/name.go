package transport

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Transports of containers-transports(5) that are read here.
const (
	daemonTransport = "docker-daemon"
	layoutTransport = "oci"
)

// sealosName is docker-archive:FILE@NAME, as lists of sealos have it.
var sealosName = regexp.MustCompile(`^(.+?\.(?:tar|tgz|tar\.(?:gz|zst|xz|bz2)))@(.+)$`)

// Split takes apart a name in the notation of containers-transports(5). place is
// what Open knows, and image the image in it, "" for all of them. For an image in
// a registry, with or without docker:// in front, place is "".
func Split(s string) (place, image string, err error) {
	if ref, ok := strings.CutPrefix(s, "docker://"); ok {
		return "", ref, nil
	}
	transport, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", s, nil
	}
	switch transport {
	case daemonTransport:
		if strings.HasPrefix(rest, "sha256:") {
			return "", "", fmt.Errorf("%s is the ID of an image, by which no node asks for it: write docker-daemon:NAME:TAG", s)
		}
		return daemonTransport + ":", rest, nil
	case "docker-archive", "oci-archive", layoutTransport:
		return splitPath(transport, rest)
	case "containers-storage":
		return "", "", errors.New("the storage of podman and buildah is not read: write the image to a file with `podman save --format oci-archive -o app.tar NAME`, and name it as oci-archive:app.tar:NAME")
	}
	// No tag begins so: what stands in front of the colon cannot be a repository.
	if strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, "//") {
		return "", "", fmt.Errorf("images are not read from %s: write docker-daemon:NAME, docker-archive:FILE, oci-archive:FILE or oci:FOLDER", transport)
	}
	return "", s, nil
}

// splitPath splits PATH[:IMAGE], where no path has a colon.
func splitPath(transport, rest string) (place, image string, err error) {
	path, image, named := strings.Cut(rest, ":")
	if m := sealosName.FindStringSubmatch(rest); m != nil {
		path, image, named = m[1], m[2], true
	}
	switch {
	case path == "":
		return "", "", fmt.Errorf("%s: without a path: write %s:PATH", transport, transport)
	case named && image == "":
		return "", "", fmt.Errorf("%s:%s without an image: leave out the colon for all images in it", transport, rest)
	case strings.HasPrefix(image, "@"):
		return "", "", fmt.Errorf("%s: images are not chosen by number: write %s:%s:NAME, or no name for all images in it", image, transport, path)
	}
	return transport + ":" + path, image, nil
}
