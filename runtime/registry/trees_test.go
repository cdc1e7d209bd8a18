package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Trees are the container images of unpacked cluster images, one in each folder
// of a directory. A tree never changes; trees come and go.
type Trees struct {
	Dir string

	mu     sync.Mutex
	looked time.Time
	open   map[string]*layout.Layout // by folder
	all    layout.Images
}

// Images implements Local.
func (t *Trees) Images(context.Context) (layout.Images, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all != nil && time.Since(t.looked) < lookAgain {
		return t.all, nil
	}
	folders, err := os.ReadDir(t.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("images of this host: %w", err)
	}
	changed := t.all == nil
	now := map[string]*layout.Layout{}
	for _, f := range folders {
		if filepath.Ext(f.Name()) != "" { // one that is not whole yet
			continue
		}
		if l, ok := t.open[f.Name()]; ok {
			now[f.Name()] = l
			continue
		}
		l, err := layout.Open(filepath.Join(t.Dir, f.Name(), "images"))
		if err != nil { // without images, or not mounted yet: looked at again
			continue
		}
		now[f.Name()], changed = l, true
	}
	for name := range t.open {
		changed = changed || now[name] == nil
	}
	t.looked, t.open = time.Now(), now // who still reads from one that is gone closes it by forgetting it
	if changed {
		var parts []layout.Images
		for _, f := range folders {
			if l := now[f.Name()]; l != nil {
				parts = append(parts, l)
			}
		}
		t.all = Union(parts...)
	}
	return t.all, nil
}
