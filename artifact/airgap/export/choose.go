package export

import (
	"fmt"
	"slices"
	"strings"

	"cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Chosen returns the full names of the images that a user means by references,
// in the order of index.json: with a digest, that is what counts. References
// that mean nothing are an error wrapping artifact.ErrNotFound that lists them.
func Chosen(images layout.Images, refs []artifact.Reference) ([]string, error) {
	var names []string
	found := make([]bool, len(refs))
	for _, e := range images.Entries() {
		chosen := false
		for i, ref := range refs {
			if means(ref, e) {
				found[i], chosen = true, true
			}
		}
		if chosen {
			names = append(names, e.Name)
		}
	}
	return names, absent(refs, found)
}

// means reports whether a user who names an image means that entry.
func means(named artifact.Reference, e layout.Entry) bool {
	ref, err := artifact.ParseReference(e.Name)
	if e.Name == "" || err != nil {
		return false
	}
	h, pinned := named.Digest()
	return named == ref || pinned && named.Name() == ref.Name() && e.Desc.Digest == h
}

// absent returns an error that lists the references that were not found.
func absent(refs []artifact.Reference, found []bool) error {
	var names []string
	for i, ref := range refs {
		if !found[i] {
			names = append(names, ref.Familiar())
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("no image is called %s: %w: `sealrt image list` shows what is inside", strings.Join(names, ", "), artifact.ErrNotFound)
}

// chooseEntries returns the images of the given names, or all, in the order of
// their names.
func chooseEntries(images layout.Images, names []string) ([]layout.Entry, error) {
	entries := slices.DeleteFunc(images.Entries(), func(e layout.Entry) bool {
		return e.Name == "" || len(names) > 0 && !slices.Contains(names, e.Name)
	})
	for _, name := range names {
		if !slices.ContainsFunc(entries, func(e layout.Entry) bool { return e.Name == name }) {
			return nil, fmt.Errorf("no image is called %s: %w", name, artifact.ErrNotFound)
		}
	}
	slices.SortStableFunc(entries, func(a, b layout.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}
