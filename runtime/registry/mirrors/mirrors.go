// Package mirrors knows how container runtimes are told where to get images
// from: it turns a mirror, and the configuration that is there, into files.
package mirrors

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
)

// Mirror is where a host's container runtime gets images from.
type Mirror struct {
	// Endpoint is the URL of the image service on the host, or of the user's
	// registry with the path that is before every repository there:
	// https://harbor.example.com/k8s.
	Endpoint   string
	Registries []string // host names of the registries that images are named after
	CAFile     string   // on the host; "": the system's
	Upstream   bool     // the registries themselves may be asked when the endpoint has no answer
	// Others has the endpoint asked for images of other registries too, just as
	// for those of Registries: images that users push have names that nobody
	// knows ahead.
	Others bool
}

// File is a file that a host is to have.
type File struct {
	Path string
	Data string
	Mode fs.FileMode
}

// note stands at the top of every file of ours.
const note = "# Written by sealrt.\n"

// Registries returns the registries that images are named after, sorted, each
// once. Names are as the list of a cluster image has them.
func Registries(names []string) ([]string, error) {
	var list []string
	for _, name := range names {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			return nil, err
		}
		list = append(list, ref.Domain())
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// place is an endpoint in its parts.
type place struct {
	root   string // scheme and host
	host   string
	prefix string // before every repository; "" or a/b
}

// parse reads the endpoint.
func (m Mirror) parse() (place, error) {
	u, err := url.Parse(m.Endpoint)
	if err != nil {
		return place{}, fmt.Errorf("mirror: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return place{}, fmt.Errorf("mirror %q: write http://HOST:PORT or https://HOST/PREFIX", m.Endpoint)
	}
	for _, r := range m.Registries {
		if err := checkRegistry(r); err != nil {
			return place{}, err
		}
	}
	return place{root: u.Scheme + "://" + u.Host, host: u.Host, prefix: strings.Trim(u.Path, "/")}, nil
}

// checkRegistry refuses what is no name of a registry, and of no folder.
func checkRegistry(name string) error {
	if name == "" || strings.ContainsAny(name, "/\\\"\n ") || name == "." || name == ".." {
		return fmt.Errorf("mirrors: %q is no registry", name)
	}
	return nil
}

// errNoPath is about docker, which takes mirrors without a path only.
var errNoPath = errors.New("docker asks mirrors below no path: use a registry without a prefix, or containerd")
