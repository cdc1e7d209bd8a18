package runtime_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/swarm"
)

// helped is a host whose helper runs, in this process, the commands by which
// blobs travel.
type helped struct {
	*hosttest.Host
	mu    sync.Mutex
	blobs map[v1.Hash][]byte
}

func newHelped(name string) *helped {
	h := &helped{Host: newHost(name), blobs: map[v1.Hash][]byte{}}
	h.Respond([]string{"mv", "-T"}, "", 0) // of a tree, which is not unpacked here
	return h
}

func (h *helped) Run(ctx context.Context, c host.Command) error {
	verbs := map[string]func(context.Context, io.Reader, io.Writer, swarm.Keeper) error{
		"missing": swarm.Missing, "receive": swarm.Receive, "serve": swarm.Serve, "fetch": swarm.Fetch,
	}
	if len(c.Argv) < 3 || c.Argv[1] != "host" || verbs[c.Argv[2]] == nil {
		return h.Host.Run(ctx, c)
	}
	if !slices.Contains(c.Env, "SEALRT_WORK=test") {
		return errors.New("a command that may outlive the client has no mark")
	}
	return verbs[c.Argv[2]](ctx, c.Stdin, c.Stdout, h)
}

func (h *helped) Missing(_ context.Context, list []v1.Descriptor) (wants []swarm.Want, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range list {
		if _, there := h.blobs[d.Digest]; !there {
			wants = append(wants, swarm.Want{Descriptor: d})
		}
	}
	return wants, nil
}

func (h *helped) Write(_ context.Context, d v1.Descriptor, _ int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if sum := sha256.Sum256(b); err == nil && hex.EncodeToString(sum[:]) != d.Digest.Hex {
		err = errors.New("wrong digest")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.blobs[d.Digest] = b
	}
	return err
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func (h *helped) Blob(_ context.Context, d v1.Hash) (io.ReadSeekCloser, int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, there := h.blobs[d]
	if !there {
		return nil, 0, fs.ErrNotExist
	}
	return inMemory{bytes.NewReader(b)}, int64(len(b)), nil
}

// travelling is an image of one large layer, and the step that brings it.
func travelling(t *testing.T) (src *store.Store, step runtime.Step, size int64) {
	t.Helper()
	src, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var tree bytes.Buffer
	w := tar.NewWriter(&tree)
	content := bytes.Repeat([]byte("layer"), 20_000)
	err = w.WriteHeader(&tar.Header{Name: "bin/tool", Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	layer, err := src.PutBytes(t.Context(), types.OCIUncompressedLayer, tree.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	config, err := src.PutJSON(t.Context(), types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.Digest}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := src.PutJSON(t.Context(), types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference("app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Tag(t.Context(), ref, d); err != nil {
		t.Fatal(err)
	}
	image := runtime.Image{Ref: ref, Digest: d.Digest.String()}
	return src, runtime.Step{ID: "load", Do: runtime.Load{Ref: ref.String(), Digest: image.Digest, Rootfs: image.Rootfs()}}, d.Size + config.Size + layer.Size
}

// free is a port that nothing listens on.
func free(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
}

func TestStandingMemberServesTheNewOne(t *testing.T) {
	old, young := newHelped("10.0.0.1"), newHelped("10.0.0.2")
	first := runtime.Member{Address: "10.0.0.1", NodeIP: "127.0.0.1"}
	second := runtime.Member{Address: "10.0.0.2", NodeIP: "127.0.0.1"}
	src, step, size := travelling(t)
	var mu sync.Mutex
	var from []string
	engine := func() *runtime.Engine {
		return &runtime.Engine{
			Cluster: "test", Images: src, Blobs: clusterfile.Blobs{Port: free(t)},
			Hosts: map[string]host.Host{first.Address: old, second.Address: young},
			Observe: func(e runtime.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.State == runtime.Sending && e.Bytes == e.Total {
					from = append(from, e.Host+" from "+e.From)
				}
				if e.State == runtime.Done && e.Bytes < size {
					t.Errorf("at the end it says that %d bytes came", e.Bytes)
				}
				if e.State == runtime.Warned {
					t.Error(e.Note)
				}
			},
		}
	}
	one := func(m runtime.Member) runtime.Plan {
		return runtime.Plan{Phases: []runtime.Phase{{Name: "deliver", Tasks: []runtime.Task{{Member: m, Steps: []runtime.Step{step}}}}}}
	}
	e := engine()
	if err := e.Run(t.Context(), one(first)); err != nil {
		t.Fatal(err)
	}
	if e.Sent() != size {
		t.Errorf("%d bytes were sent of an image of %d", e.Sent(), size)
	}
	e = engine()
	e.Standing = []runtime.Member{first, {Address: "10.0.0.9"}} // one that is not connected
	if err := e.Run(t.Context(), one(second)); err != nil {
		t.Fatal(err)
	}
	if e.Sent() != 0 {
		t.Errorf("%d bytes were sent though a member has the image", e.Sent())
	}
	if want := []string{"10.0.0.1 from client", "10.0.0.2 from 10.0.0.1"}; !slices.Equal(from, want) {
		t.Errorf("bytes came: %q", from)
	}
}

func TestCheckNamesHostsThatNoHelperIsFor(t *testing.T) {
	x := newBed(t)
	x.b.Respond([]string{"uname", "-sm"}, "Linux aarch64\n", 0)
	x.Helper = func(_, arch string) (io.ReadCloser, error) {
		if arch != "amd64" {
			return nil, errors.New("there is none for " + arch)
		}
		return io.NopCloser(strings.NewReader("program")), nil
	}
	plan := runtime.Plan{Phases: []runtime.Phase{{Name: "deliver"}}}
	for _, m := range []runtime.Member{memberA, memberB} {
		plan.Phases[0].Tasks = append(plan.Phases[0].Tasks, runtime.Task{Member: m, Steps: []runtime.Step{{ID: "sealrt", Do: runtime.Helper{}}}})
	}
	err := x.Check(t.Context(), plan)
	if err == nil || !strings.Contains(err.Error(), "host 10.0.0.2: there is none for arm64") || strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("error is %v", err)
	}
}

func TestHelperIsInstalledWholeAndOnlyOnce(t *testing.T) {
	x := newBed(t)
	plan := onA(runtime.Step{ID: "sealrt", Do: runtime.Helper{}})
	if err := x.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if got, mode, err := x.a.File(runtime.HelperPath); err != nil || string(got) != "program" || mode.Perm() != 0o755 {
		t.Errorf("the helper is %q, %v: %v", got, mode, err)
	}
	if x.Sent() == 0 {
		t.Error("no bytes are counted")
	}
	again := x.engine()
	if err := again.Run(t.Context(), plan); err != nil || again.Sent() != 0 {
		t.Errorf("the second time %d bytes were sent: %v", again.Sent(), err)
	}
}

func TestHelperThatComesBeforeThePlanLiesWhereTheClusterWantsIt(t *testing.T) {
	x, h := newBed(t), hosttest.New("a")
	x.Hosts[memberA.Address] = h
	linked := 0
	h.Respond([]string{"test", "-L", runtime.Home}, "", 1)
	h.Serve([]string{"ln", "-s", "/data/big", runtime.Home}, func(context.Context, host.Command) error {
		linked = len(h.Calls())
		h.WriteFile(runtime.Home+"/keep", 0o644, nil)
		return nil
	})
	c := &runtime.Cluster{Spec: clusterfile.Spec{DataDir: clusterfile.DataDir{Sealrt: "/data/big"}}}
	helpers := x.Engine.Helpers(t.Context(), c)
	if err := helpers.Put(t.Context(), memberA); err != nil {
		t.Fatal(err)
	}
	if dir := slices.Index(h.Transcript(), "mkdir -p "+path.Dir(runtime.HelperPath)); linked == 0 || dir < linked {
		t.Errorf("the link comes after %d commands, what is in it after %d", linked, dir)
	}
	ledger, _, err := h.File(runtime.LedgerPath)
	if err != nil || !strings.Contains(string(ledger), `"moved":{"to":"/data/big","dirs":["/data","/data/big"]}`) || !strings.Contains(string(ledger), `"state":"done"`) {
		t.Errorf("the ledger says %s: %v", ledger, err)
	}
	// the run that follows uses the same servers, and counts what was sent
	sent := x.Sent()
	if err := x.Run(t.Context(), onA(runtime.Step{ID: "sealrt", Do: runtime.Helper{}})); err != nil || sent == 0 || x.Sent() != sent {
		t.Errorf("%d and then %d bytes were sent: %v", sent, x.Sent(), err)
	}
	if err := helpers.Close(); err != nil || x.Sent() != sent {
		t.Errorf("in the end %d bytes were sent: %v", x.Sent(), err)
	}
}
