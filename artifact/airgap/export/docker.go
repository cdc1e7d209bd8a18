package export

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/archive"
)

// WriteDocker writes images to w as one archive that docker load reads
// ([archive.WriteDocker]): those of the given full names, or all when there are
// none. An image that has only a digest is in it without a name, of which note is
// told.
func WriteDocker(ctx context.Context, w io.Writer, images layout.Images, platform v1.Platform, names []string, note func(text string)) error {
	chosen, err := chooseEntries(images, names)
	if err != nil {
		return fmt.Errorf("docker archive: %w", err)
	}
	var refs []artifact.Reference
	for _, e := range chosen {
		ref, err := artifact.ParseReference(e.Name)
		if err != nil {
			return fmt.Errorf("docker archive: images/index.json: %w", err)
		}
		if ref.Tag() == "" && note != nil {
			note(ref.Familiar() + ": a docker archive keeps no digests, so that the image is not found by this name: --format oci keeps it")
		}
		refs = append(refs, ref.WithDigest(e.Desc.Digest))
	}
	return archive.WriteDocker(ctx, w, images, refs, platform)
}
