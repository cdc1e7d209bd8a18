package remote

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// LockName is the name of the lock file of a Kubefile that is called Kubefile.
const LockName = "Kubefile.lock"

// LockKind says what an image is for in a build: the same reference may mean two things in two places.
type LockKind uint8

const (
	LockBase  LockKind = iota // FROM and COPY --from: the manifest of the platform is locked
	LockImage                 // container images of BASE: what the tag names is locked, an index or a manifest
)

// String returns the name of the kind's section in the file.
func (k LockKind) String() string {
	if k == LockImage {
		return "images"
	}
	return "bases"
}

// Lock is what Kubefile.lock says: which digests the names in a Kubefile stood for when it was written, for each
// platform. Its methods may be called concurrently. The zero value is empty and ready for use; ParseLock reads one.
//
// What is recorded first stays: a tag that moves while a build is under way means one thing in it.
type Lock struct {
	mu        sync.Mutex
	name      string // of the file, for errors; "" is Kubefile.lock
	platforms map[string]*lockedPlatform
}

// lockedPlatform is what is locked for one platform. The keys are full references and URLs.
type lockedPlatform struct {
	Bases  map[string]lockedImage `json:"bases,omitempty"`
	Images map[string]lockedImage `json:"images,omitempty"`
	Files  map[string]lockedFile  `json:"files,omitempty"`
	// Signatures are what is attached to container images, by full name, of each name@digest.
	Signatures map[string]map[string]lockedImage `json:"signatures,omitempty"`
}

// lockedImage is a descriptor of a manifest or index.
type lockedImage struct {
	Digest    lockedDigest    `json:"digest"`
	MediaType types.MediaType `json:"mediaType"`
	Size      int64           `json:"size"`
}

func (i lockedImage) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: i.MediaType, Digest: i.Digest.hash(), Size: i.Size}
}

// lockedFile is the content of a URL. Name is what the server calls the file, where the URL does not tell.
type lockedFile struct {
	Digest lockedDigest `json:"digest"`
	Size   int64        `json:"size"`
	Name   string       `json:"name,omitempty"`
}

// lockedDigest is a digest as text: "sha256:…". An error about a wrong one can then say which it is.
type lockedDigest string

func (d lockedDigest) hash() v1.Hash {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	return v1.Hash{Algorithm: algorithm, Hex: hex}
}

func (p *lockedPlatform) images(k LockKind) map[string]lockedImage {
	if k == LockImage {
		return p.Images
	}
	return p.Bases
}

// fileName returns the name of the file for errors.
func (l *Lock) fileName() string { return cmp.Or(l.name, LockName) }

// image returns the descriptor that ref is locked to.
func (l *Lock) image(p v1.Platform, k LockKind, ref artifact.Reference) (v1.Descriptor, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.platforms[platformKey(p)]
	if have == nil {
		return v1.Descriptor{}, false
	}
	i, ok := have.images(k)[ref.String()]
	return i.descriptor(), ok
}

// recordImage locks ref to d, unless it is locked already, and returns what it is locked to.
func (l *Lock) recordImage(p v1.Platform, k LockKind, ref artifact.Reference, d v1.Descriptor) v1.Descriptor {
	l.mu.Lock()
	defer l.mu.Unlock()
	images := l.platform(p).images(k)
	if have, ok := images[ref.String()]; ok {
		return have.descriptor()
	}
	images[ref.String()] = lockedImage{Digest: lockedDigest(d.Digest.String()), MediaType: d.MediaType, Size: d.Size}
	return d
}

// file returns what the content of u is locked to.
func (l *Lock) file(p v1.Platform, u *url.URL) (lockedFile, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.platforms[platformKey(p)]
	if have == nil {
		return lockedFile{}, false
	}
	f, ok := have.Files[publicURL(u)]
	return f, ok
}

// recordFile locks u to f, whatever it was locked to: a checksum in the Kubefile says more than an old lock.
func (l *Lock) recordFile(p v1.Platform, u *url.URL, f lockedFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.platform(p).Files[publicURL(u)] = f
}

// Keep adds what old says of the platforms that l says nothing of: those that were not built this time.
func (l *Lock) Keep(old *Lock) {
	old.mu.Lock()
	defer old.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, p := range old.platforms {
		if l.platforms == nil {
			l.platforms = map[string]*lockedPlatform{}
		}
		if l.platforms[key] == nil {
			l.platforms[key] = p
		}
	}
}

// platform returns the section of p and makes it when it is missing. l.mu is held.
func (l *Lock) platform(p v1.Platform) *lockedPlatform {
	if l.platforms == nil {
		l.platforms = map[string]*lockedPlatform{}
	}
	key := platformKey(p)
	if l.platforms[key] == nil {
		l.platforms[key] = newLockedPlatform()
	}
	return l.platforms[key]
}

func newLockedPlatform() *lockedPlatform {
	return &lockedPlatform{
		Bases: map[string]lockedImage{}, Images: map[string]lockedImage{}, Files: map[string]lockedFile{},
		Signatures: map[string]map[string]lockedImage{},
	}
}

// unlocked is the error of a frozen build for what the lock does not name.
func (l *Lock) unlocked(p v1.Platform, what string) error {
	return fmt.Errorf("%s is not in %s for %s, and nothing else may be used with --frozen: run `sealrt build --lock` and commit the file",
		what, l.fileName(), platformKey(p))
}

// platformKey writes a platform as the lock does: arm64/v8 is arm64.
func platformKey(p v1.Platform) string {
	key := p.OS + "/" + artifact.Arch(p.Architecture)
	if p.Variant != "" && !(artifact.Arch(p.Architecture) == "arm64" && p.Variant == "v8") {
		key += "/" + p.Variant
	}
	return key
}

// publicURL writes u without what is secret or never sent: user, password and fragment.
func publicURL(u *url.URL) string {
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	c.Host = strings.ToLower(c.Host)
	return c.String()
}
