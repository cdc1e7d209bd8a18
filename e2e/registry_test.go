//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// depot is Debian's docker-registry with TLS and a login, an image of some
// size, and a user with a home of their own.
type depot struct {
	dir     string // holds everything
	sealrt  string // the program
	address string // of the registry
	ca      string // its certificate
	digest  string // of the image app:v1
	env     []string
}

// What it takes to log in. The password must never be seen.
const (
	depotUser   = "carrier"
	depotSecret = "correct-horse-battery"
)

// TestDistribution moves images between store, registry and archives as a user
// does who knows docker, skopeo and crane, and breaks off in the middle.
func TestDistribution(t *testing.T) {
	d := newDepot(t)
	for _, station := range []struct {
		name string
		test func(*testing.T, *depot)
	}{
		{"Login", login},
		{"CertificateOfNobody", certificateOfNobody},
		{"PushAndPull", pushAndPull},
		{"OtherTools", otherTools},
		{"RegistryDiesInAPush", registryDiesInAPush},
		{"RegistryDiesInAPull", registryDiesInAPull},
		{"BreaksGoOn", breaksGoOn},
		{"OneImageInside", oneImageInside},
		{"PlainHTTP", plainHTTP},
		{"KilledAtAnyMoment", killedAtAnyMoment},
		{"ManyAtOnce", manyAtOnce},
		{"FullDisk", fullDisk},
		{"StoreOfSomebodyElse", storeOfSomebodyElse},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, d) }) {
			return
		}
	}
}

func newDepot(t *testing.T) *depot {
	dir, err := os.MkdirTemp("/var/tmp", "sealrt-depot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &depot{dir: dir, sealrt: filepath.Join(dir, "bin", "sealrt"), ca: filepath.Join(dir, "registry", "tls.crt")}
	d.env = append(slices.DeleteFunc(os.Environ(), theirs), "HOME="+dir+"/home", "SEALRT_ROOT="+dir+"/store", "CGO_ENABLED=0",
		"GOPATH="+goEnv(t, "GOPATH"), "GOCACHE="+goEnv(t, "GOCACHE")) // these two would move with HOME
	for _, sub := range []string{"registry", "home", "context/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.must(t, "go", "build", "-o", d.sealrt, "../cmd/sealrt")
	d.certificate(t)
	hash, err := bcrypt.GenerateFromPassword([]byte(depotSecret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "registry/htpasswd", []byte(depotUser+":"+string(hash)+"\n"))
	d.address = strings.TrimSpace(d.must(t, "testbed/registry.sh", "start", dir+"/registry", "127.0.0.1:0"))
	t.Cleanup(func() { d.must(t, "testbed/registry.sh", "stop", dir+"/registry") })

	var kubefile strings.Builder
	kubefile.WriteString("FROM scratch\n")
	for i := range 4 { // layers enough to be in the middle of
		name := fmt.Sprintf("bin/part%d", i)
		noise := make([]byte, 12<<20)
		rand.Read(noise)
		d.write(t, "context/"+name, noise)
		kubefile.WriteString("COPY " + name + " bin/\n")
	}
	d.write(t, "context/Kubefile", []byte(kubefile.String()))
	d.digest = strings.TrimSpace(d.must(t, d.sealrt, "build", "-q", "-t", "app:v1", dir+"/context"))
	d.must(t, d.sealrt, "tag", "app:v1", d.ref("app:v1"))
	return d
}

// certificate makes a key for the registry, and a certificate that no system trusts.
func (d *depot) certificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "depot"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "registry/tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	d.write(t, "registry/tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// theirs reports whether a variable says where credentials are. docker-registry
// reads all of REGISTRY_*, even empty ones.
func theirs(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	return strings.HasPrefix(name, "REGISTRY_") || name == "DOCKER_CONFIG" || name == "XDG_RUNTIME_DIR"
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (d *depot) ref(name string) string { return d.address + "/team/" + name }

func (d *depot) path(name string) string { return filepath.Join(d.dir, name) }

func (d *depot) write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.path(name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a program to its end, with what it reads, and returns its stdout;
// the error holds its stderr. The password is nowhere in either.
func (d *depot) run(t *testing.T, stdin string, argv ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdin = d.env, strings.NewReader(stdin)
	var out, story bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &story
	err := cmd.Run()
	t.Logf("%s\n%s", strings.Join(argv, " "), &story)
	for _, seen := range append(argv, out.String(), story.String()) {
		if strings.Contains(seen, depotSecret) {
			t.Errorf("%s shows the password", argv[0])
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &story)
	}
	return out.String(), err
}

func (d *depot) must(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := d.run(t, "", argv...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return out
}

// fails runs a command that must fail and say each of the words.
func (d *depot) fails(t *testing.T, words []string, argv ...string) {
	t.Helper()
	_, err := d.run(t, "", argv...)
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error is %v, want %q in it", strings.Join(argv, " "), err, w)
		}
	}
}

// story returns the stderr of a command that must succeed.
func (d *depot) story(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = d.env
	var story bytes.Buffer
	cmd.Stderr = &story
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, &story)
	}
	return story.String()
}

func (d *depot) wantDigest(t *testing.T, who, got string) {
	t.Helper()
	if strings.TrimSpace(got) != d.digest {
		t.Errorf("%s: digest %q, want %s", who, got, d.digest)
	}
}

// requests counts lines of the registry's log.
func (d *depot) requests(t *testing.T, methods, what string) int {
	t.Helper()
	raw, err := os.ReadFile(d.path("registry/log"))
	if err != nil {
		t.Fatal(err)
	}
	return len(regexp.MustCompile(`"(`+methods+`) /v2/[^ "]*`+what).FindAll(raw, -1))
}

const uploads = "POST|PATCH|PUT"

// sound checks that every blob of a store is what its name says, that the index
// can be read and that nothing half-done is left.
func (d *depot) sound(t *testing.T, store string) {
	t.Helper()
	blobs, err := filepath.Glob(store + "/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		f, err := os.Open(blob)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if sum := fmt.Sprintf("%x", h.Sum(nil)); err != nil || sum != filepath.Base(blob) {
			t.Errorf("blob %s has digest %s, %v", blob, sum, err)
		}
	}
	raw, err := os.ReadFile(store + "/index.json")
	if err == nil && !json.Valid(raw) {
		t.Errorf("index.json is %q", raw)
	}
}

func login(t *testing.T, d *depot) {
	config := d.path("home/.docker/config.json")
	d.fails(t, []string{"unauthorized", "no credentials", "sealrt login " + d.address}, d.sealrt, "push", "--ca-file", d.ca, d.ref("app:v1"))
	_, err := d.run(t, "guess\n", d.sealrt, "login", "--ca-file", d.ca, "-u", depotUser, "--password-stdin", d.address)
	if err == nil || !strings.Contains(err.Error(), "refuses this user name or password") || strings.Contains(err.Error(), "guess") {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := os.Stat(config); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused login wrote %s: %v", config, err)
	}
	if out, err := d.run(t, depotSecret+"\n", d.sealrt, "login", "-v", "--ca-file", d.ca, "-u", depotUser, "--password-stdin", d.address); err != nil || out != "" {
		t.Fatalf("login: %q, %v", out, err)
	}
	info, err := os.Stat(config)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", config, info, err)
	}
	d.must(t, d.sealrt, "logout", d.address)
	d.fails(t, []string{"not found", config}, d.sealrt, "logout", d.address)
	if _, err := d.run(t, depotSecret, d.sealrt, "login", "--ca-file", d.ca, "-u", depotUser, "--password-stdin", "https://"+d.address+"/v2/"); err != nil {
		t.Fatal(err)
	}
}

func certificateOfNobody(t *testing.T, d *depot) {
	for _, verb := range []string{"push", "pull"} {
		d.fails(t, []string{d.address, "certificate", "--ca-file"}, d.sealrt, verb, d.ref("app:v1"))
		d.fails(t, []string{"speaks https", "leave out --plain-http"}, d.sealrt, verb, "--plain-http", d.ref("app:v1"))
		d.fails(t, []string{"--ca-file", "no PEM certificate"}, d.sealrt, verb, "--ca-file", d.path("context/Kubefile"), d.ref("app:v1"))
	}
	d.fails(t, []string{"127.0.0.1:1 cannot be reached"}, d.sealrt, "push", "--retry", "0", "app:v1", "127.0.0.1:1/app:v1")
	d.fails(t, []string{"127.0.0.1:1 cannot be reached"}, d.sealrt, "pull", "--retry", "0", "127.0.0.1:1/app:v1")
}

func pushAndPull(t *testing.T, d *depot) {
	d.wantDigest(t, "push", d.must(t, d.sealrt, "push", "--ca-file", d.ca, d.ref("app:v1")))
	before := d.requests(t, uploads, "")
	if before == 0 {
		t.Fatal("the registry's log knows of no upload at all: this test cannot tell")
	}
	d.wantDigest(t, "second push", d.must(t, d.sealrt, "push", "--ca-file", d.ca, d.ref("app:v1")))
	if n := d.requests(t, uploads, "") - before; n != 0 {
		t.Errorf("the second push made %d uploads", n)
	}
	// another tag sends its name; another repository the bytes too, from the store that has them
	d.wantDigest(t, "another tag", d.must(t, d.sealrt, "push", "--ca-file", d.ca, "app:v1", d.ref("app:stable")))
	if n := d.requests(t, uploads, "/blobs/"); n != d.requests(t, uploads, "/app/blobs/") || d.requests(t, uploads, "")-before != 1 {
		t.Errorf("another tag made %d uploads", d.requests(t, uploads, "")-before)
	}
	d.wantDigest(t, "another repository", d.must(t, d.sealrt, "push", "--ca-file", d.ca, "app:v1", d.ref("copy:v1")))
	d.fails(t, []string{"another digest"}, d.sealrt, "push", "--ca-file", d.ca, "app:v1", d.ref("app@sha256:"+strings.Repeat("0", 64)))

	store := d.path("second")
	d.wantDigest(t, "pull", d.must(t, d.sealrt, "pull", "--root", store, "--ca-file", d.ca, d.ref("app:v1")))
	fetched := d.requests(t, "GET", "/blobs/")
	d.wantDigest(t, "second pull", d.must(t, d.sealrt, "pull", "--root", store, "--ca-file", d.ca, d.ref("app:v1")))
	d.wantDigest(t, "pull by digest", d.must(t, d.sealrt, "pull", "--root", store, "--ca-file", d.ca, d.ref("copy@"+d.digest)))
	if n := d.requests(t, "GET", "/blobs/") - fetched; n != 0 {
		t.Errorf("the second pull fetched %d blobs", n)
	}
	d.sound(t, store)
	d.fails(t, []string{"not found", "check the repository and the tag"}, d.sealrt, "pull", "--root", store, "--ca-file", d.ca, d.ref("app:v9"))
}

func otherTools(t *testing.T, d *depot) {
	auth := d.path("home/.docker/config.json")
	certs := d.path("certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	d.must(t, "cp", d.ca, certs+"/ca.crt")
	d.wantDigest(t, "skopeo inspect", d.must(t, "skopeo", "inspect", "--authfile", auth, "--cert-dir", certs, "--format", "{{.Digest}}", "docker://"+d.ref("app:v1")))
	d.must(t, "skopeo", "copy", "-q", "--src-authfile", auth, "--src-cert-dir", certs, "docker://"+d.ref("app:v1"), "oci-archive:"+d.path("skopeo.tar")+":app:skopeo")
	d.must(t, "skopeo", "copy", "-q", "--src-authfile", auth, "--src-cert-dir", certs, "--dest-authfile", auth, "--dest-cert-dir", certs,
		"docker://"+d.ref("app:v1"), "docker://"+d.ref("skopeo:v1"))
	d.wantDigest(t, "what skopeo pushed", d.must(t, d.sealrt, "pull", "--root", d.path("third"), "--ca-file", d.ca, d.ref("skopeo:v1")))
	if out := d.must(t, d.sealrt, "load", "--root", d.path("third"), d.path("skopeo.tar")); out != "app:skopeo\n" {
		t.Errorf("loaded %q", out)
	}
	d.wantDigest(t, "skopeo reads the store", d.must(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+d.path("third")+":docker.io/library/app:skopeo"))

	d.must(t, d.sealrt, "save", "app:v1", "-o", d.path("one.tar"))
	d.must(t, d.sealrt, "save", "app:v1", "-o", d.path("two.tar"))
	d.must(t, "cmp", d.path("one.tar"), d.path("two.tar"))
	d.wantDigest(t, "skopeo reads the archive", d.must(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+d.path("one.tar")))
	for suffix, tool := range map[string]string{".gz": "gzip", ".zst": "zstd"} {
		d.must(t, tool, "-q", "-k", "-1", d.path("one.tar"))
		if out := d.must(t, d.sealrt, "load", "--root", d.path("load"+suffix), d.path("one.tar"+suffix)); out != "app:v1\n" {
			t.Errorf("loaded %q from %s", out, suffix)
		}
	}
	raw, err := os.ReadFile(d.path("one.tar"))
	if err != nil {
		t.Fatal(err)
	}
	raw = raw[:len(raw)/2-100000]
	d.write(t, "short.tar", raw)
	d.fails(t, []string{"short.tar", "cut short", "copy it here again"}, d.sealrt, "load", "--root", d.path("short"), d.path("short.tar"))
	_, err = d.run(t, string(raw), d.sealrt, "load", "--root", d.path("short"), "-")
	if err == nil || !strings.Contains(err.Error(), "copy it here again") {
		t.Errorf("half an archive from a pipe: %v", err)
	}
	d.sound(t, d.path("short"))
}

// gate is a proxy before the registry that lets some bytes of blobs through and
// then kills the registry, or breaks a connection. Docker's own way to say where
// to go on is kept.
type gate struct {
	*http.Server
	address string
	left    atomic.Int64 // bytes until the end; it never comes below a first negative value
	end     func()
	ended   sync.Once

	passed atomic.Int64 // bytes
	cut    atomic.Int64 // when so many have passed the connection breaks, once; 0: it does not
	onCut  func()
}

var errCut = errors.New("cut by the test")

func (g *gate) count(n int) error {
	if g.left.Add(-int64(n)) < 0 {
		g.ended.Do(g.end)
	}
	passed, cut := g.passed.Add(int64(n)), g.cut.Load()
	if cut == 0 || passed < cut || !g.cut.CompareAndSwap(cut, 0) {
		return nil
	}
	g.onCut()
	return errCut
}

type counted struct {
	io.ReadCloser
	g *gate
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if cut := c.g.count(n); cut != nil {
		return n, cut
	}
	return n, err
}

// newGate starts one, over plain HTTP, to a registry of its own over plain HTTP.
func (d *depot) newGate(t *testing.T, name string, after int64) *gate {
	t.Helper()
	dir := d.path(name)
	inner := strings.TrimSpace(d.must(t, "testbed/registry.sh", "start", dir, "127.0.0.1:0"))
	t.Cleanup(func() { d.must(t, "testbed/registry.sh", "stop", dir) })
	pid, err := os.ReadFile(dir + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{onCut: func() {}}
	g.left.Store(after)
	g.end = func() { syscall.Kill(n, syscall.SIGKILL) }
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: inner})
	direct := proxy.Director
	proxy.Director = func(r *http.Request) {
		direct(r)
		if r.Body != nil {
			r.Body = counted{r.Body, g}
		}
	}
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "/blobs/") {
			r.Body = counted{r.Body, g}
		}
		return nil
	}
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) { panic(http.ErrAbortHandler) } // the client sees the connection break
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = listener.Addr().String()
	g.Server = &http.Server{Handler: proxy}
	go g.Serve(listener)
	t.Cleanup(func() { g.Close() })
	return g
}

func registryDiesInAPush(t *testing.T, d *depot) {
	g := d.newGate(t, "dying", 30<<20)
	to := g.address + "/team/app:v1"
	d.fails(t, []string{to[:len(g.address)]}, d.sealrt, "push", "--jobs", "1", "--retry", "1", "app:v1", to)
	d.restart(t, "dying", g)
	story := d.story(t, d.sealrt, "push", "--verbose", "--jobs", "1", "app:v1", to)
	if there, sent := strings.Count(story, "exists"), strings.Count(story, "layer"); there == 0 || sent-there == 0 {
		t.Errorf("the second push sends everything, or nothing:\n%s", story)
	}
	d.must(t, d.sealrt, "pull", "--root", d.path("fourth"), to)
	d.sound(t, d.path("fourth"))
}

func registryDiesInAPull(t *testing.T, d *depot) {
	g := d.newGate(t, "dying2", 80<<20) // 48 MiB come in
	from, store := g.address+"/team/app:v1", d.path("fifth")
	d.must(t, d.sealrt, "push", "app:v1", from)
	d.fails(t, []string{g.address}, d.sealrt, "pull", "--root", store, "--jobs", "1", "--retry", "1", from)
	d.sound(t, store)
	if out := d.must(t, d.sealrt, "images", "--root", store); strings.Contains(out, "app") {
		t.Errorf("half an image has a name: %s", out)
	}
	had := strings.Count(d.must(t, d.sealrt, "inventory", "--root", store), "\n")
	d.restart(t, "dying2", g)
	story := d.story(t, d.sealrt, "pull", "--verbose", "--root", store, from)
	if there := strings.Count(story, "exists"); had == 0 || there < had {
		t.Errorf("the store had %d blobs, the second pull found %d:\n%s", had, there, story)
	}
	d.sound(t, store)
}

// breaksGoOn breaks connections in the middle of a layer, and at last the
// program that reads it, and counts how much is sent again. This registry,
// version 2.8, forgets an upload that breaks off ("upload resumed at wrong
// offest" in its log), so that its layer is sent from the start; version 3 does
// not, see TestBrokenTransfersGoOnAtTheByte.
func breaksGoOn(t *testing.T, d *depot) {
	const image, before, flying = 48 << 20, 10 << 20, 6 << 20 // what of the layer had passed, what may have been on its way
	g := d.newGate(t, "breaking", 1<<50)
	to, store := g.address+"/team/app:v1", d.path("seventh")
	step := func(name string, again int64, do func()) {
		g.passed.Store(0)
		g.cut.Store(12<<20 + before)
		do()
		if n := g.passed.Load(); n < image || n > image+again || g.cut.Load() != 0 {
			t.Errorf("%s: %d bytes passed for an image of %d, broken: %v", name, n, image, g.cut.Load() == 0)
		}
	}
	step("push", before+flying, func() { d.must(t, d.sealrt, "push", "--jobs", "1", "app:v1", to) })
	step("pull", flying, func() { d.must(t, d.sealrt, "pull", "--jobs", "1", "--root", store, to) })
	d.sound(t, store)
	step("pull that is killed and done again", flying, func() {
		killed := exec.Command(d.sealrt, "pull", "--jobs", "1", "--root", d.path("eighth"), to)
		killed.Env = d.env
		g.onCut = func() { killed.Process.Kill() }
		if err := killed.Run(); err == nil {
			t.Error("it was not killed")
		}
		d.must(t, d.sealrt, "pull", "--root", d.path("eighth"), to)
	})
	d.sound(t, d.path("eighth"))
}

// oneImageInside pushes and pulls a cluster image, then one in which one
// container image is another.
func oneImageInside(t *testing.T, d *depot) {
	g := d.newGate(t, "inside", 1<<50)
	put := func(name string, size int) { // a container image, in a layout as skopeo makes it
		dir := d.path("inside-" + name)
		noise := make([]byte, size)
		rand.Read(noise)
		d.write(t, "inside-"+name+"/content", noise)
		d.write(t, "inside-"+name+"/Kubefile", []byte("FROM scratch\nCOPY content .\n"))
		d.must(t, d.sealrt, "build", "-q", "-t", g.address+"/inside/"+name, dir)
		d.must(t, d.sealrt, "push", g.address+"/inside/"+name)
	}
	put("kept:v1", 8<<20)
	put("old:v1", 6<<20)
	put("new:v1", 5<<20)
	cluster := func(tag string, images ...string) string {
		list := ""
		for _, name := range images {
			list += g.address + "/inside/" + name + "\n"
		}
		d.write(t, tag+"/manifests/imageList", []byte(list))
		d.write(t, tag+"/Kubefile", []byte("FROM scratch\nCOPY . .\n"))
		ref := g.address + "/team/cluster:" + tag
		d.must(t, d.sealrt, "build", "-q", "-t", ref, d.path(tag))
		return ref
	}
	first, second, store := cluster("v1", "kept:v1", "old:v1"), cluster("v2", "kept:v1", "new:v1"), d.path("ninth")
	const rest = 128 << 10
	for _, step := range []struct {
		argv []string
		want int64
	}{
		{[]string{"push", first}, 14 << 20},
		{[]string{"push", first}, 0},
		{[]string{"push", second}, 5 << 20},
		{[]string{"pull", "--root", store, first}, 14 << 20},
		{[]string{"pull", "--root", store, second}, 5 << 20},
		{[]string{"pull", "--root", store, second}, 0},
	} {
		g.passed.Store(0)
		d.must(t, append([]string{d.sealrt}, step.argv...)...)
		if n := g.passed.Load(); n < step.want || n > step.want+rest {
			t.Errorf("%v: %d bytes passed, want %d", step.argv, n, step.want)
		}
	}
}

// restart starts the registry behind a gate again where it was; this one stays.
func (d *depot) restart(t *testing.T, name string, g *gate) {
	t.Helper()
	address, err := os.ReadFile(d.path(name + "/address"))
	if err != nil {
		t.Fatal(err)
	}
	g.left.Store(1 << 50)
	d.must(t, "testbed/registry.sh", "start", d.path(name), strings.TrimSpace(string(address)))
}

func plainHTTP(t *testing.T, d *depot) {
	dir := d.path("plain")
	address := strings.TrimSpace(d.must(t, "testbed/registry.sh", "start", dir, "127.0.0.1:0"))
	defer d.must(t, "testbed/registry.sh", "stop", dir)
	d.wantDigest(t, "push", d.must(t, d.sealrt, "push", "app:v1", address+"/a:v1"))
	d.wantDigest(t, "pull", d.must(t, d.sealrt, "pull", "--plain-http", "--root", d.path("sixth"), address+"/a:v1"))
}

// killedAtAnyMoment ends commands with SIGKILL and looks at what they leave.
func killedAtAnyMoment(t *testing.T, d *depot) {
	store, archive := d.path("killed"), d.path("out.tar")
	commands := [][]string{
		{"pull", "-q", "--root", store, "--ca-file", d.ca, d.ref("app:v1")},
		{"load", "-q", "--root", store, d.path("one.tar")},
		{"tag", "--root", store, "app:v1", "b:v1"},
		{"rmi", "-q", "--root", store, "app:v1", d.ref("app:v1"), "b:v1"},
		{"save", "-q", "app:v1", "-o", archive},
		{"unpack", "app:v1", d.path("tree")},
	}
	for round := range 5 {
		for i, args := range commands {
			if args[0] == "tag" || args[0] == "rmi" {
				d.must(t, d.sealrt, "load", "-q", "--root", store, d.path("one.tar"))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(3+(round*37+i*11)%90)*time.Millisecond)
			cmd := exec.CommandContext(ctx, d.sealrt, args...)
			cmd.Env = d.env
			cmd.Run() // killed, or done
			cancel()
			d.sound(t, store)
			d.must(t, d.sealrt, "images", "--root", store)
			left, _ := filepath.Glob(store + "/ingest/*")
			left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(filepath.Base(name), "part-") })
			if len(left) != 0 { // but the beginnings of blobs, which the next pull goes on with
				t.Errorf("%s left %v", args[0], left)
			}
			if _, err := os.Stat(archive); err == nil {
				d.must(t, "cmp", archive, d.path("one.tar"))
			}
			os.RemoveAll(archive)
			os.RemoveAll(d.path("tree"))
		}
	}
	d.must(t, d.sealrt, "load", "-q", "--root", store, d.path("one.tar"))
	d.must(t, d.sealrt, "save", "-q", "--root", store, "app:v1", "-o", archive)
	d.must(t, d.sealrt, "unpack", "app:v1", d.path("tree"))
	d.must(t, "cmp", archive, d.path("one.tar"))
	if left, _ := filepath.Glob(store + "/ingest/*"); len(left) != 0 {
		t.Errorf("what became of blobs that are there now: %v", left)
	}
	if left, _ := filepath.Glob(d.path(".*sealrt-*")); len(left) != 0 {
		t.Errorf("left beside archive and tree: %v", left)
	}
}

// manyAtOnce lets commands that add and commands that remove meet in one store.
func manyAtOnce(t *testing.T, d *depot) {
	store := d.path("busy")
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for range 3 {
				out, err := d.run(t, "", d.sealrt, "pull", "-q", "--root", store, "--ca-file", d.ca, d.ref("app:v1"))
				if err != nil || strings.TrimSpace(out) != d.digest {
					t.Errorf("pull %d: %q, %v", i, out, err)
				}
				// it may be gone again already
				if _, err := d.run(t, "", d.sealrt, "rmi", "-q", "--root", store, d.ref("app:v1")); err != nil && !strings.Contains(err.Error(), "not found") {
					t.Errorf("rmi %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	d.sound(t, store)
	d.must(t, d.sealrt, "pull", "-q", "--root", store, "--ca-file", d.ca, d.ref("app:v1"))
	d.must(t, d.sealrt, "tag", "--root", store, d.ref("app:v1"), "second:v1")
	d.must(t, d.sealrt, "rmi", "--root", store, d.ref("app:v1"))
	d.must(t, d.sealrt, "save", "-q", "--root", store, "second:v1", "-o", d.path("second.tar"))
	d.must(t, d.sealrt, "rmi", "--root", store, "second:v1")
	if out := d.must(t, d.sealrt, "inventory", "--root", store); out != "" {
		t.Errorf("blobs that nobody names: %s", out)
	}
}

// fullDisk gives the store a file system that is too small.
func fullDisk(t *testing.T, d *depot) {
	small := d.path("small")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(size string) {
		if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	mount("20m")
	defer syscall.Unmount(small, syscall.MNT_DETACH)
	store := small + "/store"
	room := []string{"needed", "free on " + small}
	d.fails(t, room, d.sealrt, "pull", "--root", store, "--ca-file", d.ca, d.ref("app:v1"))
	d.fails(t, room, d.sealrt, "load", "--root", store, d.path("one.tar"))
	if blobs, _ := filepath.Glob(store + "/blobs/sha256/*"); len(blobs) != 0 {
		t.Errorf("what has no room was begun: %v", blobs)
	}
	d.fails(t, room, d.sealrt, "save", "app:v1", "-o", small+"/app.tar")
	d.fails(t, []string{"no space left", "free space"}, d.sealrt, "unpack", "app:v1", small+"/tree")
	if left, _ := filepath.Glob(small + "/*"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if err := syscall.Unmount(small, 0); err != nil {
		t.Fatal(err)
	}

	// Removing an image is the way out of a full disk, so it works on one.
	mount("80m")
	d.must(t, d.sealrt, "load", "-q", "--root", store, d.path("one.tar"))
	fill, err := os.Create(small + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(fill, io.LimitReader(rand.Reader, 80<<20))
	fill.Close()
	d.fails(t, []string{"no space left", "sealrt rmi"}, d.sealrt, "tag", "--root", store, "app:v1", "b:v1")
	d.must(t, d.sealrt, "rmi", "--root", store, "app:v1")
	if out := d.must(t, d.sealrt, "inventory", "--root", store); out != "" {
		t.Errorf("blobs are left: %s", out)
	}
	d.sound(t, store)
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	d.must(t, d.sealrt, "load", "-q", "--root", store, d.path("one.tar"))
	d.sound(t, store)
}

func storeOfSomebodyElse(t *testing.T, d *depot) {
	nobody := func(args ...string) []string {
		return append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent", d.sealrt}, args...)
	}
	if out := d.must(t, nobody("images")...); !strings.Contains(out, "app:v1") {
		t.Errorf("images: %s", out)
	}
	d.must(t, nobody("inspect", "app:v1")...)
	for _, args := range [][]string{{"rmi", "app:v1"}, {"tag", "app:v1", "b:v1"}, {"load", d.path("one.tar")}} {
		d.fails(t, []string{"permission denied", "run as root", "--root"}, nobody(args...)...)
	}
	d.fails(t, []string{"--root"}, nobody("images", "--root", "/nonexistent/store")...)
}
