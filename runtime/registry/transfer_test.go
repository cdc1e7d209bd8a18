package registry

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
)

// toPush is an image with what Send needs.
func toPush(t *testing.T, p pulled, trees string) ([]Image, []v1.Descriptor, []Listed) {
	t.Helper()
	i := Image{Ref: airgaptest.Reference(t, p.name), Desc: p.manifest, Source: source(t, trees)}
	blobs, err := i.Blobs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return []Image{i}, blobs, []Listed{{Name: i.Ref.String(), Desc: p.manifest, Pushed: time.Now()}}
}

func TestAPushSendsOnlyWhatIsLacking(t *testing.T) {
	c := newCluster(t, 1, nil)
	s := c.masters[0].service
	from := t.TempDir()
	p := imageTree(t, from, "library/app:1", 8<<20)
	images, blobs, list := toPush(t, p, from)
	lacks := func() []Want {
		t.Helper()
		wants, err := s.Lacks(t.Context(), blobs)
		if err != nil {
			t.Fatal(err)
		}
		return wants
	}
	var stream bytes.Buffer
	whole, err := Send(t.Context(), &stream, images, lacks(), list)
	if err != nil || whole < 8<<20 {
		t.Fatal(whole, err)
	}
	// the line is cut in the middle of the layer
	if _, err := s.Take(t.Context(), io.LimitReader(&stream, 6<<20)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	stream.Reset()
	rest, err := Send(t.Context(), &stream, images, lacks(), list)
	if err != nil || rest > 3<<20 {
		t.Errorf("%d bytes were sent again, %v", rest, err)
	}
	if taken, err := s.Take(t.Context(), &stream); err != nil || len(taken) != 1 {
		t.Fatal(taken, err)
	}
	if n, err := Send(t.Context(), io.Discard, images, lacks(), list); err != nil || n != 0 {
		t.Errorf("%d bytes of what is there, %v", n, err)
	}
	_, url := c.node()
	if _, body, err := get(t, url+p.blob()); err != nil || !bytes.Equal(body, p.content) {
		t.Error(err)
	}
}

func TestAPushIsVerified(t *testing.T) {
	c := newCluster(t, 1, nil)
	s := c.masters[0].service
	from := t.TempDir()
	p := imageTree(t, from, "library/app:1", 1000)
	images, blobs, list := toPush(t, p, from)
	wants, err := s.Lacks(t.Context(), blobs)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := Send(t.Context(), &stream, images, wants, list); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(stream.Bytes(), p.content[:50])
	stream.Bytes()[at] ^= 1
	if _, err := s.Take(t.Context(), &stream); !artifact.IsDamaged(err) {
		t.Error(err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) > 0 {
		t.Error(list, err)
	}
}

func TestAPushDoesNotHideAClusterImage(t *testing.T) {
	c := newCluster(t, 1, nil)
	imageTree(t, c.masters[0].trees, "library/app:1", 100)
	from := t.TempDir()
	images, blobs, list := toPush(t, imageTree(t, from, "library/app:1", 100), from)
	s := c.masters[0].service
	wants, _ := s.Lacks(t.Context(), blobs)
	var stream bytes.Buffer
	if _, err := Send(t.Context(), &stream, images, wants, list); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(t.Context(), &stream); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Error(err)
	}
}

func TestAPushSendsNothingThatAClusterImageHas(t *testing.T) {
	c := newCluster(t, 1, nil)
	m := c.masters[0]
	p := imageTree(t, m.trees, "library/system:1", 1<<20)
	images, blobs, list := toPush(t, p, m.trees)
	list[0].Name = "quay.io/team/app:1"
	wants, err := m.service.Lacks(t.Context(), blobs)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if n, err := Send(t.Context(), &stream, images, wants, list); err != nil || n != 0 {
		t.Errorf("%d bytes were sent, %v", n, err)
	}
	if _, err := m.service.Take(t.Context(), &stream); err != nil {
		t.Fatal(err)
	}
	// it outlives the cluster image
	os.RemoveAll(m.trees)
	m.service.own.(*Trees).looked = time.Time{}
	_, url := c.node()
	if resp, _, err := get(t, url+"/v2/team/app/manifests/1?ns=quay.io"); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
	if _, body, err := get(t, url+p.blob()); err != nil || !bytes.Equal(body, p.content) {
		t.Error(err)
	}
}
