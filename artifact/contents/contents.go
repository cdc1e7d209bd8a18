package contents

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Cluster is a cluster image for one platform: what artifact.Manifest returned
// for Ref in Source.
type Cluster struct {
	Source   artifact.Source
	Ref      artifact.Reference
	Manifest *v1.Manifest
	Config   *v1.ConfigFile
}

// Options says how to read. The zero value is usable.
type Options struct {
	Scratch string // directory where a program lies while it is looked at; "" is the system's
	Jobs    int    // layers read at a time; 0 means 4
	SHA1    bool   // fill in File.SHA1
}

// Contents is what is inside a cluster image.
type Contents struct {
	Files    []*File  // of the tree, sorted by name, directories too; without those that make images/ an image layout
	Software Software // in the tree
	Images   []Image  // in images/, sorted by their first name
	Notes    []string // what could not be read, each as a sentence
}

// File is an entry of a tree.
type File struct {
	Name     string      // relative, slash separated
	Mode     fs.FileMode // type, permissions, setuid, setgid and sticky bits
	UID, GID int
	Size     int64    // in bytes, of a regular file
	Link     string   // target of a symbolic link
	SHA256   [32]byte // of a regular file that was read
	SHA1     [20]byte // the same, when it was asked for

	found *found // what its content told
	hard  bool   // a hard link to Link
	read  bool   // its digest is known
}

// Digest returns the digest of a regular file, the zero value if its content was
// not read.
func (f *File) Digest() v1.Hash {
	if !f.read {
		return v1.Hash{}
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(f.SHA256[:])}
}

// Image is a container image in images/.
type Image struct {
	Names    []string // as container runtimes look for it, sorted; there may be none
	Digest   v1.Hash  // that the names lead to: of a manifest, or of an index
	Variants []Variant
}

// Variant is a container image for one platform.
type Variant struct {
	Digest   v1.Hash // of the manifest
	Platform string  // os/arch[/variant]; "" where the image does not say it
	Software Software
}

// Software is what the files of a tree say about the software in it.
type Software struct {
	OS       OS
	Packages []Package // of the distribution, sorted by name
	Programs []Program // made with Go, sorted by their first file
	Charts   []Chart   // sorted by file
}

// OS is what os-release says; see os-release(5). All is empty if there is none.
type OS struct {
	ID, Version, Name string
}

// Kinds of packages. They are the types of their package URLs.
const (
	Debian = "deb"
	Alpine = "apk"
)

// Package is an installed package of a distribution.
type Package struct {
	Kind          string // Debian or Alpine
	Name          string
	Version       string
	Arch          string // as the distribution calls it
	Source        string // the package that it was built from, if that is called otherwise
	SourceVersion string // of that, if it is another
	Maintainer    string
	Licence       string // as the distribution writes it
	File          string // that says so
}

// Program is an executable made with Go, and the modules in it.
type Program struct {
	Files   []string // every place of it in the tree, sorted
	SHA256  [32]byte
	Size    int64
	Path    string   // of the main package
	Main    Module   // that the main package belongs to
	Go      string   // version of Go, such as go1.22.3
	Modules []Module // that the program was linked with
}

// Module is a Go module.
type Module struct {
	Path    string
	Version string // "" if the program does not say it
}

// Chart is a Helm chart.
type Chart struct {
	File         string // its Chart.yaml or archive; that of a chart in an archive follows after "!"
	Name         string
	Version      string
	AppVersion   string
	Dependencies []Dependency
}

// Dependency is what a chart says that it depends on.
type Dependency struct {
	Name       string
	Version    string // or a range of versions
	Repository string
}

// Read reads everything in a cluster image. Every layer is read once, and
// verified; what grows with it is not kept. Archives, programs and databases that
// cannot be understood are noted, layers that cannot be read are an error.
func Read(ctx context.Context, c Cluster, o Options) (*Contents, error) {
	r := newReader(o)
	records, err := r.cluster(ctx, c, everything{})
	if err != nil {
		return nil, fmt.Errorf("read what is in %s: %w", c.Ref.Familiar(), err)
	}
	return r.assemble(records), nil
}
