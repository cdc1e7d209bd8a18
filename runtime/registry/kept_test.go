package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// source opens the images of a tree.
func source(t *testing.T, trees string) layout.Images {
	t.Helper()
	images, err := (&Trees{Dir: trees}).Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// push adds an image to what a host keeps.
func (h *testHost) push(p pulled, from string, at time.Time) {
	h.t.Helper()
	kept, err := OpenKept(h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	defer kept.Close()
	l := Listed{Name: "docker.io/" + p.name, Desc: p.manifest, Pushed: at}
	if err := kept.Add(h.t.Context(), l, source(h.t, from)); err != nil {
		h.t.Fatal(err)
	}
}

func TestAPushedImageIsServedAtOnce(t *testing.T) {
	c := newCluster(t, 1, nil)
	_, url := c.node()
	from := t.TempDir()
	p := imageTree(t, from, "library/app:1", 100)
	if resp, _, err := get(t, url+p.path("manifests", "1")); err != nil || resp.StatusCode != 404 {
		t.Fatal(resp, err)
	}
	c.masters[0].push(p, from, time.Now())
	if resp, body, err := get(t, url+p.path("manifests", "1")); err != nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte(p.layer.Digest.Hex)) {
		t.Error(resp, err)
	}
	if _, body, err := get(t, url+p.blob()); err != nil || !bytes.Equal(body, p.content) {
		t.Error(err)
	}
}

func TestAMasterCatchesUp(t *testing.T) {
	c := newCluster(t, 3, nil)
	from, again := t.TempDir(), t.TempDir()
	p := imageTree(t, from, "library/app:1", large)
	newer := imageTree(t, again, "library/app:1", 200)
	of := imageTree(t, c.masters[0].trees, "library/system:1", 300)
	own := imageTree(t, c.masters[2].trees, "library/system:2", 400)
	first := time.Now()
	c.masters[0].push(p, from, first)
	c.masters[1].push(newer, again, first.Add(time.Second))
	last := c.masters[2]
	fetched, err := last.service.CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]v1.Hash{}
	for _, l := range fetched {
		names[l.Name] = l.Desc.Digest
	}
	if len(names) != 2 || names["docker.io/library/app:1"] != newer.manifest.Digest || names["docker.io/library/system:1"] != of.manifest.Digest {
		t.Errorf("fetched %v", fetched)
	}
	c.masters[0].kill()
	c.masters[1].kill()
	_, url := c.node()
	for _, p := range []pulled{newer, of, own} {
		if _, body, err := get(t, url+p.blob()); err != nil || !bytes.Equal(body, p.content) {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	c.masters[0].start()
	c.masters[1].start()
	if fetched, err := last.service.CatchUp(t.Context()); err != nil || len(fetched) > 0 {
		t.Errorf("again: %v, %v", fetched, err)
	}
	list, err := last.service.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("what was fetched because others have it is passed on as its own: %v, %v", list, err)
	}
	if fetched, err := c.masters[0].service.CatchUp(t.Context()); err != nil || len(fetched) != 2 {
		t.Errorf("an image that was pushed again later: %v, %v", fetched, err)
	}
}

func TestATagIsToldOfOnlyAfterTheOtherMastersWereAsked(t *testing.T) {
	c := newCluster(t, 2, nil)
	before, after := t.TempDir(), t.TempDir()
	old, now := imageTree(t, before, "library/app:1", 100), imageTree(t, after, "library/app:1", 200)
	system := imageTree(t, c.masters[0].trees, "library/system:1", 100)
	first := time.Now()
	c.masters[0].push(old, before, first)
	c.masters[1].push(now, after, first.Add(time.Second))
	c.masters[0].service.compared.Store(false) // it was down and has just come back
	_, url := c.node()
	for range 20 {
		if _, body, err := get(t, url+old.path("manifests", "1")); err != nil || !bytes.Contains(body, []byte(now.layer.Digest.Hex)) {
			t.Fatalf("%s, %v", body, err)
		}
	}
	if resp, _, err := get(t, url+old.path("manifests", old.manifest.Digest.String())); err != nil || resp.StatusCode != 200 {
		t.Errorf("what has a digest changes never: %v, %v", resp, err)
	}
	if resp, _, err := get(t, url+system.path("manifests", "1")); err != nil || resp.StatusCode != 200 {
		t.Errorf("nor does what a cluster image has: %v, %v", resp, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); c.masters[0].service.keepUp(ctx) }()
	defer func() { cancel(); <-kept }()
	for !c.masters[0].service.compared.Load() {
		time.Sleep(time.Millisecond)
	}
	c.masters[1].kill()
	if _, body, err := get(t, url+old.path("manifests", "1")); err != nil || !bytes.Contains(body, []byte(now.layer.Digest.Hex)) {
		t.Errorf("after it has caught up: %s, %v", body, err)
	}
}

func TestCatchingUpSaysWhetherAllAnswered(t *testing.T) {
	c := newCluster(t, 3, nil)
	if _, all, err := c.masters[0].service.catchUp(t.Context()); err != nil || !all {
		t.Error(all, err)
	}
	c.masters[2].kill()
	if _, all, err := c.masters[0].service.catchUp(t.Context()); err != nil || all {
		t.Error(all, err)
	}
}

// cut is a source whose blobs end after some bytes.
type cut struct {
	layout.Images
	after int64
	from  []int64
}

func (c *cut) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	c.from = append(c.from, offset)
	r, err := c.Images.Open(ctx, ref, d, offset)
	if err != nil || c.after == 0 || d.Size < c.after {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, c.after), failing{}), r}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the line is cut") }

func TestAddingGoesOnWhereItStopped(t *testing.T) {
	from := t.TempDir()
	const size = 8 << 20
	p := imageTree(t, from, "library/app:1", size)
	kept, err := OpenKept(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	src := &cut{Images: source(t, from), after: 5 << 20}
	l := Listed{Name: "docker.io/library/app:1", Desc: p.manifest, Pushed: time.Now()}
	if err := kept.Add(t.Context(), l, src); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Fatal(err)
	}
	if list, err := kept.List(); err != nil || len(list) > 0 {
		t.Errorf("half an image is listed: %v, %v", list, err)
	}
	if n, err := kept.Have(t.Context(), p.layer); err != nil || n < 4<<20 || n >= size {
		t.Errorf("%d bytes were kept, %v", n, err)
	}
	src.after, src.from = 0, nil
	if err := kept.Add(t.Context(), l, src); err != nil {
		t.Fatal(err)
	}
	resumed := false
	for _, offset := range src.from {
		resumed = resumed || offset >= 4<<20
	}
	if !resumed {
		t.Errorf("read from %v", src.from)
	}
	if n, err := kept.Have(t.Context(), p.layer); err != nil || n != size {
		t.Error(n, err)
	}
}

func TestCollectFreesWhatNobodyNeeds(t *testing.T) {
	c := newCluster(t, 2, nil)
	from := t.TempDir()
	pushed := imageTree(t, from, "library/app:1", 100)
	of := imageTree(t, c.masters[0].trees, "library/system:1", 5000)
	m := c.masters[1]
	m.push(pushed, from, time.Now())
	if fetched, err := m.service.CatchUp(t.Context()); err != nil || len(fetched) != 1 {
		t.Fatal(fetched, err)
	}
	if freed, err := m.service.Collect(t.Context(), false); err != nil || len(freed) > 0 {
		t.Errorf("what another master stands for was freed: %v, %v", freed, err)
	}
	os.RemoveAll(filepath.Join(c.masters[0].trees, "library_system_1"))
	c.masters[0].service.own.(*Trees).looked = time.Time{}
	c.masters[0].kill()
	if freed, err := m.service.Collect(t.Context(), false); err != nil || len(freed) > 0 {
		t.Errorf("freed while the other master does not answer: %v, %v", freed, err)
	}
	c.masters[0].start()
	would, err := m.service.Collect(t.Context(), true)
	if err != nil || len(would) != 4 {
		t.Errorf("dry: %v, %v", would, err)
	}
	blob := filepath.Join(Store(m.dir), "blobs/sha256", of.layer.Digest.Hex)
	if _, err := os.Stat(blob); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	freed, err := m.service.Collect(t.Context(), false)
	if err != nil || len(freed) != len(would) {
		t.Errorf("%v, %v", freed, err)
	}
	if _, err := os.Stat(blob); err == nil {
		t.Error("the blob is still there")
	}
	_, url := c.node()
	if _, body, err := get(t, url+pushed.blob()); err != nil || !bytes.Equal(body, pushed.content) {
		t.Errorf("the pushed image: %v", err)
	}
}
