package artifact

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Labels of a cluster image (config.Labels). They are written and read nowhere else.
const (
	LabelType          = "io.sealrt.type"           // one of the Type constants
	LabelDistro        = "io.sealrt.distro"         // k3s, k0s, kubernetes; rootfs images only
	LabelDistroVersion = "io.sealrt.distro.version" // "v1.25.3+k3s1"
	LabelFormat        = "io.sealrt.format"         // Format
	LabelImagesDigest  = "io.sealrt.images.digest"  // digest of images/index.json: the lock of what is inside
)

// Types of cluster images, the values of LabelType.
const (
	TypeRootfs = "rootfs" // boots a cluster
	TypeApp    = "app"    // its CMD runs on the first master of a running cluster
	TypePatch  = "patch"  // files laid over a rootfs
)

// Format is the version of the image format that this program writes.
const Format = "1"

// HistoryBase is the created_by of the layers that hold container images, "rootfs cache" as users know it.
const HistoryBase = "BASE rootfs cache"

// HistoryHelper is the created_by of the layer that holds sealrt itself, for hosts of the image's platform.
const HistoryHelper = "build --with-helper"

// HelperFile is where an image has sealrt itself, for a platform, in its tree.
func HelperFile(system, arch string) string { return "sealrt/" + system + "-" + arch }

// Annotations of entries in an OCI index.json.
const (
	AnnotationRefName        = "org.opencontainers.image.ref.name" // OCI image-spec annotations.md
	AnnotationContainerdName = "io.containerd.image.name"          // what containerd's import reads first
	AnnotationImageName      = "io.sealrt.image.name"              // of what runtimes are not to take for an image, such as a signature
)

// MetadataFile is where a rootfs image states what it is, in the tree.
const MetadataFile = "Metadata"

// Metadata is the JSON of the file Metadata at the root of a rootfs image.
type Metadata struct {
	Distro  string `json:"distro,omitempty"`
	Version string `json:"version,omitempty"`
	Arch    string `json:"arch,omitempty"`
}

// Binary says which distribution a file in the tree gives away.
type Binary struct{ Path, Distro string }

// Binaries is the table of files that tell a distribution, in the order in which they are looked for.
var Binaries = [...]Binary{ //nolint:gochecknoglobals // a table that nothing changes
	{"bin/k3s", "k3s"},
	{"bin/k0s", "k0s"},
	{"bin/kubeadm", "kubernetes"},
}

// WellKnown lists the names at the root of the tree that always mean directories.
var WellKnown = [...]string{"bin", "etc", "images", "manifests", "charts", "scripts", "cri", "lib"} //nolint:gochecknoglobals // a table that nothing changes

// IsWellKnown reports whether name, a first path element, always means a directory.
func IsWellKnown(name string) bool {
	for _, w := range WellKnown {
		if w == name {
			return true
		}
	}
	return false
}

// Kind is what a cluster image says about itself; fields that it does not state are empty.
type Kind struct{ Type, Distro, Version, Arch string }

// KindOf reads the labels of an image's config. An image without labels is an app; its tree may say more (Metadata,
// Binaries), which the caller that has the tree lays over with [Kind.Merge].
func KindOf(cfg *v1.ConfigFile) Kind {
	if cfg == nil {
		return Kind{Type: TypeApp}
	}
	l := cfg.Config.Labels
	k := Kind{Type: l[LabelType], Distro: l[LabelDistro], Version: l[LabelDistroVersion], Arch: cfg.Architecture}
	if k.Type == "" {
		k.Type = TypeApp
		if k.Distro != "" {
			k.Type = TypeRootfs
		}
	}
	return k
}

// Merge completes k with what the tree states. A value that both state must agree; the error names both.
func (k Kind) Merge(m Metadata) (Kind, error) {
	switch {
	case k.Distro != "" && m.Distro != "" && k.Distro != m.Distro:
		return Kind{}, disagree(LabelDistro, k.Distro, "distro", m.Distro)
	case k.Version != "" && m.Version != "" && !SameVersion(k.Version, m.Version):
		return Kind{}, disagree(LabelDistroVersion, k.Version, "version", m.Version)
	case k.Arch != "" && m.Arch != "" && Arch(k.Arch) != Arch(m.Arch):
		return Kind{}, disagree("architecture", k.Arch, "arch", m.Arch)
	}
	if k.Distro == "" {
		k.Distro = m.Distro
	}
	if len(m.Version) > len(k.Version) { // the longer of two that agree says more
		k.Version = m.Version
	}
	if k.Arch == "" {
		k.Arch = Arch(m.Arch)
	}
	if k.Type == TypeApp && k.Distro != "" {
		k.Type = TypeRootfs
	}
	return k, nil
}

func disagree(label, a, field, b string) error {
	return fmt.Errorf("image says %s %q, but %s says %s %q: correct one of the two", label, a, MetadataFile, field, b)
}

// SameVersion reports whether two distribution versions mean the same release: a leading v and a build suffix that
// only one of them states do not matter, so v1.25.3 is 1.25.3+k3s1, but v1.25.3+k3s1 is not v1.25.3+k3s2.
func SameVersion(a, b string) bool {
	ar, ab, _ := strings.Cut(strings.TrimPrefix(a, "v"), "+")
	br, bb, _ := strings.Cut(strings.TrimPrefix(b, "v"), "+")
	return ar == br && (ab == "" || bb == "" || ab == bb)
}

// Arch returns Go's name of an architecture that may be given as uname prints it: x86_64 is amd64. Names that it does
// not know come back as they are.
func Arch(s string) string {
	switch s {
	case "x86_64", "x86-64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l", "armhf":
		return "arm"
	case "i386", "i686":
		return "386"
	}
	return s
}

// Size returns the bytes of an image as they lie in a store: config and layers, compressed.
func Size(m *v1.Manifest) int64 {
	n := m.Config.Size
	for _, l := range m.Layers {
		n += l.Size
	}
	return n
}
