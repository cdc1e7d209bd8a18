package export

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// listReferrer makes the manifest d, which was pushed to the repository of to,
// be found by its subject, if it names one.
func (p *pushing) listReferrer(ctx context.Context, to artifact.Reference, d v1.Descriptor) error {
	dst, ok := p.dst.(artifact.Attacher)
	if !ok {
		return nil
	}
	about, err := layout.ReadSubject(ctx, p.src, d)
	if err != nil || about.Subject == nil {
		return err
	}
	return dst.Attach(ctx, to.WithDigest(about.Subject.Digest), artifact.Named{Ref: untagged(to, d.Digest), Desc: d})
}
