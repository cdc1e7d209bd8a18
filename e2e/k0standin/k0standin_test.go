package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a host of its own: a folder and an address of the loopback.
type machine struct {
	t       *testing.T
	program string
	root    string
	name    string
	address string
	proc    *exec.Cmd
	said    *bytes.Buffer
}

// machines builds the program and makes hosts for it.
func machines(t *testing.T, n int) []*machine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.7.9:0")
	if err != nil {
		t.Skipf("the loopback has one address here: %v", err)
	}
	l.Close()
	program := filepath.Join(t.TempDir(), "k0s")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out []*machine
	for i := range n {
		m := &machine{t: t, program: program, root: t.TempDir(), name: fmt.Sprint("host", i+1), address: fmt.Sprintf("127.0.7.%d", i+1)}
		m.put("/etc/k0s/k0s.yaml", "apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nspec: {api: {address: "+m.address+"}, storage: {type: etcd, etcd: {peerAddress: "+m.address+"}}}\n")
		m.put(imagesDir+"/images.tar", archiveOf(t, "docker.io/standin/pause:3.10"))
		t.Cleanup(m.kill)
		out = append(out, m)
	}
	return out
}

// archiveOf is a docker archive of images that hold nothing.
func archiveOf(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	text := `[{"RepoTags":["` + strings.Join(names, `","`) + `"]}]`
	if err := w.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (m *machine) put(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) command(args ...string) *exec.Cmd {
	c := exec.Command(m.program, args...)
	c.Env = append(os.Environ(), "STANDIN_ROOT="+m.root, "STANDIN_HOSTNAME="+m.name)
	return c
}

// k0s runs a command that has to succeed.
func (m *machine) k0s(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.kill()
		m.t.Fatalf("%s: k0s %s: %v: %s; it said: %s", m.name, strings.Join(args, " "), err, out, m.said)
	}
	return string(out)
}

// refuses demands that a command fails for a reason.
func (m *machine) refuses(reason string, args ...string) {
	m.t.Helper()
	if out, err := m.command(args...).CombinedOutput(); err == nil || !strings.Contains(string(out), reason) {
		m.t.Errorf("%s: k0s %s: %v: %s, want %q", m.name, strings.Join(args, " "), err, out, reason)
	}
}

// start starts k0s; it answers when that returns.
func (m *machine) start(args ...string) {
	m.t.Helper()
	m.said = &bytes.Buffer{}
	m.proc = m.command(append(args, "--kubelet-extra-args=--node-ip="+m.address)...)
	m.proc.Stderr = m.said
	if err := m.proc.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.until(func() error { return m.command("status").Run() })
}

// until tries again until there is no error.
func (m *machine) until(try func() error) {
	m.t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	m.kill()
	m.t.Fatalf("%s: %v: %s", m.name, err, m.said)
}

func (m *machine) kill() {
	if m.proc != nil {
		_ = m.proc.Process.Kill()
		_ = m.proc.Wait()
		m.proc = nil
	}
}

// token puts a token of another controller on the machine.
func (m *machine) token(from *machine, role string) string {
	m.t.Helper()
	m.put("/token", from.k0s("token", "create", "--role", role, "--expiry", "1h"))
	return "--token-file=/token"
}

func (m *machine) ready(of *machine) {
	m.t.Helper()
	m.until(func() error {
		return m.command("kubectl", "wait", "--for=condition=Ready", "node/"+of.name, "--timeout=1s").Run()
	})
}

var asController = []string{"controller", "--enable-worker", "--no-taints"}

func TestControllersAndWorkersLiveTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	h := machines(t, 4)
	h[0].start(asController...)
	h[0].ready(h[0])
	h[0].refuses("live for ever", "token", "create", "--role", "worker")
	for _, m := range h[1:3] {
		m.start(append(asController, m.token(h[0], "controller"))...)
		m.ready(m)
		h[0].until(func() error {
			return h[0].command("kubectl", "wait", "--for=condition=Joined", "etcdmember/"+m.name, "--timeout=1s").Run()
		})
	}
	wrong := h[3].token(h[1], "controller")
	h[3].refuses("wrong token type", "worker", wrong, "--kubelet-extra-args=--node-ip="+h[3].address)
	h[3].start("worker", h[3].token(h[1], "worker"))
	h[2].ready(h[3])

	// one of three leaves, and does not come back as it was
	h[0].put("/leave.yaml", `{"apiVersion":"etcd.k0sproject.io/v1beta1","kind":"EtcdMember","metadata":{"name":"host3"},"spec":{"leave":true}}`)
	for range 2 {
		h[0].k0s("kubectl", "apply", "-f", filepath.Join(h[0].root, "leave.yaml"))
		h[0].k0s("kubectl", "wait", "--for=condition=Joined=False", "etcdmember/host3", "--timeout=1s")
	}
	if _, err := h[2].proc.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	h[2].proc = nil
	h[2].refuses("permanently removed", asController...)
	if list := h[1].k0s("etcd", "member-list"); strings.Contains(list, "host3") || !strings.Contains(list, "host1") {
		t.Errorf("members: %s", list)
	}

	// of two, one alone is no majority
	h[1].kill()
	h[0].refuses("no leader", "kubectl", "get", "nodes")
	h[1].start(asController...)
	h[0].until(func() error { return h[0].command("kubectl", "get", "nodes").Run() })
}

func TestABackupBringsBackWhatWasKnown(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	h := machines(t, 1)[0]
	h.start(asController...)
	h.ready(h)
	h.refuses("please stop k0s", "reset")
	h.put("/keep", "")
	if err := os.Mkdir(filepath.Join(h.root, "backup"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.put("/o.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n")
	h.k0s("kubectl", "apply", "-f", filepath.Join(h.root, "o.yaml"))
	h.k0s("backup", "--save-path", "/backup")
	h.k0s("kubectl", "delete", "configmap", "mine")
	h.kill()
	found, err := filepath.Glob(filepath.Join(h.root, "backup", "k0s_backup_*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	archive := strings.TrimPrefix(found[0], h.root)
	h.refuses("is not empty", "restore", archive)
	if err := os.RemoveAll(filepath.Join(h.root, dataDir, "etcd")); err != nil {
		t.Fatal(err)
	}
	h.k0s("restore", "--config-out=/then.yaml", archive)
	h.start(asController...)
	h.k0s("kubectl", "get", "configmap", "mine")
	h.kill()
	h.k0s("reset")
	if _, err := os.Stat(filepath.Join(h.root, dataDir)); !os.IsNotExist(err) {
		t.Errorf("after reset: %v", err)
	}
	if _, err := os.Stat(filepath.Join(h.root, "/etc/k0s/k0s.yaml")); err != nil {
		t.Error(err)
	}
}

func TestFilesOfImagesAreWholeAndNotCompressed(t *testing.T) {
	h := machines(t, 1)[0]
	for name, text := range map[string]string{"compressed": "\x1f\x8b\x08\x00", "cut off": archiveOf(t, "a")[:530], "no names": string(make([]byte, 1024))} {
		h.put(imagesDir+"/images.tar", text)
		t.Setenv("STANDIN_ROOT", h.root)
		if _, err := takeIn(); err == nil || !strings.Contains(err.Error(), "(R7)") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVersionsGoByOneAndWorkersFollow(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{{"v1.34.2+k0s.0", "v1.35.4+k0s.0", true}, {"v1.34.2+k0s.0", "v1.36.3+k0s.0", false}, {"v1.34.2+k0s.1", "v1.34.2+k0s.0", false}, {"", "v1.36.3+k0s.0", true}} {
		if err := moves(c.from, c.to); (err == nil) != c.ok {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
	}
	for _, c := range []struct {
		worker, controller string
		ok                 bool
	}{{"v1.34.2+k0s.0", "v1.37.0+k0s.0", true}, {"v1.34.2+k0s.0", "v1.38.0+k0s.0", false}, {"v1.35.0+k0s.0", "v1.34.2+k0s.0", false}} {
		if err := fits(c.worker, c.controller); (err == nil) != c.ok {
			t.Errorf("%s at %s: %v", c.worker, c.controller, err)
		}
	}
}
