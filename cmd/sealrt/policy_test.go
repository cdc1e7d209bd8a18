package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// fickle is a source whose one image changes.
type fickle struct {
	artifact.Source
	now v1.Hash
}

func (f *fickle) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{Digest: f.now}, nil
}

func TestAnImageThatChangedAfterItWasJudgedIsRefused(t *testing.T) {
	before, after := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}, v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("2", 64)}
	ref, err := artifact.ParseReference("k3s:v1")
	if err != nil {
		t.Fatal(err)
	}
	src := &fickle{now: before}
	if got, err := (judged{before}).still(t.Context(), src, 0, ref); err != nil || got != ref.WithDigest(before) {
		t.Errorf("got %s, %v", got, err)
	}
	src.now = after
	if _, err := (judged{before}).still(t.Context(), src, 0, ref); err == nil || !strings.Contains(err.Error(), "k3s:v1 became another image") {
		t.Errorf("got %v", err)
	}
	if got, err := judged(nil).still(t.Context(), src, 0, ref); err != nil || got != ref {
		t.Errorf("without a policy: %s, %v", got, err)
	}
}

// oneImage has one image.
type oneImage struct {
	artifact.Source
	ref artifact.Reference
	d   v1.Descriptor
}

func (s oneImage) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	if ref != s.ref {
		return v1.Descriptor{}, artifact.ErrNotFound
	}
	return s.d, nil
}

func TestImagesOfOneNameLieInSeveralPlaces(t *testing.T) {
	list := byReference{}
	for i, name := range []string{"k3s:v1", "k3s:v2"} {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			t.Fatal(err)
		}
		list[ref.Name()] = append(list[ref.Name()], oneImage{ref: ref, d: v1.Descriptor{Size: int64(i + 1)}})
	}
	for name, want := range map[string]int64{"k3s:v1": 1, "k3s:v2": 2, "k3s:v3": 0, "other:v1": 0} {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := list.Resolve(t.Context(), ref)
		if d.Size != want || (want == 0) != errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("%s: got %d, %v", name, d.Size, err)
		}
	}
}
