package registry

import (
	"context"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Polled is a place that a function looks into, now and then. While the index of
// what it returns has the same digest, nothing changed.
func Polled(images func(context.Context) (layout.Images, error)) Local {
	return &polled{ask: images, now: time.Now}
}

type polled struct {
	ask func(context.Context) (layout.Images, error)
	now func() time.Time

	mu     sync.Mutex
	looked time.Time
	last   layout.Images
}

// Images implements Local. Where looking fails, what was there before counts.
func (p *polled) Images(ctx context.Context) (layout.Images, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && p.now().Sub(p.looked) < lookAgain {
		return p.last, nil
	}
	images, err := p.ask(ctx)
	if err != nil && p.last == nil {
		return nil, err
	}
	p.looked = p.now()
	if err == nil && (p.last == nil || images.Digest() == v1.Hash{} || images.Digest() != p.last.Digest()) {
		p.last = images
	}
	return p.last, nil
}
