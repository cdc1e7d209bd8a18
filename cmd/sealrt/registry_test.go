package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/registry"
)

// body asks an address for something.
func body(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

func TestRegistryServe(t *testing.T) {
	root := t.TempDir()
	if code, _, stderr := runIn(t, root, "registry", "serve", "--listen", "127.0.0.1:0"); code != exitFailed || !strings.Contains(stderr, "no cluster image") {
		t.Errorf("an empty store: %d, %s", code, stderr)
	}
	store, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	converttest.Tag(t, store, "theirs:1", converttest.Put(t, store, rootfs(t, v1.Platform{OS: "linux", Architecture: "amd64"})))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	mustRun(t, root, "import", "theirs:1", "-t", "k3s:1")
	list, _ := mustRun(t, root, "image", "list", "k3s:1", "-o", "json")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	env := &environment{stdout: w, stderr: io.Discard, getenv: func(string) string { return "" }, retry: 4}
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, env, []string{"--root", root, "registry", "serve", "--listen", "127.0.0.1:0"})
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err, <-ended)
	}
	url := strings.TrimSpace(line)
	catalog := body(t, url+"/v2/_catalog")
	_, first, _ := strings.Cut(catalog, `"repositories":["`)
	first, _, _ = strings.Cut(first, `"`)
	if first == "" || !strings.Contains(list, first) {
		t.Fatalf("catalog %s of %s", catalog, list)
	}
	if tags := body(t, url+"/v2/"+first+"/tags/list"); !strings.HasPrefix(tags, "200 ") {
		t.Error(tags)
	}
	cancel()
	<-ended
}

// inProcess is a host whose sealrt is this one.
type inProcess struct {
	t        *testing.T
	settings string
}

func (h inProcess) Name() string { return "host" }
func (h inProcess) Close() error { return nil }

// Run implements host.Host for commands of sealrt.
func (h inProcess) Run(ctx context.Context, c host.Command) error {
	if c.Argv[0] != runtime.HelperPath {
		return fmt.Errorf("there is no %s", c.Argv[0])
	}
	args := slices.Clone(c.Argv[1:])
	if i := slices.Index(args, runtime.ServiceSettings); i >= 0 {
		args[i] = h.settings
	}
	args = append(args, "--root", filepath.Join(filepath.Dir(h.settings), "store"))
	var stderr bytes.Buffer
	stdin, stdout := c.Stdin, c.Stdout
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	if stdout == nil {
		stdout = io.Discard
	}
	env := &environment{stdin: stdin, stdout: stdout, stderr: &stderr, getenv: func(string) string { return "" }, retry: 4}
	if code := execute(ctx, env, args); code != exitDone {
		return &host.ExitError{Host: h.Name(), Argv: c.Argv, Code: code, Stderr: stderr.String()}
	}
	return nil
}

func TestImagePushReachesAllMasters(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "team/app:1", registrytest.Image(t, v1.Platform{OS: "linux", Architecture: "amd64"}, 1<<20, "app"))
	name := reg.Host + "/team/app:1"
	ca, err := registry.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	k := &known{cluster: &runtime.Cluster{Name: "test"}, hosts: connections{}}
	var ports []int
	var listen []string
	for range 2 {
		ports = append(ports, freePort(t))
		listen = append(listen, fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	for i, address := range listen {
		dir := t.TempDir()
		pair, err := ca.Issue("host", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		text, err := registry.Settings{Host: "host", Port: ports[i], Listen: address}.Format()
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{
			registry.CAFile: string(ca.Certificate()), registry.CertFile: string(pair.Cert), registry.KeyFile: string(pair.Key),
			registry.MastersFile: registry.FormatMasters(listen), registry.SettingsFile: text,
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		settings := filepath.Join(dir, registry.SettingsFile)
		s, err := registry.New(settings, registry.Always(registry.Union()), func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := s.Serve(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
		m := runtime.Member{Address: fmt.Sprintf("10.0.0.%d", i+1), Role: runtime.Master}
		k.cluster.Members = append(k.cluster.Members, m)
		k.hosts[m.Address] = inProcess{t, settings}
	}
	for _, address := range listen {
		await(t, address)
	}

	var story bytes.Buffer
	k.env = &environment{stdout: io.Discard, stderr: &story, getenv: func(string) string { return "" }, home: t.TempDir(), root: t.TempDir(), progressMode: "plain", retry: 4}
	k.env.access.PlainHTTP = true
	defer k.env.close()
	images, err := k.env.toCluster(ctx, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	p, err := toPushOf(ctx, images, []v1.Platform{{OS: "linux", Architecture: "amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.sendTo(ctx, k.cluster.Members[0], p); err != nil {
		t.Fatal(err)
	}
	if err := k.spread(ctx, k.cluster.Members[1:], p); err != nil {
		t.Fatal(err)
	}
	if text := story.String(); !strings.Contains(text, "host 10.0.0.1: 1.0 MiB sent") || !strings.Contains(text, "host 10.0.0.2: 0 B sent") {
		t.Errorf("the client did not send it once: %s", text)
	}
	for _, port := range ports {
		if got := body(t, fmt.Sprintf("http://127.0.0.1:%d/v2/team/app/manifests/1?ns=%s", port, reg.Host)); !strings.HasPrefix(got, "200 ") {
			t.Error(got)
		}
	}
	freed, err := k.collectOn(ctx, k.cluster.Members, true)
	if err != nil || len(freed) != 2 || len(freed[0].Freed) > 0 {
		t.Errorf("a pushed image would be freed: %v, %v", freed, err)
	}
	if _, err := k.env.toCluster(ctx, []string{"containers-storage:x"}); !errors.As(err, &usageError{}) {
		t.Error(err)
	}
}

func TestSystemdIsToldThatTheServiceAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := &environment{getenv: func(name string) string { return map[string]string{"NOTIFY_SOCKET": socket}[name] }}
	if err := env.ready(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	if n, err := l.Read(said); err != nil || string(said[:n]) != "READY=1" {
		t.Errorf("%q, %v", said[:n], err)
	}
	if err := (&environment{getenv: func(string) string { return "" }}).ready(); err != nil {
		t.Errorf("without systemd: %v", err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// await waits until something listens.
func await(t *testing.T, address string) {
	t.Helper()
	for range 3000 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nothing listens on %s", address)
}
