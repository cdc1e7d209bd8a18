package remote

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fileServer serves one file, as badly as it is told to, and counts.
type fileServer struct {
	*httptest.Server
	mu       sync.Mutex
	content  string
	etag     string
	header   map[string]string
	breaks   int  // how often to break off
	piece    int  // bytes to send before that
	noRanges bool // ignore Range
	requests []http.Header
	sent     int
}

func newFileServer(t *testing.T, content string) *fileServer {
	t.Helper()
	s := &fileServer{content: content, etag: `"1"`, header: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Header.Clone())
	content, from := s.content, 0
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	for name, value := range s.header {
		w.Header().Set(name, value)
	}
	if s.etag != "" && r.Header.Get("If-None-Match") == s.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	status := http.StatusOK
	if since := r.Header.Get("If-Range"); r.Header.Get("Range") != "" && !s.noRanges && (since == "" || since == s.etag || since == s.header["Last-Modified"]) {
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		if from >= len(content) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		status = http.StatusPartialContent
	}
	content = content[from:]
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if s.breaks > 0 {
		s.breaks--
		n, _ := io.WriteString(w, content[:min(s.piece, len(content))])
		s.sent += n
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	n, _ := io.WriteString(w, content)
	s.sent += n
}

func (s *fileServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *fileServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// newDownloader returns a downloader that does not wait, and the notes it makes.
func newDownloader(t *testing.T) (*Downloader, *[]string) {
	t.Helper()
	client, err := NewClient("", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	var mu sync.Mutex
	notes := &[]string{}
	return &Downloader{
		Store: newStore(t), Client: client, wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Note: func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			*notes = append(*notes, fmt.Sprintf(format, args...))
		},
	}, notes
}

// again is a later build with the same store.
func (d *Downloader) again() *Downloader {
	return &Downloader{Store: d.Store, Client: d.Client, Lock: d.Lock, Frozen: d.Frozen, Note: d.Note, wait: d.wait}
}

func sha256Of(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }

func requireContent(t *testing.T, d *Downloader, u, checksum, want string) File {
	t.Helper()
	got, err := d.Get(t.Context(), amd64, u, checksum)
	if err != nil {
		t.Fatal(err)
	}
	r, err := got.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || string(data) != want || got.Digest.String() != sha256Of(want) || got.Size != int64(len(want)) {
		t.Fatalf("%d bytes, %s of %d, %v; want %d", len(data), got.Digest, got.Size, err, len(want))
	}
	return got
}

func requireNothingStored(t *testing.T, d *Downloader) {
	t.Helper()
	if blobs, err := d.Store.Inventory(t.Context()); err != nil || len(blobs) > 0 {
		t.Errorf("in the store: %v, %v", blobs, err)
	}
	left, _ := filepath.Glob(filepath.Join(d.Store.Root(), "ingest", "blob-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	filepath.WalkDir(filepath.Join(d.Store.Root(), "cache"), func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			t.Errorf("recorded: %s", p)
		}
		return nil
	})
}

func wantText(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want %q", err, w)
		}
	}
}

func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return string(b)
}

func TestDownloadWithAChecksumIsAskedForOnce(t *testing.T) {
	const content = "#!/bin/sh\n"
	for name, checksum := range map[string]string{
		"sha256": sha256Of(content), "sha384": fmt.Sprintf("sha384:%x", sha512.Sum384([]byte(content))), "sha512": fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(content))),
	} {
		s := newFileServer(t, content)
		d, notes := newDownloader(t)
		got := requireContent(t, d, s.URL+"/a/install.sh?v=1", checksum, content)
		if got.Name != "install.sh" {
			t.Errorf("%s: name %q", name, got.Name)
		}
		requireContent(t, d, s.URL+"/a/install.sh?v=1", checksum, content)
		requireContent(t, d.again(), s.URL+"/a/install.sh?v=1", checksum, content)
		if got := requireContent(t, d.again(), s.URL+"/from/elsewhere", checksum, content); got.Name != "elsewhere" {
			t.Errorf("%s: name %q", name, got.Name)
		}
		if s.asked() != 1 || len(*notes) > 0 {
			t.Errorf("%s: %d requests, notes %q", name, s.asked(), *notes)
		}
	}
}

func TestDownloadRefusesAnotherContent(t *testing.T) {
	s := newFileServer(t, "evil")
	for name, checksum := range map[string]string{"sha256": sha256Of("good"), "sha512": fmt.Sprintf("sha512:%x", sha512.Sum512([]byte("good")))} {
		d, _ := newDownloader(t)
		_, err := d.Get(t.Context(), amd64, s.URL+"/f", checksum)
		wantText(t, err, s.URL+"/f: ", name+":", checksum, "--checksum")
		requireNothingStored(t, d)
	}
	if s.asked() != 2 {
		t.Errorf("%d requests: a wrong content is no reason to ask again", s.asked())
	}
	d, _ := newDownloader(t)
	for _, bad := range []string{"sha256:abc", "md5:" + strings.Repeat("a", 32), strings.ToUpper(sha256Of("x")), strings.Repeat("a", 64)} {
		_, err := d.Get(t.Context(), amd64, s.URL+"/f", bad)
		wantText(t, err, bad, "64 hexadecimal digits")
	}
}

func TestDownloadWithoutAChecksumAsksWhetherItChanged(t *testing.T) {
	s := newFileServer(t, "one")
	d, notes := newDownloader(t)
	requireContent(t, d, s.URL+"/f", "", "one")
	requireContent(t, d, s.URL+"/f", "", "one")
	if s.asked() != 1 {
		t.Errorf("%d requests in one build", s.asked())
	}
	if len(*notes) == 0 || !strings.Contains((*notes)[0], "--checksum="+sha256Of("one")) {
		t.Errorf("notes %q", *notes)
	}
	requireContent(t, d.again(), s.URL+"/f", "", "one")
	if s.asked() != 2 || s.sent != 3 {
		t.Errorf("%d requests, %d bytes sent: unchanged content came again", s.asked(), s.sent)
	}
	s.set(func() { s.content, s.etag = "two", `"2"` })
	requireContent(t, d.again(), s.URL+"/f", "", "two")
	// A date does as well.
	s.set(func() { s.etag, s.header["Last-Modified"] = "", "Mon, 02 Jan 2006 15:04:05 GMT" })
	requireContent(t, d.again(), s.URL+"/f", "", "two")
	requireContent(t, d.again(), s.URL+"/f", "", "two")
	if got := s.requests[len(s.requests)-1].Get("If-Modified-Since"); got != "Mon, 02 Jan 2006 15:04:05 GMT" {
		t.Errorf("If-Modified-Since: %q", got)
	}
	// A record whose blob is gone is none.
	if err := os.Remove(d.Store.BlobPath(requireContent(t, d.again(), s.URL+"/f", "", "two").Digest)); err != nil {
		t.Fatal(err)
	}
	requireContent(t, d.again(), s.URL+"/f", "", "two")
}

func TestDownloadResumesWhereItBroke(t *testing.T) {
	content := noise(300_000)
	for name, test := range map[string]struct {
		set      func(s *fileServer)
		checksum bool
		most     int // bytes that may be sent
	}{
		"by ETag":                             {func(s *fileServer) {}, false, 300_000},
		"by date":                             {func(s *fileServer) { s.etag = ""; s.header["Last-Modified"] = "Mon, 02 Jan 2006 15:04:05 GMT" }, false, 300_000},
		"by checksum":                         {func(s *fileServer) { s.etag = "" }, true, 300_000},
		"by checksum with a weak ETag":        {func(s *fileServer) { s.etag = `W/"1"` }, true, 300_000},
		"not without anything to tell":        {func(s *fileServer) { s.etag = "" }, false, 600_000},
		"not with a weak ETag":                {func(s *fileServer) { s.etag = `W/"1"` }, false, 600_000},
		"not from a server without ranges":    {func(s *fileServer) { s.noRanges = true }, false, 600_000},
		"not from one without, by a checksum": {func(s *fileServer) { s.noRanges = true }, true, 600_000},
	} {
		s := newFileServer(t, content)
		s.breaks, s.piece = 3, 100_000
		test.set(s)
		d, _ := newDownloader(t)
		var last, total int64
		d.Progress = func(item string, done, all int64) { last, total = done, all }
		checksum := ""
		if test.checksum {
			checksum = sha256Of(content)
		}
		requireContent(t, d, s.URL+"/f", checksum, content)
		// What a broken connection lost on the way cannot be counted: at most that much came twice.
		if s.sent > test.most || test.most > 300_000 && s.sent < test.most {
			t.Errorf("%s: %d bytes sent, want %d", name, s.sent, test.most)
		}
		if last != 300_000 || total != 300_000 {
			t.Errorf("%s: progress ended at %d of %d", name, last, total)
		}
	}
}

// The content is another after the break: pieces of two files never make one.
func TestDownloadStartsOverWhenTheFileChanges(t *testing.T) {
	before, after := noise(200_000), strings.Repeat("changed ", 25_000)
	for name, test := range map[string]struct {
		checksum string
		liar     bool // sends ranges of the new file whatever If-Range says
	}{
		"If-Range tells": {"", false}, "the checksum tells": {sha256Of(after), true}, "the ETag of the part tells": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFileServer(t, before)
			s.breaks, s.piece = 1, 100_000
			d, _ := newDownloader(t)
			d.wait = func(context.Context, time.Duration) error {
				s.set(func() {
					s.content, s.etag = after, `"2"`
					if test.liar {
						s.header["Last-Modified"] = `"1"` // what If-Range has
						if test.checksum != "" {
							s.etag = `"1"`
						}
					}
				})
				return nil
			}
			requireContent(t, d, s.URL+"/f", test.checksum, after)
		})
	}
}

// steps answers each request with the next handler, the last one for ever.
func steps(t *testing.T, handlers ...http.HandlerFunc) *httptest.Server {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[0]
		if len(handlers) > 1 {
			handlers = handlers[1:]
		}
		mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func refuses(status int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
	}
}

// raw answers with bytes as they are.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, answer)
		conn.Close()
	}
}

func aborts(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// breaksOff sends two bytes of a hundred.
func breaksOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, "fi")
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestDownloadRepeatsWhatMaySucceedLater(t *testing.T) {
	for name, first := range map[string][]http.HandlerFunc{
		"503": {refuses(503)}, "502 and 500": {refuses(502), refuses(500)}, "408": {refuses(408)}, "no answer": {aborts, aborts},
		"416 to nothing but a whole": {breaksOff, refuses(416)},
		"a part of something else": {
			breaksOff,
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", "bytes 50-54/100")
				w.WriteHeader(206)
				io.WriteString(w, "wrong")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := steps(t, append(first, says("fine"))...)
			d, _ := newDownloader(t)
			requireContent(t, d, s.URL+"/f", "", "fine")
		})
	}
}

func TestDownloadObeysRetryAfter(t *testing.T) {
	s := steps(t, refuses(429, "Retry-After", "7"), refuses(503, "Retry-After", "86400"),
		refuses(503, "Retry-After", "Mon, 02 Jan 2006 15:04:17 GMT", "Date", "Mon, 02 Jan 2006 15:04:05 GMT"), refuses(503), refuses(503, "Retry-After", "soon"), says("fine"))
	d, _ := newDownloader(t)
	var waited []time.Duration
	d.wait = func(_ context.Context, long time.Duration) error { waited = append(waited, long); return nil }
	requireContent(t, d, s.URL+"/f", "", "fine")
	want := []time.Duration{7 * time.Second, time.Minute, 12 * time.Second, 2 * time.Second, 4 * time.Second}
	if fmt.Sprint(waited) != fmt.Sprint(want) {
		t.Errorf("waited %v, want %v", waited, want)
	}
}

func TestDownloadErrorsSayWhatToDo(t *testing.T) {
	tooShort := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	}
	plain := httptest.NewServer(says("x"))
	t.Cleanup(plain.Close)
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    []string
		most    int
	}{
		"404":         {refuses(404), []string{"404 Not Found", "check the URL"}, 1},
		"403":         {refuses(403), []string{"403 Forbidden", "COPY"}, 1},
		"418":         {refuses(418), []string{"418", "check the URL"}, 1},
		"500":         {refuses(500), []string{"500 Internal Server Error", "try again later"}, 4},
		"501":         {refuses(501), []string{"501"}, 1},
		"304 unasked": {refuses(304), []string{"304"}, 1},
		"206 unasked": {refuses(206, "Content-Range", "bytes 0-1/9"), []string{"bytes 0-1/9"}, 1},
		"too short":   {tooShort, []string{"broken off after 5 bytes", "try again"}, 4},
		"no answer":   {aborts, []string{"EOF", "try again"}, 4},
		"circle":      {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/g", http.StatusFound) }, []string{"redirected more than 10 times", "give the URL"}, 11},
		"to a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, []string{"something else than http"}, 1},
		"no place":     {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(302) }, nil, 1},
		"huge":         {refuses(200, "Content-Length", "4611686018427387904"), []string{"free on", "--root"}, 1},
		"wrong length": {raw("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), []string{"Content-Length", "try again"}, 4},
		"cut chunks":   {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), []string{"broken off after 5 bytes"}, 4},
		"no HTTP":      {raw("SSH-2.0-OpenSSH\r\n"), []string{"malformed HTTP"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s := steps(t, func(w http.ResponseWriter, r *http.Request) { asked++; test.handler(w, r) })
			d, _ := newDownloader(t)
			d.retries = 3
			_, err := d.Get(t.Context(), amd64, s.URL+"/f", "")
			wantText(t, err, append(test.want, s.URL+"/f: ")...)
			s.Close()
			if asked > test.most {
				t.Errorf("%d requests, want at most %d", asked, test.most)
			}
			requireNothingStored(t, d)
		})
	}
	d, _ := newDownloader(t)
	d.retries = -1
	_, err := d.Get(t.Context(), amd64, "https"+strings.TrimPrefix(plain.URL, "http")+"/f", "")
	wantText(t, err, "speaks no https")
	plain.Close()
	_, err = d.Get(t.Context(), amd64, plain.URL+"/f", "")
	wantText(t, err, "cannot be reached", "check the URL, the network")
}

func TestDownloadReadsOnlyWebAddresses(t *testing.T) {
	d, _ := newDownloader(t)
	for source, want := range map[string]string{
		"git@github.com:x/y.git":            "git repositories",
		"git://example.com/x":               "git repositories",
		"ssh://git@example.com/x":           "git repositories",
		"https://u:hunter2@x.org/y.git":     "git repositories",
		"https://x.org/y.git#v1:dir":        "git repositories",
		"github.com/x/y#main":               "git repositories",
		"ftp://example.com/f":               "http and https only",
		"s3://bucket/f":                     "http and https only",
		"file:///etc/passwd":                "http and https only",
		"https:///f":                        "no host",
		"https://u:hunter2@exa mple/f":      "not a URL",
		"https://u:hunter2@example.com/%zz": "not a URL",
		"https://example.com/\xff":          "UTF-8",
	} {
		_, err := d.Get(t.Context(), amd64, source, "")
		wantText(t, err, want)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", source, err)
		}
	}
	for source, want := range map[string]bool{
		"https://x/y": true, "http://x": true, "ftp://x": true, "git@x:y": true, "github.com/x/y#v1": true, "github.com/x/y.git": true,
		"a": false, "a/b.git": false, "a#b": false, "github.com/x": false, "./a://b": false, "dir/a://b": false, "": false, "://x": false,
	} {
		if got := IsAddress(source); got != want {
			t.Errorf("IsAddress(%q) = %v", source, got)
		}
	}
}

func TestDownloadNamesFiles(t *testing.T) {
	for name, test := range map[string]struct{ path, disposition, want string }{
		"the path":           {"/a/b.tgz?x=/c", "", "b.tgz"},
		"a slash at the end": {"/a/b/", "", "b"},
		"escaped":            {"/a/b%20c%2fd", "", "d"},
		"the path first":     {"/b", `attachment; filename="other"`, "b"},
		"the header":         {"/", `attachment; filename="tool.sh"`, "tool.sh"},
		"the header, UTF-8":  {"", `attachment; filename*=UTF-8''na%C3%AFve`, "naïve"},
		"a directory":        {"/", `attachment; filename="../../etc/passwd"`, "passwd"},
		"a directory of DOS": {"/", `attachment; filename="C:\\x\\y"`, "y"},
		"parent":             {"/", `attachment; filename=".."`, ""},
		"whiteout":           {"/.wh.bin", "", ""},
		"rubbish":            {"/", `;;;`, ""},
		"nothing":            {"/", ``, ""},
		"too long":           {"/" + strings.Repeat("x", 256), ``, ""},
		"a line":             {"/a%0ab", ``, ""},
	} {
		s := newFileServer(t, "x")
		s.header["Content-Disposition"] = test.disposition
		d, _ := newDownloader(t)
		if got := requireContent(t, d, s.URL+test.path, "", "x"); got.Name != test.want {
			t.Errorf("%s: %q, want %q", name, got.Name, test.want)
		}
		if got := requireContent(t, d.again(), s.URL+test.path, sha256Of("x"), "x"); got.Name != test.want || s.asked() != 1 {
			t.Errorf("%s: from the store %q, want %q; %d requests", name, got.Name, test.want, s.asked())
		}
	}
}

func TestDownloadKeepsCredentialsToItself(t *testing.T) {
	other := newFileServer(t, "x")
	var got []string
	s := steps(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got = append(got, r.URL.Path+" "+user+":"+password)
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/f?signature=hunter3", http.StatusFound)
		case "/inside":
			http.Redirect(w, r, "/f", http.StatusFound)
		case "/missing":
			w.WriteHeader(404)
		case "/gone":
			http.Redirect(w, r, "http://localhost:1/f?signature=hunter3", http.StatusFound)
		default:
			io.WriteString(w, "x")
		}
	})
	with := strings.Replace(s.URL, "http://", "http://token:hunter2@", 1)
	d, notes := newDownloader(t)
	d.retries, d.Lock = -1, &Lock{}
	var items []string
	d.Progress = func(item string, _, _ int64) { items = append(items, item) }
	requireContent(t, d, with+"/away", "", "x")
	if auth := other.requests[0].Get("Authorization"); auth != "" {
		t.Errorf("another server got %q", auth)
	}
	requireContent(t, d, with+"/inside", "", "x")
	requireContent(t, d, with+"/", "", "x")
	_, missing := d.Get(t.Context(), amd64, with+"/missing", "")
	_, gone := d.Get(t.Context(), amd64, with+"/gone", "")
	wantText(t, missing, s.URL+"/missing: 404")
	wantText(t, gone, s.URL+"/gone: ", "cannot be reached")
	want := "[/away token:hunter2 /inside token:hunter2 /f token:hunter2 / token:hunter2 /missing token:hunter2 /gone token:hunter2]"
	if fmt.Sprint(got) != want {
		t.Errorf("asked %v, want %s", got, want)
	}
	told := fmt.Sprint(missing, gone, *notes, items, string(d.Lock.Format()))
	filepath.WalkDir(filepath.Join(d.Store.Root(), "cache"), func(p string, e os.DirEntry, err error) error {
		data, _ := os.ReadFile(p)
		told += string(data)
		return nil
	})
	for _, secret := range []string{"hunter2", "hunter3", "token"} {
		if strings.Contains(told, secret) {
			t.Errorf("%s is shown:\n%s", secret, told)
		}
	}
}

func TestDownloadTrustsOnlyWhatItIsTold(t *testing.T) {
	s := httptest.NewUnstartedServer(says("private"))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it says that nobody trusts it
	s.StartTLS()
	t.Cleanup(s.Close)
	d, _ := newDownloader(t)
	_, err := d.Get(t.Context(), amd64, s.URL+"/f", "")
	wantText(t, err, "certificate is not trusted", "--ca-file")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	if d.Client, err = NewClient(ca, nil); err != nil {
		t.Fatal(err)
	}
	requireContent(t, d, s.URL+"/f", "", "private")
	_, err = NewClient(filepath.Join(t.TempDir(), "missing"), nil)
	wantText(t, err, "--ca-file", "no such file")
	os.WriteFile(ca, []byte("not PEM"), 0o644)
	_, err = NewClient(ca, nil)
	wantText(t, err, "--ca-file "+ca, "no PEM certificate")
}

func TestDownloadRefusesToLeaveTLS(t *testing.T) {
	plain := newFileServer(t, "x")
	s := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/f", http.StatusFound))
	t.Cleanup(s.Close)
	d, _ := newDownloader(t)
	d.Client.Transport.(*http.Transport).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
	_, err := d.Get(t.Context(), amd64, s.URL+"/f", "")
	wantText(t, err, "from https to plain http")
	if plain.asked() > 0 {
		t.Error("the plain server was asked")
	}
}

func TestDownloadKeepsNoCookies(t *testing.T) {
	s := newFileServer(t, "x")
	s.header["Set-Cookie"] = "a=b"
	d, _ := newDownloader(t)
	requireContent(t, d, s.URL+"/f", "", "x")
	requireContent(t, d, s.URL+"/g", "", "x")
	if c := s.requests[1].Get("Cookie"); c != "" {
		t.Errorf("cookie %q", c)
	}
}

func TestDownloadUsesTheProxyOfTheVariables(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		io.WriteString(w, "by proxy")
	}))
	t.Cleanup(proxy.Close)
	variables := map[string]string{"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": proxy.URL, "NO_PROXY": "direct.invalid"}
	client, err := NewClient("", ProxyOf(func(name string) string { return variables[name] }))
	if err != nil {
		t.Fatal(err)
	}
	d, _ := newDownloader(t)
	d.Client, d.retries = client, -1
	requireContent(t, d, "http://files.invalid/f", "", "by proxy")
	if fmt.Sprint(asked) != "[http://files.invalid/f]" {
		t.Errorf("the proxy was asked for %v", asked)
	}
	u, err := ProxyOf(func(name string) string { return variables[name] })(&http.Request{URL: &url.URL{Scheme: "http", Host: "direct.invalid"}})
	if u != nil || err != nil {
		t.Errorf("NO_PROXY: %v, %v", u, err)
	}
}

func TestDownloadStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	hang := make(chan struct{})
	s := steps(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		cancel(stop)
		<-hang
	})
	t.Cleanup(func() { close(hang) })
	d, _ := newDownloader(t)
	if _, err := d.Get(ctx, amd64, s.URL+"/f", ""); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	requireNothingStored(t, d)
	// Somebody else at work on the same file is not waited for either.
	d.urls[s.URL+"/f"].busy <- struct{}{}
	if _, err := d.Get(ctx, amd64, s.URL+"/f", ""); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

func TestDownloadGivesUpOnASilentServer(t *testing.T) {
	hang := make(chan struct{})
	s := steps(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		<-hang
	})
	t.Cleanup(func() { close(hang) })
	d, _ := newDownloader(t)
	d.retries, d.stall = 1, time.Millisecond
	_, err := d.Get(t.Context(), amd64, s.URL+"/f", "")
	wantText(t, err, "sent nothing for too long", "try again")
}

func TestDownloadsAtOnceAskOnce(t *testing.T) {
	s := newFileServer(t, "x")
	d, _ := newDownloader(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := d.Get(t.Context(), amd64, s.URL+"/f", ""); err != nil || got.Digest.String() != sha256Of("x") {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if s.asked() != 1 {
		t.Errorf("%d requests", s.asked())
	}
}

func TestDownloadIsRecordedInTheLockAndFrozenByIt(t *testing.T) {
	s := newFileServer(t, "one")
	s.header["Content-Disposition"] = `attachment; filename="tool"`
	d, notes := newDownloader(t)
	d.Lock = &Lock{}
	requireContent(t, d, s.URL+"/?q=1", "", "one")
	locked, ok := d.Lock.file(amd64, parsedURL(t, s.URL+"/?q=1"))
	if !ok || string(locked.Digest) != sha256Of("one") || locked.Size != 3 || locked.Name != "tool" || len(*notes) != 1 {
		t.Errorf("%v %v, notes %q", locked, ok, *notes)
	}
	later := d.again()
	later.Frozen = true
	if got := requireContent(t, later, s.URL+"/?q=1", "", "one"); got.Name != "tool" || s.asked() != 1 || len(*notes) != 1 {
		t.Errorf("from the lock: %q, %d requests, notes %q", got.Name, s.asked(), *notes)
	}
	_, err := later.Get(t.Context(), amd64, s.URL+"/other", sha256Of("one"))
	wantText(t, err, s.URL+"/other is not in Kubefile.lock for linux/amd64", "`sealrt build --lock`")
	_, err = later.Get(t.Context(), amd64, s.URL+"/?q=1", sha256Of("two"))
	wantText(t, err, "--checksum is "+sha256Of("two"), "Kubefile.lock has "+sha256Of("one"))
	if s.asked() != 1 {
		t.Errorf("%d requests", s.asked())
	}
	// Another store, and a server that has something else now.
	elsewhere, _ := newDownloader(t)
	elsewhere.Lock, elsewhere.Frozen = d.Lock, true
	s.set(func() { s.content, s.header["Content-Disposition"] = "two", `attachment; filename="renamed"` })
	_, err = elsewhere.Get(t.Context(), amd64, s.URL+"/?q=1", "")
	wantText(t, err, "Kubefile.lock says "+sha256Of("one"), sha256Of("two"), "`sealrt build --lock`")
	requireNothingStored(t, elsewhere)
	s.set(func() { s.content = "one" })
	if got := requireContent(t, elsewhere, s.URL+"/?q=1", "", "one"); got.Name != "tool" {
		t.Errorf("the name of the lock lost: %q", got.Name)
	}
	// A checksum that the Kubefile has now is newer than the lock, unless that is frozen.
	s.set(func() { s.content = "two" })
	update := d.again()
	requireContent(t, update, s.URL+"/?q=1", sha256Of("two"), "two")
	if locked, _ := d.Lock.file(amd64, parsedURL(t, s.URL+"/?q=1")); string(locked.Digest) != sha256Of("two") {
		t.Errorf("locked %v", locked)
	}
	none := d.again()
	none.Lock, none.Frozen = nil, true
	_, err = none.Get(t.Context(), amd64, s.URL+"/x", "")
	wantText(t, err, "is not in Kubefile.lock")
}
