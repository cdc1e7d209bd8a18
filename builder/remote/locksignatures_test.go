package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// attachments are what a registry says is attached to anything.
type attachments struct {
	list  []artifact.Named
	err   error
	asked int
}

func (a *attachments) Attached(context.Context, artifact.Reference) ([]artifact.Named, error) {
	a.asked++
	return slices.Clone(a.list), a.err
}

func TestLockSaysWhatIsAttached(t *testing.T) {
	store := newStore(t)
	named := func(s string) artifact.Named {
		return artifact.Named{Ref: ref(t, "app:"+s), Desc: put(t, store, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Annotations: map[string]string{"name": s}})}
	}
	old, later := named("old.sig"), named("later.sig")
	gone := artifact.Named{Ref: ref(t, "app@"+sha("a").String()), Desc: manifestDesc("a")}
	registry := &attachments{list: []artifact.Named{old, gone}}
	l := &Lock{}
	subject := ref(t, "app:1").WithDigest(sha("c"))
	attached := func(frozen bool, subject artifact.Reference) []artifact.Named {
		list, err := l.Signatures(registry, store, amd64, frozen).Attached(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	equal := cmp.Comparer(func(a, b artifact.Named) bool { return a.Ref == b.Ref && a.Desc.Digest == b.Desc.Digest })
	for _, frozen := range []bool{false, false, true} {
		if diff := cmp.Diff([]artifact.Named{old}, attached(frozen, subject), equal); diff != "" {
			t.Errorf("frozen %v: %s", frozen, diff)
		}
		registry.list = append(registry.list, later) // somebody signs
	}
	if registry.asked != 1 {
		t.Errorf("the registry was asked %d times", registry.asked)
	}
	if list := attached(true, ref(t, "other:1").WithDigest(sha("c"))); len(list) > 0 || registry.asked != 1 {
		t.Errorf("what the lock does not say: %v", list)
	}
	if list, err := l.Signatures(registry, store, arm64, true).Attached(t.Context(), subject); len(list) > 0 || err != nil {
		t.Errorf("another platform: %v, %v", list, err)
	}
	registry.err = errors.New("500")
	if _, err := l.Signatures(registry, store, arm64, false).Attached(t.Context(), subject); !errors.Is(err, registry.err) {
		t.Errorf("got %v", err)
	}
}

func TestSignatureThatIsLockedAndGone(t *testing.T) {
	l := filledLock(t)
	src := l.Source(newStore(t), arm64, LockImage, true)
	_, err := src.Open(t.Context(), ref(t, "registry.example.com:5000/team/app").WithDigest(sha("f")), manifestDesc("f"), 0)
	if err == nil || !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "run `sealrt build --lock`") {
		t.Errorf("got %v", err)
	}
}
