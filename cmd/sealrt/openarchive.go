package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/archive"
)

// archivePrefix marks an image that is read from an OCI archive where it lies:
// oci-archive:FILE, or oci-archive:FILE:NAME where there are several.
const archivePrefix = "oci-archive:"

func isArchive(arg string) bool { return strings.HasPrefix(arg, archivePrefix) }

// openImage returns where an image lies that must be on this machine: in the
// store, or in an archive.
func openImage(ctx context.Context, env *environment, arg string) (artifact.Reference, artifact.Source, error) {
	if isArchive(arg) {
		return openArchive(ctx, env, arg)
	}
	store, refs, err := env.stored(ctx, []string{arg})
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	return refs[0], store, nil
}

// openArchive opens an image in an archive, in volumes too, until the command
// ends. What a delta presumes is read from the store, which must have it.
func openArchive(ctx context.Context, env *environment, arg string) (artifact.Reference, artifact.Source, error) {
	file, name := splitArchive(strings.TrimPrefix(arg, archivePrefix))
	a, err := archive.Open(file)
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	env.opened = append(env.opened, a)
	image, err := chooseImage(a.Refs(), file, name)
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	if a.Presumes() == nil {
		return image.Ref, a, nil
	}
	store, err := env.heldStore(ctx)
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	whole := a.Over(store)
	if err := whole.RequireWhole(ctx, []artifact.Named{image}); err != nil {
		return artifact.Reference{}, nil, fmt.Errorf("%s: %w", file, err)
	}
	return image.Ref, whole, nil
}

// damagedIn adds to an error which archive is damaged, if one is.
func damagedIn(arg string, err error) error {
	if !isArchive(arg) || !artifact.IsDamaged(err) {
		return err
	}
	file, _ := splitArchive(strings.TrimPrefix(arg, archivePrefix))
	return fmt.Errorf("%s: %w: copy the archive here again", file, err)
}

// splitArchive separates FILE and NAME of FILE:NAME. A file's name may have
// colons too: the longest part that is there is the file.
func splitArchive(s string) (file, name string) {
	there := func(path string) bool {
		_, err := os.Stat(path)
		_, volume := os.Stat(path + ".001")
		return !errors.Is(err, fs.ErrNotExist) || !errors.Is(volume, fs.ErrNotExist)
	}
	for end := len(s); end > 0; end = strings.LastIndexByte(s[:end], ':') {
		if there(s[:end]) {
			return s[:end], strings.TrimPrefix(s[end:], ":")
		}
	}
	file, name, _ = strings.Cut(s, ":")
	return file, name
}

// chooseImage returns the image of an archive that has a name, tag or digest;
// the only one needs none.
func chooseImage(list []artifact.Named, file, name string) (artifact.Named, error) {
	var fit []artifact.Named
	ref, err := artifact.ParseReference(name)
	for _, n := range list {
		h := n.Desc.Digest.String()
		if name == "" || err == nil && ref == n.Ref || name == n.Ref.Tag() || name == h || strings.HasSuffix(name, "@"+h) {
			fit = append(fit, n)
		}
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	var names []string
	for _, n := range list {
		names = append(names, n.Ref.Familiar())
	}
	all := strings.Join(names, ", ")
	if name == "" {
		return artifact.Named{}, fmt.Errorf("%s holds %d images, %s: choose one with %s%s:NAME", file, len(list), all, archivePrefix, file)
	}
	return artifact.Named{}, fmt.Errorf("%s: %w in %s, which holds %s", name, artifact.ErrNotFound, file, all)
}
