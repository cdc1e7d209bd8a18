//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
	rdepot "github.com/sealrt/sealrt/runtime/depot"
	"github.com/sealrt/sealrt/runtime/host"
)

// keeper is one host of a bed of its own, to which images without a
// distribution are loaded.
type keeper struct {
	*demo
	number string // of the host
	member runtime.Member
	images *store.Store
	watch  func(runtime.Event) // nil is fine
}

// TestDepotOnAHost loads images to hosts with a systemd of their own, cuts their
// power, upgrades, and takes everything back.
func TestDepotOnAHost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	d := &demo{dir: t.TempDir()}
	d.env = append(os.Environ(), "NODES_DIR=/var/tmp/nodes-dp", "NODES_CACHE=/var/tmp/nodes-testbed", "NODES_PREFIX=dp", "NODES_NET=10.92.0",
		"CGO_ENABLED=0")
	d.must(t, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", d.sealrt()[0], "../cmd/sealrt")
	d.must(t, d.nodes("down")...)
	t.Cleanup(func() { d.must(t, d.nodes("down")...) })
	d.must(t, d.nodes("up", "2")...)
	images, err := store.Open(filepath.Join(d.dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { images.Close() })
	for n, dataDir := range []string{"", "/srv/big/sealrt"} {
		number := strconv.Itoa(n + 1)
		k := &keeper{demo: d, number: number, images: images, member: runtime.Member{Address: "root@10.92.0.1" + number, Role: runtime.Master}}
		one, two := k.image(t, "1"), k.image(t, "2")
		t.Run("dataDir "+dataDir, func(t *testing.T) {
			t.Parallel()
			k.lives(t, dataDir, one, two)
		})
	}
}

// lives is what happens to a host, from before its first image to after its
// last one.
func (k *keeper) lives(t *testing.T, dataDir string, one, two runtime.Image) {
	fresh := k.listing(t)
	k.losesPower(t, k.plan(dataDir, one))
	k.fits(t, one, func() { k.run(t, k.plan(dataDir, one)) })
	k.shows(t, one, "1")
	if again := k.pending(t, k.plan(dataDir, one)); len(again.Phases) > 0 {
		var b strings.Builder
		again.WriteTo(&b)
		t.Errorf("a second run would do: %s", &b)
	}
	k.must(t, k.nodes("kill", k.number)...)
	k.must(t, k.nodes("start", k.number)...)
	k.on(t, "systemctl is-system-running --wait || true")
	k.shows(t, one, "1")
	k.run(t, k.plan(dataDir, two))
	k.shows(t, two, "2")
	if units := k.on(t, "ls /etc/systemd/system | grep -c rootfs"); strings.TrimSpace(units) != "1" {
		t.Errorf("%s units are there after the upgrade", units)
	}
	k.run(t, runtime.Plan{Phases: []runtime.Phase{{Name: "reset", Tasks: []runtime.Task{{Member: k.member, Steps: []runtime.Step{{ID: "undo", Do: runtime.Undo{}}}}}}}})
	after := k.listing(t)
	for _, line := range slices.Concat(fresh, after) {
		_, was := slices.BinarySearch(fresh, line)
		if _, is := slices.BinarySearch(after, line); is != was {
			t.Errorf("after reset: %v, before: %v: %s", is, was, line)
		}
	}
}

// image makes an image of a version: a program, and two container images.
func (k *keeper) image(t *testing.T, version string) runtime.Image {
	t.Helper()
	_, dir, _, _ := airgaptest.TwoImages(t)
	layers := []v1.Descriptor{
		airgaptest.PutLayer(t, k.images, true, airgaptest.File{Name: "lib/shared", Content: string(artifacttest.Noise(1, 8<<20))}),
		airgaptest.PutLayer(t, k.images, true, airgaptest.File{Name: "bin/tool", Content: "tool " + version}),
	}
	for _, f := range airgaptest.Files(t, dir) {
		layers = append(layers, airgaptest.PutLayer(t, k.images, false, f))
	}
	put := func(mt types.MediaType, value any) v1.Descriptor {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.images.PutBytes(t.Context(), mt, raw)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	config := put(types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	d := put(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers})
	ref, err := artifact.ParseReference("cluster:" + version)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.Image{Ref: ref, Digest: d.Digest.String()}
}

// fed is where the archive of the container images goes.
const fed = "/var/tmp/fed.tar"

func (k *keeper) plan(dataDir string, i runtime.Image) runtime.Plan {
	var steps []runtime.Step
	if dataDir != "" {
		steps = append(steps, runtime.Step{ID: "data directory", Do: runtime.Relocate{To: dataDir}})
	}
	steps = append(steps, []runtime.Step{
		{ID: "sealrt", Do: runtime.Helper{}},
		{ID: "load " + i.Ref.Tag(), Do: runtime.Load{Ref: i.Ref.String(), Digest: i.Digest, Rootfs: i.Rootfs()}},
		{ID: "claim", Do: runtime.Claim{Paths: []string{fed}}},
		{ID: "bin", Do: runtime.Install{Rootfs: i.Rootfs(), From: "bin", Names: []string{"tool"}, To: "/usr/local/bin"}},
		{ID: "import " + i.Ref.Tag(), Do: runtime.Feed{Image: i.Digest, Argv: []string{"dd", "of=" + fed}, Into: "/var/tmp"}},
		{ID: "file " + i.Ref.Tag(), Do: runtime.Feed{Image: i.Digest, File: "/opt/agent/images/all.tar"}},
		{ID: "drop", Do: runtime.Drop{Images: []string{i.Digest}}},
	}...)
	return runtime.Plan{Phases: []runtime.Phase{{Name: "all", Tasks: []runtime.Task{{Member: k.member, Steps: steps}}}}}
}

// engine connects to the host; its connection ends with the test.
func (k *keeper) engine(t *testing.T) *runtime.Engine {
	t.Helper()
	addresses, err := host.ParseAddresses(k.member.Address)
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Dial(t.Context(), host.SSHOptions{Address: addresses[0], Identities: []string{"/var/tmp/nodes-testbed/id_ed25519"},
		KnownHosts: []string{}, AcceptNew: filepath.Join(t.TempDir(), "known_hosts"), Silence: 6 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return &runtime.Engine{Cluster: "depot", Hosts: map[string]host.Host{k.member.Address: h}, Images: k.images,
		Helper: func(string, string) (io.ReadCloser, error) { return os.Open(k.sealrt()[0]) },
		Observe: func(e runtime.Event) {
			t.Logf("%s %s %s %d bytes", e.State, e.Does, e.Took, e.Bytes)
			if k.watch != nil {
				k.watch(e)
			}
		}}
}

func (k *keeper) run(t *testing.T, p runtime.Plan) {
	t.Helper()
	if err := k.engine(t).Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// fits demands of a run that the host uses no more of its disk than promised:
// when the tree is there and nothing was dropped yet, and in the end.
func (k *keeper) fits(t *testing.T, i runtime.Image, run func()) {
	t.Helper()
	h, err := v1.NewHash(i.Digest)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rdepot.SetOf(t.Context(), k.images, i.Ref.WithDigest(h))
	if err != nil {
		t.Fatal(err)
	}
	var blobs, peak int64
	for _, b := range set.Blobs() {
		blobs += b.Size
	}
	k.watch = func(e runtime.Event) {
		if strings.HasPrefix(e.Does, "load ") && (e.State == runtime.Done || e.State == runtime.Holds) {
			peak = k.used(t)
		}
	}
	run()
	k.watch = nil
	after := k.used(t)
	t.Logf("blobs %d, peak %d, after %d bytes", blobs, peak, after)
	const small = 1 << 20 // directories, records, the index
	if peak < blobs || peak > blobs*22/10+small || after > blobs*12/10+small {
		t.Errorf("of an image of %d bytes the host had %d, and has %d", blobs, peak, after)
	}
}

// used returns how many bytes of the host's disk images take.
func (k *keeper) used(t *testing.T) int64 {
	t.Helper()
	out, err := k.command(t, k.nodes("ssh", k.number, "du -sxB1 /var/lib/sealrt/store/ | cut -f1")...)
	n, perr := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err = errors.Join(err, perr); err != nil {
		t.Error(err)
	}
	return n
}

// losesPower begins a plan and pulls the plug while the image is loaded.
func (k *keeper) losesPower(t *testing.T, p runtime.Plan) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := k.engine(t)
	killed := make(chan error, 1)
	e.Observe = func(ev runtime.Event) {
		if ev.State != runtime.Started || !strings.HasPrefix(ev.Does, "load ") {
			return
		}
		go func() {
			_, err := k.command(t, k.nodes("kill", k.number)...)
			cancel() // nothing tells the client
			killed <- err
		}()
	}
	if err := e.Run(ctx, p); err == nil {
		t.Log("the host was faster than the plug")
	}
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	k.must(t, k.nodes("start", k.number)...)
}

func (k *keeper) pending(t *testing.T, p runtime.Plan) runtime.Plan {
	t.Helper()
	left, err := k.engine(t).Pending(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func (k *keeper) on(t *testing.T, command string) string {
	t.Helper()
	return k.must(t, k.nodes("ssh", k.number, command)...)
}

// shows demands that the host has the image mounted, its program in place and
// its container images handed on, and no layer twice.
func (k *keeper) shows(t *testing.T, i runtime.Image, version string) {
	t.Helper()
	looks := []struct{ command, want string }{
		{"cat " + i.Rootfs() + "/bin/tool", "tool " + version},
		{"cat /usr/local/bin/tool", "tool " + version},
		{"findmnt -n -o FSTYPE $(readlink -f " + i.Rootfs() + ")", "overlay"},
		{"systemctl --failed --no-legend --type=mount", ""},
		{"tar -tf " + fed + " | grep -c '^blobs/sha256/.'", fmt.Sprint(k.blobs(t))},
		{"tar -tf /opt/agent/images/all.tar | grep -c '^blobs/sha256/.'", fmt.Sprint(k.blobs(t))},
		{"find /opt/agent -name '.*'", ""},
		{"find /var/lib/sealrt/store/blobs/ -type f ! -perm 0444", ""},
		{"stat -c %a " + i.Rootfs() + " /usr/local/bin/tool | tr '\\n' ' '", "755 644"},
	}
	var script strings.Builder // one for all: each login takes its time
	for _, l := range looks {
		fmt.Fprintf(&script, "%s\nprintf '\\036'\n", l.command)
	}
	said := strings.Split(k.on(t, script.String()), "\x1e")
	for n, l := range looks {
		if got := strings.TrimSpace(said[n]); got != l.want {
			t.Errorf("%s: %q, want %q", l.command, got, l.want)
		}
	}
}

// blobs is how many blobs the container images of an image have: a shared
// layer, and of each a layer, a configuration and a manifest.
func (k *keeper) blobs(*testing.T) int { return 7 }

func (k *keeper) listing(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("testbed/nodes.sh", "ssh", k.number, look+"\nsystemctl list-unit-files --no-legend --type=mount\nsystemctl list-units --no-legend --type=mount | cut -c1-60")
	cmd.Env = k.env // not told in the log: it is long
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.Split(string(raw), "\n"), harmless.MatchString)
	slices.Sort(lines)
	if len(lines) < 1000 {
		t.Fatalf("the listing of the host has %d lines: this test cannot tell", len(lines))
	}
	return slices.Compact(lines)
}
