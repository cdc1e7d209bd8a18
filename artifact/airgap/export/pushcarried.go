package export

import (
	"context"
	"fmt"
	"slices"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// signatures pushes what is about the images that were pushed: entries of
// index.json that are no images for container runtimes.
func (p *pushing) signatures(ctx context.Context) error {
	done := map[artifact.Reference]bool{}
	for _, v := range p.variants {
		for _, e := range v.Images.Entries() {
			if e.Name != "" {
				continue
			}
			from, err := p.carried(ctx, v.Images, e)
			if err != nil {
				return err
			}
			for _, w := range from {
				if done[w.to] {
					continue
				}
				done[w.to] = true
				err := p.copy(ctx, w, e.Desc, nil)
				if err == nil {
					err = p.listReferrer(ctx, w.to, e.Desc)
				}
				if err != nil {
					return fmt.Errorf("push %s: %w", w.from.Familiar(), err)
				}
			}
		}
	}
	return nil
}

// carried returns under which names a signature goes: its own, if its repository
// is pushed to, and by digest where its subject is.
func (p *pushing) carried(ctx context.Context, images layout.Images, e layout.Entry) ([]*wanted, error) {
	if e.Carried != "" {
		ref, err := artifact.ParseReference(e.Carried)
		if err != nil {
			return nil, fmt.Errorf("images/index.json: %w", err)
		}
		if !slices.ContainsFunc(p.wanted, func(w *wanted) bool { return w.from.Name() == ref.Name() }) {
			return nil, nil
		}
		to, err := Mapped(p.o.Prefix, ref)
		return []*wanted{{from: ref, to: to}}, err
	}
	about, err := layout.ReadSubject(ctx, images, e.Desc)
	if err != nil || about.Subject == nil {
		return nil, err
	}
	var list []*wanted
	for _, w := range p.wanted {
		if slices.ContainsFunc(w.on, func(o onPlatform) bool { return o.desc.Digest == about.Subject.Digest }) {
			list = append(list, &wanted{from: untagged(w.from, e.Desc.Digest), to: untagged(w.to, e.Desc.Digest)})
		}
	}
	return list, nil
}
