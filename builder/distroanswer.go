package builder

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/lint"
)

// answer is what a program said, as the cache keeps it.
type answer struct {
	Digest v1.Hash      `json:"digest,omitzero"` // of the layer with the program: the store forgets the record with it
	Lists  []distroList `json:"lists,omitempty"`
	Why    string       `json:"why,omitempty"` // there is no list
	chance bool         // Why may be another one next time
}

// distroList is what one command line printed.
type distroList struct {
	Args     []string             `json:"args"`
	Images   []artifact.Reference `json:"images"`
	Optional bool                 `json:"optional,omitempty"`
}

func (l distroList) needs(program string) lint.Needs {
	n := lint.Needs{By: program, Optional: l.Optional}
	for _, ref := range l.Images {
		n.Images = append(n.Images, airgap.Image{Ref: ref, Where: program + " " + strings.Join(l.Args, " ")})
	}
	return n
}

// versionKey is the key of what a program says by what is known of it without reading; "" when that is not enough.
func (w *work) versionKey(p program) string {
	var versions []string
	for _, name := range p.names {
		n := w.image.tree.node(name)
		if n == nil || n.Mode.IsRegular() && n.Version == "" {
			return ""
		}
		versions = append(versions, cmp.Or(n.Version, n.Linkname))
	}
	return p.key("version", versions)
}

// key is the key of what a program says, given what its files are.
func (p program) key(sort string, files any) string {
	h := sha256.New()
	fmt.Fprintf(h, "sealrt distro images 2\n%s %q %q\n%q %v\n", sort, p.names, p.config, files, distroQueries(p.kind))
	return "build/distro/" + hex.EncodeToString(h.Sum(nil))
}

// recall returns what is remembered under key.
func (w *work) recall(key string) (a answer, ok bool) {
	if w.NoCache || key == "" {
		return a, false
	}
	data, ok := w.Store.CacheGet(key)
	return a, ok && json.Unmarshal(data, &a) == nil
}

func (w *work) remember(a answer, keys ...string) error {
	data, err := json.Marshal(a)
	for _, key := range keys {
		if err == nil && key != "" {
			err = w.Store.CachePut(key, data)
		}
	}
	return err
}

// imagesIn returns the images among lines. What a program says to people besides, on stderr, is no image: it has no
// registry with a dot or port, or no tag.
func imagesIn(text string) (images []artifact.Reference) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		domain, rest, ok := strings.Cut(line, "/")
		if !ok || !strings.ContainsAny(domain, ".:") && domain != "localhost" || !strings.ContainsAny(rest, ":@") {
			continue
		}
		if ref, err := artifact.ParseReference(line); err == nil {
			images = append(images, ref)
		}
	}
	return images
}
