package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// imageID is a digest, or the beginning of one, with or without its algorithm,
// as images prints it.
var imageID = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{4,64})$`)

// findNames returns the names of the store that an argument means: the one that
// it is, or those of the image whose digest it is or begins, or NAME@digest. A
// name goes first: one may look like a digest.
func findNames(ctx context.Context, store *store.Store, arg string) ([]artifact.Named, error) {
	all, err := store.Refs(ctx)
	if err != nil {
		return nil, err
	}
	ref, bad := artifact.ParseReference(arg)
	digest, pinned := ref.Digest()
	id := imageID.FindStringSubmatch(arg)
	var found []artifact.Named
	for _, n := range all {
		switch {
		case bad == nil && n.Ref == ref:
			return []artifact.Named{n}, nil
		case pinned:
			if n.Desc.Digest == digest && n.Ref.Name() == ref.Name() && (ref.Tag() == "" || ref.Tag() == n.Ref.Tag()) {
				found = append(found, n)
			}
		case id != nil && strings.HasPrefix(n.Desc.Digest.Hex, id[1]):
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 0 && bad != nil && id == nil:
		return nil, usageError{bad}
	case len(found) == 0:
		return nil, fmt.Errorf("%s: %w in the store at %s: `sealrt images` lists what is there", arg, artifact.ErrNotFound, store.Root())
	}
	if i := slices.IndexFunc(found, func(n artifact.Named) bool { return n.Desc.Digest != found[0].Desc.Digest }); i > 0 {
		return nil, fmt.Errorf("%s is the beginning of several digests, %s (%s) and %s (%s): write more of it", arg,
			found[0].Desc.Digest, found[0].Ref.Familiar(), found[i].Desc.Digest, found[i].Ref.Familiar())
	}
	return found, nil
}

// findImage returns the image that an argument of findNames means. A whole
// digest also means an image of the store that has no name.
func findImage(ctx context.Context, store *store.Store, arg string) (v1.Descriptor, error) {
	found, err := findNames(ctx, store, arg)
	if err == nil {
		return found[0].Desc, nil
	}
	if !errors.Is(err, artifact.ErrNotFound) {
		return v1.Descriptor{}, err
	}
	if strings.HasPrefix(arg, "sha256:") {
		arg = "localhost/unnamed@" + arg
	}
	ref, bad := artifact.ParseReference(arg)
	if bad != nil {
		return v1.Descriptor{}, err
	}
	d, nobody := store.Resolve(ctx, ref)
	if nobody != nil {
		return v1.Descriptor{}, err
	}
	return d, nil
}

// listNames returns names as a user writes them.
func listNames(list []artifact.Named) string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.Ref.Familiar()
	}
	return strings.Join(names, ", ")
}
