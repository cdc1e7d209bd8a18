package airgap

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

// sizeOf returns the bytes of the distinct blobs of images, manifests included.
func sizeOf(t *testing.T, images ...v1.Image) (n int64) {
	t.Helper()
	seen := map[v1.Hash]bool{}
	for _, img := range images {
		raw, err := img.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		n += int64(len(raw))
		for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
			if !seen[d.Digest] {
				n += d.Size
			}
			seen[d.Digest] = true
		}
	}
	return n
}

// TestCollectReceivesTheDistinctBytes counts at the registry.
func TestCollectReceivesTheDistinctBytes(t *testing.T) {
	reg := registrytest.New(t)
	a, b, changed := registrytest.Image(t, amd64, 1<<20, "base", "a"), registrytest.Image(t, amd64, 1<<20, "base", "b"), registrytest.Image(t, amd64, 1<<20, "base", "b2")
	reg.Push(t, "a:1", a)
	reg.Push(t, "b:1", b)
	blobs := registrytest.Store(t)
	build := func(line ...string) (sent int64, requests, heads int) {
		t.Helper()
		reg.Traffic()
		reg.Fetched()
		collect(t, list(t, reg, line...), options(blobs))
		for _, n := range reg.Fetched() {
			requests += n
		}
		sent, heads = reg.Traffic()
		return sent, requests, heads
	}
	if sent, requests, heads := build("a:1", "b:1"); sent != sizeOf(t, a, b) || requests != 2+2+3 || heads != 0 {
		t.Errorf("first build: %d bytes, %d wanted; %d requests and %d heads", sent, sizeOf(t, a, b), requests, heads)
	}
	if sent, requests, heads := build("a:1", "b:1"); sent != 0 || requests != 0 || heads != 2 {
		t.Errorf("nothing changed: %d bytes, %d requests and %d heads", sent, requests, heads)
	}
	reg.Push(t, "b:1", changed)
	if sent, requests, heads := build("a:1", "b:1"); sent != sizeOf(t, changed)-1<<20 || requests != 3 || heads != 2 {
		t.Errorf("one image changed: %d bytes, %d wanted; %d requests and %d heads", sent, sizeOf(t, changed)-1<<20, requests, heads)
	}
	reg.Push(t, "c:1", changed)
	if sent, requests, heads := build("a:1", "b:1", "c:1"); requests != 1 || heads != 2 {
		t.Errorf("another name: %d bytes, %d requests and %d heads", sent, requests, heads)
	}
}

// TestJobsHoldForTheWholeCollect counts what is under way at the registry.
func TestJobsHoldForTheWholeCollect(t *testing.T) {
	reg := registrytest.New(t)
	var lines []string
	for i := range 8 {
		name := fmt.Sprintf("a%d:1", i)
		reg.Push(t, name, registrytest.Image(t, amd64, 600<<10+i%2<<20, name, name+"b"))
		lines = append(lines, name)
	}
	for _, jobs := range []int{1, 3} {
		var mu sync.Mutex
		now, most := 0, 0
		reg.Faulty(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			next.ServeHTTP(w, q)
			mu.Lock()
			now--
			mu.Unlock()
			return true
		})
		o := options(registrytest.Store(t))
		o.Jobs = jobs
		collect(t, list(t, reg, append([]string(nil), lines...)...), o)
		if most > jobs {
			t.Errorf("%d requests at a time, %d were allowed", most, jobs)
		}
	}
}

// TestCollectGoesOnInTheMiddleOfABlob is a build that ends in the middle of a
// blob, and another one in the same store.
func TestCollectGoesOnInTheMiddleOfABlob(t *testing.T) {
	img := registrytest.Image(t, amd64, 6<<20, "big")
	reg := registrytest.New(t)
	reg.Push(t, "a:1", img)
	want := collect(t, list(t, reg, "a:1"), options(registrytest.Store(t)))
	tests := []struct {
		name   string
		damage func(t *testing.T, file string)
		ranges []string
		notes  int
	}{
		{"whole", func(*testing.T, string) {}, []string{"the rest"}, 0},
		{"zeros of a power cut", func(t *testing.T, file string) { overwrite(t, file, 0, 5<<20) }, []string{""}, 0},
		{"zeros at its end", func(t *testing.T, file string) { overwrite(t, file, 4<<20, 1<<20) }, []string{"the rest", ""}, 1},
		{"another beginning", func(t *testing.T, file string) { overwrite(t, file, 100, 8) }, []string{""}, 0},
		{"headers of another time", func(t *testing.T, file string) { otherHeaders(t, file, 6<<20) }, []string{"the rest"}, 0},
		{"fewer headers", func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, b[3*512:], 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, []string{""}, 0},
		{"cut in a header", func(t *testing.T, file string) {
			if err := os.Truncate(file, 1<<10); err != nil {
				t.Fatal(err)
			}
		}, []string{""}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			blobs, err := store.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			reg.Faulty(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				if isLayer(q) {
					w = &rewriter{ResponseWriter: w, edit: cut(5 << 20)}
				}
				next.ServeHTTP(w, q)
				return true
			})
			if _, err := Collect(t.Context(), list(t, reg, "a:1"), options(blobs)); err == nil {
				t.Fatal("half a blob is enough")
			}
			if err := blobs.Close(); err != nil {
				t.Fatal(err)
			}
			if blobs, err = store.Open(blobs.Root()); err != nil {
				t.Fatal(err)
			}
			defer blobs.Close()
			left, err := filepath.Glob(filepath.Join(blobs.Root(), "ingest", "part-*"))
			if err != nil || len(left) != 1 {
				t.Fatalf("left %v %v", left, err)
			}
			tt.damage(t, left[0])
			fi, err := os.Stat(left[0])
			if err != nil {
				t.Fatal(err)
			}
			rest := fmt.Sprintf("bytes=%d-%d", fi.Size()-4*512, 6<<20-1)
			var mu sync.Mutex
			var ranges, notes []string
			reg.Faulty(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				mu.Lock()
				defer mu.Unlock()
				if isLayer(q) {
					ranges = append(ranges, q.Header.Get("Range"))
				}
				return false
			})
			o := options(blobs)
			o.Observe = func(e artifact.Event) {
				if e.Kind == artifact.EventNote {
					notes = append(notes, e.Name)
				}
			}
			got := collect(t, list(t, reg, "a:1"), o)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if i := slices.Index(ranges, rest); i >= 0 {
				ranges[i] = "the rest"
			}
			if diff := cmp.Diff(tt.ranges, ranges); diff != "" {
				t.Errorf("ranges asked for: %s", diff)
			}
			if len(notes) != tt.notes {
				t.Errorf("notes %q", notes)
			}
			requireSound(t, blobs)
		})
	}
}

// otherHeaders gives what is kept of a layer other headers, as long as those
// that it had.
func otherHeaders(t *testing.T, file string, size int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	in, out := tar.NewReader(f), tar.NewWriter(&b)
	for {
		hdr, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		hdr.Mode = 0o700
		if err := out.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if hdr.Size == size {
			break
		}
	}
	if _, err := f.WriteAt(b.Bytes(), 0); err != nil {
		t.Fatal(err)
	}
}

// overwrite puts zeros into a file.
func overwrite(t *testing.T, file string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, n), at)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestContentOffsetIsThatOfTheLayer: what is kept of a layer is of no use if this
// is not so.
func TestContentOffsetIsThatOfTheLayer(t *testing.T) {
	reg := registrytest.New(t)
	img := registrytest.Image(t, amd64, 5<<20, "x")
	reg.Push(t, "a:1", img)
	blobs := registrytest.Store(t)
	set := collect(t, list(t, reg, "a:1"), options(blobs))
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range set.Layers {
		if len(l.Blobs) != 1 || l.Blobs[0] != m.Layers[0].Digest {
			continue
		}
		b, err := os.ReadFile(blobs.BlobPath(l.Blob.Digest))
		if err != nil {
			t.Fatal(err)
		}
		at := contentOffset(m.Layers[0])
		if layout.DigestOf(b[at:at+m.Layers[0].Size]) != m.Layers[0].Digest {
			t.Errorf("the blob does not begin at %d", at)
		}
		if bytes.Equal(b[:512], make([]byte, 512)) {
			t.Error("no header")
		}
	}
}

// withConf returns options whose registries are those of a registries.conf.
func withConf(t *testing.T, text string) Options {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(registrytest.Store(t))
	o.Source = registry.New(registry.Options{PlainHTTP: true, Retries: -1, RegistriesConf: conf, AuthFile: filepath.Join(t.TempDir(), "none")})
	return o
}

func TestCollectReadsFromMirrors(t *testing.T) {
	up, mirror := registrytest.New(t), registrytest.New(t)
	img, more := registrytest.Image(t, amd64, 1000, "a"), registrytest.Image(t, amd64, 1000, "b")
	up.Push(t, "a:1", img)
	up.Push(t, "b:1", more)
	mirror.Push(t, "cache/a:1", img)
	conf := func(location string) string {
		return fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %[1]q\n[[registry.mirror]]\nlocation = %q\n", up.Host, location)
	}
	asked := func(r *registrytest.Registry) int { return len(r.Fetched()) }
	for name, tt := range map[string]struct {
		mirror    string
		fault     registrytest.Hook
		line      string
		up, cache bool // who is asked for blobs
	}{
		"the mirror has it":       {mirror.Host + "/cache", nil, "a:1", false, true},
		"the mirror lacks it":     {mirror.Host + "/cache", nil, "b:1", true, true},
		"the mirror is dead":      {"127.0.0.1:1/dead", nil, "a:1", true, false},
		"the mirror lacks a blob": {mirror.Host + "/cache", lackBlobs, "a:1", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			mirror.Faulty(tt.fault)
			asked(up)
			asked(mirror)
			collect(t, list(t, up, tt.line), withConf(t, conf(tt.mirror)))
			if n, m := asked(up), asked(mirror); n > 0 != tt.up || m > 0 != tt.cache {
				t.Errorf("%d requests to the registry, %d to the mirror", n, m)
			}
		})
	}
}

func lackBlobs(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
	if isLayer(q) {
		w.WriteHeader(404)
	}
	return isLayer(q)
}

func TestCollectObeysRegistriesConf(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "library/app:1", registrytest.Image(t, amd64, 1000, "a"))
	app, err := artifact.ParseReference("app:1")
	if err != nil {
		t.Fatal(err)
	}
	images := []Image{{Ref: app, Where: "imageList:1"}}
	hub := fmt.Sprintf("[[registry]]\nprefix = \"docker.io\"\nlocation = %q\n", reg.Host)
	// Short names mean docker.io in image lists, as container runtimes on nodes see it.
	aliases := "unqualified-search-registries = [\"blocked.example.com\"]\n" + hub + "[aliases]\n\"app\" = \"blocked.example.com/app\"\n\"library/app\" = \"blocked.example.com/app\"\n"
	o := withConf(t, aliases)
	set := collect(t, images, o)
	if diff := cmp.Diff([]string{"docker.io/library/app:1"}, namesIn(t, o.Store, set)); diff != "" {
		t.Error(diff)
	}
	_, err = Collect(t.Context(), images, withConf(t, hub+"blocked = true\n"))
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "imageList:1: app:1: registry docker.io is blocked by registries.conf") {
		t.Errorf("got %v", err)
	}
}

// TestCollectSaysWhichCredentialWasTried, and never what its secret is.
func TestCollectSaysWhichCredentialWasTried(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1000, "a"))
	const secret = "s3cr3t-0f-b0b"
	file := filepath.Join(t.TempDir(), "auth.json")
	source := func() artifact.Source {
		return registry.New(registry.Options{PlainHTTP: true, Retries: -1, AuthFile: file})
	}
	password := secret
	reg.Faulty(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if u, p, ok := q.BasicAuth(); ok && u == "bob" && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	})
	o := options(registrytest.Store(t))
	o.Source = source()
	_, err := Collect(t.Context(), list(t, reg, "a:1"), o)
	if !errors.Is(err, artifact.ErrUnauthorized) || !strings.Contains(err.Error(), "no credentials were sent") {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := registry.New(registry.Options{PlainHTTP: true, AuthFile: file}).Login(t.Context(), reg.Host, "bob", secret); err != nil {
		t.Fatal(err)
	}
	o.Source = source()
	collect(t, list(t, reg, "a:1"), o)
	password = "changed"
	o.Source, o.Store = source(), registrytest.Store(t)
	_, err = Collect(t.Context(), list(t, reg, "a:1"), o)
	if !errors.Is(err, artifact.ErrUnauthorized) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"imageList:1: ", `credentials of "bob" from ` + file, "sealrt login " + reg.Host} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) || strings.Contains(text, "Ym9iOn") {
		t.Errorf("the error has the secret: %v", err)
	}
}
