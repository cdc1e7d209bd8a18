package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// shelf is a registry that keeps what it gets, and does what before says first.
type shelf struct {
	before func(ctx context.Context, ref artifact.Reference) error

	mu   sync.Mutex
	asks int
	has  map[string]string
}

func (s *shelf) Has(_ context.Context, ref artifact.Reference, d v1.Descriptor) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks++
	_, ok := s.has[ref.Name()+"@"+d.Digest.Hex]
	return ok, nil
}

func (s *shelf) Put(ctx context.Context, ref artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
	if err := s.before(ctx, ref); err != nil {
		return err
	}
	r, err := open(0)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has[ref.Name()+"@"+d.Digest.Hex] = string(b)
	return err
}

func (s *shelf) Tag(context.Context, artifact.Reference, v1.Descriptor) error { return nil }

// stored returns a store with some layers.
func stored(t *testing.T, contents ...string) (*store.Store, []v1.Descriptor) {
	t.Helper()
	store, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	var layers []v1.Descriptor
	for _, text := range contents {
		d, err := store.PutBytes(t.Context(), "application/vnd.oci.image.layer.v1.tar", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, d)
	}
	return store, layers
}

func references(t *testing.T, names ...string) []artifact.Reference {
	t.Helper()
	refs, err := parseRefs(names)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestLayersAreSentWhileOthersAreMade(t *testing.T) {
	store, layers := stored(t, "one", "two")
	arrived, goOn := make(chan bool, 8), make(chan bool)
	s := &shelf{has: map[string]string{}, before: func(context.Context, artifact.Reference) error {
		arrived <- true
		<-goOn
		return nil
	}}
	var mu sync.Mutex
	told := map[artifact.EventKind]int{}
	u := newUploads(t.Context(), store, s, references(t, "r.example.com/a:1", "r.example.com/a:2", "r.example.com/b:1"), 1, func(e artifact.Event) {
		mu.Lock()
		defer mu.Unlock()
		told[e.Kind]++
	})
	step, cancel := context.WithCancel(t.Context())
	u.send(step, layers[0])
	<-arrived // while the builder is still at work
	cancel()  // the part of the build that made the layer has ended
	u.send(step, layers[0])
	u.send(step, layers[1])
	close(goOn)
	u.end(nil)
	want := map[string]string{}
	for _, repo := range []string{"r.example.com/a@", "r.example.com/b@"} {
		want[repo+layers[0].Digest.Hex], want[repo+layers[1].Digest.Hex] = "one", "two"
	}
	if diff := cmp.Diff(want, s.has); diff != "" {
		t.Error(diff)
	}
	if told[artifact.EventStarted] != 4 || told[artifact.EventDone] != 4 {
		t.Errorf("told of %v", told)
	}
	if s.asks != 4 {
		t.Errorf("asked %d times for 2 layers in 2 repositories", s.asks)
	}
}

func TestRegistryThatRefusesIsAskedOnce(t *testing.T) {
	store, layers := stored(t, "one", "two")
	s := &shelf{has: map[string]string{}, before: func(context.Context, artifact.Reference) error { return errors.New("no") }}
	u := newUploads(t.Context(), store, s, references(t, "r.example.com/a:1"), 1, func(artifact.Event) {})
	u.send(t.Context(), layers[0])
	u.send(t.Context(), layers[1])
	u.end(nil)
	if s.asks != 1 {
		t.Errorf("asked %d times", s.asks)
	}
}

func TestUploadsOfAFailedBuildEnd(t *testing.T) {
	store, layers := stored(t, "one", "two")
	arrived := make(chan bool, 8)
	s := &shelf{has: map[string]string{}, before: func(ctx context.Context, _ artifact.Reference) error {
		arrived <- true
		<-ctx.Done()
		return ctx.Err()
	}}
	u := newUploads(t.Context(), store, s, references(t, "r.example.com/a:1"), 1, func(artifact.Event) {})
	u.send(t.Context(), layers[0])
	u.send(t.Context(), layers[1])
	<-arrived
	u.end(errors.New("the build failed"))
	if len(s.has) > 0 {
		t.Errorf("sent %v", s.has)
	}
}
