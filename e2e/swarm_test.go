//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// The bed of the tests of delivery.
const (
	swarmPrefix = "e2es"
	swarmNet    = "10.91.0"
	swarmHosts  = 10
	swarmPort   = 5556
)

// fleet is ten hosts and a client without a cluster.
type fleet struct {
	*demo
	images  *store.Store
	members []runtime.Member
	conns   map[string]host.Host
	app     []runtime.Step // the helper, and the image that all hosts get first
	size    int64          // of that image

	mu    sync.Mutex
	notes []string
	watch func(runtime.Event)
}

// TestBlobsTravelOnce brings images to ten hosts and counts what leaves the
// client, on its network interface too.
func TestBlobsTravelOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	f := &fleet{demo: &demo{dir: "/var/tmp/sealrt-e2e-swarm"}}
	f.env = append(os.Environ(), "NODES_DIR="+f.dir+"/nodes", "NODES_CACHE=/var/tmp/nodes-testbed", "NODES_PREFIX="+swarmPrefix, "NODES_NET="+swarmNet)
	f.bed(t)
	for _, station := range []struct {
		name string
		test func(*testing.T, *fleet)
	}{
		{"HelperAndImageLeaveTheClientOnce", allLeavesOnce},
		{"SecondDeliverySendsNothing", secondSendsNothing},
		{"NothingIsLeftRunning", nothingIsLeftRunning},
		{"PartitionInTheMiddleOfATransfer", partitionInTheMiddle},
		{"BlockedPortFallsBackToTheClient", blockedPortFallsBack},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, f) }) {
			return
		}
	}
}

func (f *fleet) bed(t *testing.T) {
	f.must(t, f.nodes("down")...)
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, h := range f.conns {
			h.Close()
		}
		f.must(t, f.nodes("down")...)
		if err := os.RemoveAll(f.dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.MkdirAll(filepath.Join(f.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.must(t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f.sealrt()[0], "../cmd/sealrt")
	f.must(t, f.nodes("up", strconv.Itoa(swarmHosts))...)
	var err error
	if f.images, err = store.Open(filepath.Join(f.dir, "store")); err != nil {
		t.Fatal(err)
	}
	f.conns = map[string]host.Host{}
	for i := range swarmHosts {
		ip := fmt.Sprintf("%s.%d", swarmNet, 11+i)
		m := runtime.Member{Address: "root@" + ip, Role: runtime.Node, NodeIP: ip}
		f.members = append(f.members, m)
		f.conns[m.Address] = f.dial(t, m)
	}
}

func (f *fleet) dial(t *testing.T, m runtime.Member) host.Host {
	t.Helper()
	addresses, err := host.ParseAddresses(m.Address)
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(f.dir, "known_hosts")
	h, err := host.Dial(t.Context(), host.SSHOptions{
		Address: addresses[0], Identities: []string{"/var/tmp/nodes-testbed/id_ed25519"}, KnownHosts: []string{keys}, AcceptNew: keys,
		ConnectTimeout: 5 * time.Second, Silence: 6 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (f *fleet) engine() *runtime.Engine {
	return &runtime.Engine{
		Cluster: "swarm", Hosts: f.conns, Images: f.images, Peers: true,
		Limits: runtime.Limits{Return: -1}, // who is cut off stays away
		Helper: func(string, string) (io.ReadCloser, error) { return os.Open(f.sealrt()[0]) },
		Observe: func(e runtime.Event) {
			f.mu.Lock()
			watch := f.watch
			if e.State == runtime.Warned {
				f.notes = append(f.notes, e.Host+" "+e.Note)
			}
			f.mu.Unlock()
			if watch != nil {
				watch(e)
			}
		},
	}
}

// deliver runs steps on all hosts at once, and returns how many bytes left the
// client, as the engine and as the network interface say.
func (f *fleet) deliver(t *testing.T, steps ...runtime.Step) (sent, wire int64, err error) {
	t.Helper()
	phase := runtime.Phase{Name: "deliver"}
	for _, m := range f.members {
		phase.Tasks = append(phase.Tasks, runtime.Task{Member: m, Steps: steps})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e := f.engine()
	f.mu.Lock()
	f.notes = nil
	f.mu.Unlock()
	before, start := f.left(t), time.Now()
	err = e.Run(ctx, runtime.Plan{Phases: []runtime.Phase{phase}})
	sent, wire = e.Sent(), f.left(t)-before
	t.Logf("%s: %.1fs, %d bytes sent, %d on the wire, error %v, notes %q", steps[len(steps)-1].ID, time.Since(start).Seconds(), sent, wire, err, f.notes)
	return sent, wire, err
}

// left is the bytes that the client has sent to the hosts' network.
func (f *fleet) left(t *testing.T) int64 {
	t.Helper()
	raw, err := os.ReadFile("/sys/class/net/" + swarmPrefix + "-host/statistics/tx_bytes")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// image makes an image of layers of random bytes, as many MiB each, and
// returns the step that brings it.
func (f *fleet) image(t *testing.T, name string, layers ...int) (step runtime.Step, size int64) {
	t.Helper()
	ref, err := artifact.ParseReference("localhost/" + name)
	if err != nil {
		t.Fatal(err)
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	for i, mib := range layers {
		d := f.layer(t, fmt.Sprintf("%s-%d", strings.ReplaceAll(name, ":", "-"), i), mib)
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
		config.History = append(config.History, v1.History{CreatedBy: "test"})
	}
	if manifest.Config, err = f.images.PutJSON(t.Context(), types.OCIConfigJSON, config); err != nil {
		t.Fatal(err)
	}
	d, err := f.images.PutJSON(t.Context(), types.OCIManifestSchema1, manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.images.Tag(t.Context(), ref, d); err != nil {
		t.Fatal(err)
	}
	image := runtime.Image{Ref: ref, Digest: d.Digest.String()}
	return runtime.Step{ID: "load " + name, Do: runtime.Load{Ref: ref.String(), Digest: image.Digest, Rootfs: image.Rootfs()}}, artifact.Size(&manifest)
}

func (f *fleet) layer(t *testing.T, name string, mib int) v1.Descriptor {
	t.Helper()
	content := make([]byte, mib<<20)
	_, _ = rand.Read(content) // never fails
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := f.images.PutBytes(t.Context(), types.OCIUncompressedLayer, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (f *fleet) quiet(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.notes) > 0 {
		t.Errorf("the story warns: %q", f.notes)
	}
}

// allLeavesOnce brings an image, with the helper, to hosts that have nothing.
func allLeavesOnce(t *testing.T, f *fleet) {
	load, size := f.image(t, "app:v1", 40, 25, 20, 15, 10, 5, 4, 1)
	f.app, f.size = []runtime.Step{{ID: "sealrt", Do: runtime.Helper{}}, load}, size
	sent, wire, err := f.deliver(t, f.app...)
	if err != nil {
		t.Fatal(err)
	}
	if most := size * 12 / 10; sent > most || wire > most {
		t.Errorf("%d bytes were sent, %d on the wire, for an image of %d, and the helper, to %d hosts", sent, wire, size, swarmHosts)
	}
	f.quiet(t)
}

// secondSendsNothing runs the same again, and once more where the hosts have
// the blobs and show no tree: there the step asks what is missing.
func secondSendsNothing(t *testing.T, f *fleet) {
	if sent, wire, err := f.deliver(t, f.app...); err != nil || sent != 0 || wire > f.size/100 {
		t.Errorf("%d bytes were sent, %d on the wire: %v", sent, wire, err)
	}
	load, _ := f.app[1].Do.(runtime.Load)
	f.everywhere(t, host.Command{Argv: []string{"umount", load.Rootfs}})
	if sent, wire, err := f.deliver(t, f.app...); err != nil || sent != 0 || wire > f.size/100 {
		t.Errorf("where no tree is shown %d bytes were sent, %d on the wire: %v", sent, wire, err)
	}
	f.everywhere(t, host.Command{Argv: []string{"test", "-f", load.Rootfs + "/app-v1-0"}})
}

// everywhere runs a command on all hosts.
func (f *fleet) everywhere(t *testing.T, c host.Command) {
	t.Helper()
	for address, h := range f.conns {
		if err := h.Run(t.Context(), c); err != nil {
			t.Fatalf("host %s: %v", address, err)
		}
	}
}

func nothingIsLeftRunning(t *testing.T, f *fleet) {
	for address, h := range f.conns {
		out, err := host.Output(t.Context(), h, "ps", "-e", "-o", "args=")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), "sealrt host") {
			t.Errorf("host %s runs %s", address, out)
		}
	}
}

// partitionInTheMiddle cuts a host off while blobs are on their way to it. The
// others end; the same command completes it when it is back.
func partitionInTheMiddle(t *testing.T, f *fleet) {
	step, size := f.image(t, "app:v2", 20, 15, 10, 5)
	cut := f.members[2]
	var once sync.Once
	f.mu.Lock()
	f.watch = func(e runtime.Event) {
		if e.Host != cut.Name() || e.State != runtime.Sending || e.Bytes == e.Total {
			return
		}
		once.Do(func() {
			cmd := exec.Command("testbed/nodes.sh", "cut", "3")
			cmd.Env = f.env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("cut: %v %s", err, out)
			}
		})
	}
	f.mu.Unlock()
	start := time.Now()
	_, _, err := f.deliver(t, step)
	f.mu.Lock()
	f.watch = nil
	f.mu.Unlock()
	if err == nil || !strings.Contains(err.Error(), "host "+cut.Name()+": load app:v2") {
		t.Fatalf("error is %v", err)
	}
	for _, m := range f.members {
		if m.Address != cut.Address && strings.Contains(err.Error(), "host "+m.Name()+":") {
			t.Errorf("host %s failed too", m.Name())
		}
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %s to say so", took)
	}
	f.must(t, f.nodes("heal")...)
	sent, _, err := f.deliver(t, step)
	if err != nil {
		t.Fatal(err)
	}
	if sent > size/10 {
		t.Errorf("%d bytes were sent of an image of %d that nine hosts have", sent, size)
	}
}

// blockedPortFallsBack blocks the hosts' port on one of them, as a firewall
// does that drops.
func blockedPortFallsBack(t *testing.T, f *fleet) {
	for _, rule := range []string{"INPUT -p tcp --dport", "OUTPUT -p tcp --dport"} {
		f.must(t, f.nodes("ssh", "4", fmt.Sprintf("iptables -A %s %d -j DROP", rule, swarmPort))...)
	}
	step, size := f.image(t, "app:v3", 10, 5, 1)
	sent, _, err := f.deliver(t, step)
	if err != nil {
		t.Fatal(err)
	}
	if sent > 2*size+size/5 {
		t.Errorf("%d bytes were sent for an image of %d: once for all and once for the blocked host", sent, size)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var of4 []string
	for _, n := range f.notes {
		if strings.HasPrefix(n, f.members[3].Name()+" ") {
			of4 = append(of4, n)
		}
	}
	if len(of4) != 1 || !strings.Contains(of4[0], "TCP port 5556") || !strings.Contains(of4[0], "blobs.sshOnly") {
		t.Errorf("of the blocked host the story says %q", of4)
	}
}
