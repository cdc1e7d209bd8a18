package main

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// lookups answers for what a Clusterfile names by where it is, env:NAME or
// file:PATH; each is looked up once.
type lookups struct {
	from clusterfile.Secrets
	mu   sync.Mutex
	said map[string]revealed
}

type revealed struct {
	value string
	err   error
}

// reveals lets a cluster of this command look up what its specification names by
// where it is.
func (e *environment) reveals(c *runtime.Cluster) *lookups {
	r := &lookups{said: map[string]revealed{}, from: e.secretPlaces()}
	c.RevealWith(r.reveal)
	return r
}

// secretPlaces are where this process finds what is named by where it is.
func (e *environment) secretPlaces() clusterfile.Secrets {
	return clusterfile.Secrets{
		Getenv:   e.getenv,
		ReadFile: func(name string) ([]byte, error) { return os.ReadFile(e.homely(name)) },
	}
}

// revealedSettings returns settings with the values of those that are named by
// where they are. The error is the first one's that cannot be had; it stands for
// itself in what is returned.
func (e *environment) revealedSettings(settings map[string]string) (map[string]string, error) {
	out := maps.Clone(settings)
	var failed error
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !clusterfile.IsReference(settings[name]) {
			continue
		}
		value, err := e.secretPlaces().Reveal("env "+name, settings[name])
		if err == nil {
			out[name] = value
		}
		failed = cmp.Or(failed, err)
	}
	return out, failed
}

func (r *lookups) reveal(what, reference string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.said[reference]
	if !ok {
		known.value, known.err = r.from.Reveal(what, reference)
		r.said[reference] = known
	}
	return known.value, known.err
}

// revealsWhatItCan is reveals for a cluster that is taken apart: what cannot be
// looked up any more is empty, and told once.
func (e *environment) revealsWhatItCan(c *runtime.Cluster) {
	r := e.reveals(c)
	told := map[string]bool{}
	c.RevealWith(func(what, reference string) (string, error) {
		value, err := r.reveal(what, reference)
		if err != nil && !told[reference] {
			told[reference] = true
			e.note("warning: %v: hooks see it empty", err)
		}
		return value, nil
	})
}
