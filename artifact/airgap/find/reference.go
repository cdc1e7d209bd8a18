package find

import (
	"path"
	"strings"

	"github.com/sealrt/sealrt/artifact"
)

// likeness is how much a text must look like a reference to be taken for one.
type likeness int

const (
	// named takes all but bare words: ubuntu is more often an operating system
	// than an image. For fields that are called image.
	named likeness = iota
	// placed takes what has a registry, a tag or a digest. For fields whose
	// name ends in image.
	placed
	// pinned takes what has a tag or a digest. Where anything may stand.
	pinned
	// addressed takes what has a registry, and a tag or a digest. For text that
	// is not said to be an image at all.
	addressed
)

// files are the ends of names of pictures and disks, which fields called image
// have too.
var files = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	".png": true, ".svg": true, ".jpg": true, ".jpeg": true, ".gif": true, ".webp": true, ".ico": true,
	".img": true, ".iso": true, ".qcow2": true, ".raw": true, ".vmdk": true, ".ova": true, ".vhd": true, ".xz": true, ".gz": true,
}

// likely reads a text in a custom resource as a reference if it plausibly is
// one: it follows the grammar, names no file and no URL, and has what want asks
// for.
func likely(s string, want likeness) (artifact.Reference, bool) {
	if s == "" || len(s) > 512 || strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") || strings.Contains(s, "://") || strings.HasPrefix(s, "sha256:") {
		return artifact.Reference{}, false
	}
	ref, err := artifact.ParseReference(s)
	if err != nil {
		return artifact.Reference{}, false
	}
	has := isPinned(s)
	first, _, slash := strings.Cut(s, "/")
	registry := slash && (strings.ContainsAny(first, ".:") || first == "localhost")
	switch {
	case !has && files[path.Ext(s)]:
		return artifact.Reference{}, false
	case want == named:
		return ref, has || slash
	case want == placed:
		return ref, has || registry
	case want == pinned:
		return ref, has
	default:
		return ref, has && registry
	}
}

// isPinned reports whether a reference has a tag or a digest.
func isPinned(s string) bool {
	return strings.Contains(s, "@") || strings.LastIndexByte(s, ':') > strings.LastIndexByte(s, '/')
}

// compose makes the text of a reference of its parts, leaving out those that
// are empty. The registry is left out where the name begins with it.
func compose(registry, name, tag, digest string) string {
	registry = strings.TrimSuffix(registry, "/")
	if registry != "" && name != registry && !strings.HasPrefix(name, registry+"/") {
		name = registry + "/" + strings.TrimPrefix(name, "/")
	}
	if strings.HasPrefix(tag, "sha256:") { // operators take both in one field
		tag, digest = "", tag
	}
	if len(digest) == 64 && !strings.Contains(digest, ":") {
		digest = "sha256:" + digest // Prometheus' sha
	}
	if tag != "" {
		name += ":" + strings.TrimPrefix(tag, ":")
	}
	if digest != "" {
		name += "@" + strings.TrimPrefix(digest, "@")
	}
	return name
}
