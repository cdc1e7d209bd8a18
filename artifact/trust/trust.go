// Package trust signs images, and checks that they are signed with keys that the
// user trusts.
//
// It knows the signatures and attestations that cosign makes with a key: payloads
// and envelopes under a tag of the image's digest, and sigstore bundles that refer
// to the image. Certificates and transparency logs, which need the network, are
// not looked at.
package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Image is an image and what was found that may sign it.
type Image struct {
	Ref        artifact.Reference // pinned to its digest
	Subjects   []v1.Descriptor    // manifests and indexes; who signs one of them signs the image
	Signatures []artifact.Named   // manifests that are attached to one of the subjects
	Source     artifact.Source    // has the subjects, the signatures and what these consist of
	Err        error              // why signatures could not be looked for; may be nil
}

// Form is a way in which signatures lie beside an image.
type Form string

const (
	Tag    Form = "tag"    // under a tag made of the image's digest, which cosign 2 looks for
	Bundle Form = "bundle" // a sigstore bundle that refers to the image, which cosign 3 looks for
)

// Keys are keys of which each may sign.
type Keys []*Key

// Verify returns nil when one of the keys signed one of the subjects of an
// image. The error says what was found instead.
func (k Keys) Verify(ctx context.Context, img Image) error {
	r, err := k.Examine(ctx, img)
	if err != nil || len(r.Signatures()) > 0 {
		return err
	}
	return fmt.Errorf("%s: %w: %s", img.name(), r.Refusal(), img.next())
}

// Found is one signature or attestation of an image.
type Found struct {
	Manifest  artifact.Reference // that it lies in
	Form      Form
	Key       *Key      // that made it; nil: none of those that were asked for
	Digests   []v1.Hash // of what it is about, when there is a Key
	Predicate string    // the type of what is attested; "" for a signature
	Statement []byte    // in-toto statement, with a Key; nil where the signature has another form
	Certified bool      // a certificate says who made it, which is not looked at
	About     bool      // it is about the image, whoever made it; told of attestations, and with a Key
	Valid     bool      // a key made it, and it is about the image
	Err       error     // why it cannot be read, though a key made it
}

// Report is what was found of signatures of an image.
type Report struct {
	Found  []Found
	Broken []error // manifests, or signatures in them, that cannot be read

	keys     Keys
	attached int   // manifests
	err      error // of looking
}

// Examine reads all signatures and attestations of an image and finds the key
// that made each. The error is that of ctx.
func (k Keys) Examine(ctx context.Context, img Image) (Report, error) {
	r := Report{keys: k, attached: len(img.Signatures), err: img.Err}
	for _, n := range img.Signatures {
		claims, err := readClaims(ctx, img, n)
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		if err != nil {
			r.Broken = append(r.Broken, err)
		}
		for _, c := range claims {
			f := Found{Manifest: n.Ref, Form: c.form, Predicate: c.predicate, Certified: c.certified}
			if f.Key = k.made(ctx, c); f.Key != nil || f.Predicate != "" {
				err := c.parse()
				f.About = err == nil && slices.ContainsFunc(img.Subjects, func(s v1.Descriptor) bool { return slices.Contains(c.digests, s.Digest) })
				if f.Key != nil {
					f.Err, f.Digests, f.Valid = err, c.digests, f.About
				}
			}
			if f.Key != nil && (c.form == Bundle || c.predicate != "") {
				f.Statement = c.text
			}
			r.Found = append(r.Found, f)
		}
	}
	return r, nil
}

// made returns the key that made a signature, or nil.
func (k Keys) made(ctx context.Context, c *claim) *Key {
	for _, key := range k {
		if c.verify(ctx, key) {
			return key
		}
	}
	return nil
}

// Signatures returns the signatures of the image that one of the keys made.
func (r Report) Signatures() []Found {
	return r.valid(func(f Found) bool { return f.Predicate == "" })
}

// Attestations returns what is attested of the image by one of the keys, with a
// predicate of that type.
func (r Report) Attestations(predicate string) []Found {
	return r.valid(func(f Found) bool { return f.Predicate == predicate })
}

func (r Report) valid(want func(Found) bool) []Found {
	var list []Found
	for _, f := range r.Found {
		if f.Valid && want(f) {
			list = append(list, f)
		}
	}
	return list
}

// Refusal says why an image is not taken to be signed.
func (r Report) Refusal() error {
	return r.refuse("signature", func(f Found) bool { return f.Predicate == "" })
}

// RefusalOf says why an image is not taken to be attested something.
func (r Report) RefusalOf(predicate string) error {
	return r.refuse("attestation of type "+predicate, func(f Found) bool { return f.Predicate == predicate })
}

// refuse says what an image has instead of what is wanted.
func (r Report) refuse(what string, want func(Found) bool) error {
	var others []string // by a key that is trusted, of something else
	var unread []error
	wanted, certified := 0, 0
	for _, f := range r.Found {
		if !want(f) {
			continue
		}
		wanted++
		switch {
		case f.Err != nil:
			unread = append(unread, f.Err)
		case f.Key != nil:
			others = append(others, fmt.Sprintf("%s signed %s", f.Key.name, join(f.Digests)))
		case f.Certified:
			certified++
		}
	}
	by, broken := r.keys.names(), errors.Join(slices.Concat(r.Broken, unread)...)
	var found string
	switch {
	case len(others) > 0:
		found = strings.Join(slices.Compact(others), ", ") + " instead"
	case wanted > 0 && certified == wanted:
		found = fmt.Sprintf("%s, made with a certificate (keyless), which is not looked at: one by %s is required", count(wanted, what), by)
	case wanted > 0:
		found = fmt.Sprintf("%s, none by %s", count(wanted, what), by)
	case r.attached > 0 && broken == nil && what == "signature":
		found = "what is attached to it is no signature of an image"
	case broken == nil:
		found = "it has no " + what + ", one by " + by + " is required"
	default:
		found = "it has no " + what + " that can be read"
	}
	if cause := cmp.Or(r.err, broken); cause != nil {
		return fmt.Errorf("%s: %w", found, cause)
	}
	return errors.New(found)
}

// names returns the names of the keys for a sentence.
func (k Keys) names() string {
	names := make([]string, len(k))
	for i, key := range k {
		names[i] = key.name
	}
	return strings.Join(names, " or ")
}

// name is what the user calls the image.
func (img Image) name() string {
	if t, err := img.Ref.WithTag(img.Ref.Tag()); err == nil {
		return t.Familiar()
	}
	return img.Ref.Familiar()
}

// next is what the user can do.
func (img Image) next() string {
	return fmt.Sprintf("sign it with `cosign sign --key KEY %s@%s`", img.Ref.Name(), img.Subjects[0].Digest)
}

func count(n int, what string) string {
	if n == 1 {
		return "it has " + article(what)
	}
	head, rest, _ := strings.Cut(what, " ")
	return strings.TrimSuffix(fmt.Sprintf("it has %d %ss %s", n, head, rest), " ")
}

func article(what string) string {
	if strings.HasPrefix(what, "a") {
		return "an " + what
	}
	return "a " + what
}

func join(list []v1.Hash) string {
	text := make([]string, len(list))
	for i, h := range list {
		text[i] = h.String()
	}
	return strings.Join(text, " and ")
}
