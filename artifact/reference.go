package artifact

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
)

// Reference names an image: a registry, a repository in it, and a tag, a digest or both. It is a comparable value;
// the zero value names nothing. References are written the way docker reads them: k3s:v1 is
// docker.io/library/k3s:v1.
type Reference struct {
	domain, path, tag, digest string
}

// ParseReference reads a reference as docker does: a missing registry is docker.io, a missing namespace there is
// library, and the tag is latest when neither tag nor digest is given. The grammar is that of
// github.com/distribution/reference, which the OCI distribution-spec ("Pulling manifests") takes its names from.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err == nil {
		err = notRegistry(s)
	}
	written := DiscreetName(s)
	if scheme, rest, ok := strings.Cut(written, "://"); ok {
		if scheme == "ko" {
			return Reference{}, fmt.Errorf("image reference %q: this is a program that ko has yet to build: run `ko resolve` on the file first", written)
		}
		return Reference{}, fmt.Errorf("image reference %q: leave out %s://, write %s", written, scheme, strings.TrimPrefix(rest, Hidden+"@"))
	}
	if err != nil && written != s {
		err = errors.New("it has a user and a password, which `sealrt login` stores") // and the cause shows them
	}
	if err != nil {
		return Reference{}, fmt.Errorf("image reference %q: %w (a reference looks like k3s:v1.25.3 or registry.example.com/team/k3s:v1.25.3)", written, err)
	}
	named = reference.TagNameOnly(named)
	r := Reference{domain: reference.Domain(named), path: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		r.tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		if d.Digest().Algorithm() != digest.SHA256 {
			return Reference{}, fmt.Errorf("image reference %q: digest algorithm %s is not supported, only sha256", written, d.Digest().Algorithm())
		}
		r.digest = d.Digest().String()
	}
	return r, nil
}

// notRegistry refuses a registry's address that no repository follows: docker reads 127.0.0.1:5000 as the image 127.0.0.1
// of docker.io with the tag 5000, which nobody means.
func notRegistry(s string) error {
	name, _, _ := strings.Cut(s, ":")
	if _, err := netip.ParseAddr(name); err != nil && name != "localhost" || strings.Contains(s, "/") {
		return nil
	}
	return errors.New("this is a registry without a repository")
}

// IsZero reports whether r names nothing.
func (r Reference) IsZero() bool { return r == Reference{} }

// Domain returns the registry, with its port if it has one: "docker.io", "registry.example.com:5000".
func (r Reference) Domain() string { return r.domain }

// Path returns the repository inside the registry: "library/k3s".
func (r Reference) Path() string { return r.path }

// Name returns registry and repository without tag and digest: "docker.io/library/k3s".
func (r Reference) Name() string {
	if r.domain == "" {
		return r.path
	}
	return r.domain + "/" + r.path
}

// Tag returns the tag, or "" when the reference has only a digest.
func (r Reference) Tag() string { return r.tag }

// Digest returns the digest and true, or false when the reference has only a tag.
func (r Reference) Digest() (v1.Hash, bool) {
	if r.digest == "" {
		return v1.Hash{}, false
	}
	h, err := v1.NewHash(r.digest)
	return h, err == nil
}

// Object returns what a registry is asked for: the digest when there is one, the tag otherwise.
func (r Reference) Object() string {
	if r.digest != "" {
		return r.digest
	}
	return r.tag
}

// WithDigest returns r pinned to h; the tag stays for the reader's sake.
func (r Reference) WithDigest(h v1.Hash) Reference {
	r.digest = h.String()
	return r
}

// WithTag returns r with the given tag and without a digest.
func (r Reference) WithTag(tag string) (Reference, error) {
	n, err := reference.WithName(r.Name())
	if err != nil {
		return Reference{}, fmt.Errorf("image reference %q: %w", r.Name(), err)
	}
	if _, err := reference.WithTag(n, tag); err != nil {
		return Reference{}, fmt.Errorf("tag %q: %w", tag, err)
	}
	r.tag, r.digest = tag, ""
	return r, nil
}

// String returns the full form: "docker.io/library/k3s:v1.25.3". ParseReference reads it back to the same value.
func (r Reference) String() string { return r.Name() + r.suffix() }

// Familiar returns the short form that docker prints: "k3s:v1.25.3". ParseReference reads it back to the same value.
func (r Reference) Familiar() string {
	if r.IsZero() {
		return "unnamed image" // stands in errors only
	}
	n, err := reference.WithName(r.Name())
	if err != nil {
		return r.String()
	}
	return reference.FamiliarName(n) + r.suffix()
}

func (r Reference) suffix() string {
	var s string
	if r.tag != "" {
		s = ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest
	}
	return s
}

// MarshalText writes the full form, so that a Reference in JSON is a string.
func (r Reference) MarshalText() ([]byte, error) {
	if r.IsZero() {
		return nil, errors.New("write an image reference: it is empty")
	}
	return []byte(r.String()), nil
}

// UnmarshalText reads what ParseReference reads.
func (r *Reference) UnmarshalText(b []byte) error {
	p, err := ParseReference(string(b))
	if err != nil {
		return err
	}
	*r = p
	return nil
}

// IsSHA256 reports whether h is a whole SHA-256 digest, which is the only kind that stores and layouts of ours hold.
func IsSHA256(h v1.Hash) bool {
	return h.Algorithm == "sha256" && len(h.Hex) == 64 && strings.Trim(h.Hex, "0123456789abcdef") == ""
}

// Repository returns r without tag and digest.
func (r Reference) Repository() Reference { return Reference{domain: r.domain, path: r.path} }
