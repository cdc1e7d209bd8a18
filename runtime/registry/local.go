package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Local is what a host has itself.
type Local interface {
	// Images returns the container images that are here now: the same value as
	// before while nothing changed. What was returned before can be read on.
	Images(ctx context.Context) (layout.Images, error)
}

// Several are places of one host as one; the first one that has a name counts.
type Several struct {
	Places []Local

	mu    sync.Mutex
	parts []layout.Images
	all   layout.Images
}

// Images implements Local.
func (s *Several) Images(ctx context.Context) (layout.Images, error) {
	var parts []layout.Images
	var trouble error
	for _, p := range s.Places {
		images, err := p.Images(ctx)
		if err != nil { // the others are served all the same
			trouble = errors.Join(trouble, err)
			continue
		}
		parts = append(parts, images)
	}
	if len(parts) == 0 && trouble != nil {
		return nil, trouble
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil || !slices.Equal(parts, s.parts) {
		s.parts, s.all = parts, Union(parts...)
	}
	return s.all, nil
}

// fixed are images that do not change.
type fixed struct{ images layout.Images }

// Images implements Local.
func (f fixed) Images(context.Context) (layout.Images, error) { return f.images, nil }

// Always returns a place whose images do not change.
func Always(images layout.Images) Local { return fixed{images} }

// lookAgain is how often a place that changes is looked at.
const lookAgain = 2 * time.Second

// layoutAt is an image layout whose index.json changes.
type layoutAt struct {
	dir string

	mu   sync.Mutex
	seen stamp
	now  *layout.Layout
}

// Images implements Local.
func (l *layoutAt) Images(context.Context) (layout.Images, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := stampOf(filepath.Join(l.dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nothing{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("images of this host: %w", err)
	}
	if l.now != nil && s == l.seen {
		return l.now, nil
	}
	now, err := layout.Open(l.dir)
	if err != nil {
		return nil, err
	}
	l.now, l.seen = now, s
	return now, nil
}
