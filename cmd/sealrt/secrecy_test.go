package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What must never be seen. Each has the same word in it, so that one look finds them all.
const (
	canary         = "canary"
	canaryPassword = "canary-password/+"
	canaryToken    = "canary-token"
	canaryRefresh  = "canary-refresh"
	canaryStorage  = "canary-signature"
	canaryProxy    = "canary-proxy"
	canarySecret   = "canary-secret"
)

// TestNoSecretIsShown runs commands against registries that refuse, break off, send elsewhere and repeat what they are
// told, and looks for what nobody may see in all that is written and in the arguments of all processes.
func TestNoSecretIsShown(t *testing.T) {
	for name, behave := range map[string]func(s *suspect, w http.ResponseWriter, r *http.Request){
		"it works":                                  nil,
		"refuses and repeats what it was told":      func(s *suspect, w http.ResponseWriter, r *http.Request) { repeat(w, r, http.StatusForbidden) },
		"wants other credentials":                   wantBasic,
		"slow: breaks and repeats what it was told": func(s *suspect, w http.ResponseWriter, r *http.Request) { repeat(w, r, http.StatusBadGateway) },
		"slow: asks for patience":                   func(s *suspect, w http.ResponseWriter, r *http.Request) { repeat(w, r, http.StatusTooManyRequests) },
		"sends to a storage that refuses":           sendTo("storage"),
		"slow: sends to nowhere":                    sendTo("nowhere"),
		"sends to what is no address":               sendTo("nonsense"),
		"breaks off":                                breakOff,
		"a token that is refused":                   wantToken("/token"),
		"an answer without a token":                 wantToken("/none"),
		"an answer that is no JSON":                 wantToken("/garbage"),
		"no token for these credentials":            wantToken("/refused"),
		"slow: a token server with a password":      wantToken("/userinfo"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			s := newSuspect(t, behave)
			s.login(t)
			image := s.host + "/team/app:1"
			s.run(t, "", "build", "--retry", "0", "-t", image, s.path("context"))
			s.run(t, "", "push", "--retry", "0", image)
			s.run(t, "", "--root", s.path("other"), "pull", "--retry", "0", image)
			if !strings.HasPrefix(name, "slow: ") { // builds are more patient
				s.run(t, "", "build", "--retry", "0", "--push", "-t", s.host+"/team/app:2", s.path("context"))
				s.run(t, "", "--root", s.path("third"), "build", "--retry", "0", "--cache-from", s.host+"/team/cache:1", "--cache-to", s.host+"/team/cache:1", s.path("from"))
				s.run(t, "", "image", "list", image)
			}
			s.run(t, "", "logout", s.host)
			s.search(t)
		})
	}
}

// A password in an address is a mistake that must not end in a log.
func TestNoSecretOfTheCommandLineIsRepeated(t *testing.T) {
	s := newSuspect(t, nil)
	s.tolerate = func(argv []string) bool { return true } // who writes it there shows it
	for _, args := range [][]string{
		{"login", "-u", "me", "--password-stdin", "https://me:" + canaryPassword + "@" + s.host},
		{"login", "-u", "me", "--password-stdin", "me:" + canaryPassword + "@" + s.host},
		{"logout", "https://me:" + canaryToken + "@" + s.host},
		{"pull", "https://me:" + canaryToken + "@" + s.host + "/app:1"},
		{"pull", "me:" + canaryToken + "@" + s.host + "/app:1"},
		{"push", "app:1", "me:" + canaryToken + "@" + s.host + "/app:1"},
		{"build", "--secret", canarySecret, s.path("context")},
		{"build", "https://me:" + canarySecret + "@" + s.host + "/x.git"},
		{"build", "-t", "https://me:" + canarySecret + "@" + s.host + "/x", s.path("context")},
		{"image", "list", "--image-source", "docker://me:" + canarySecret + "@" + s.host, s.path("context")},
	} {
		s.run(t, "password\n", args...)
	}
	s.search(t)
}

// Proxies that need a password have it in their variable.
func TestNoSecretOfAProxyIsShown(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { repeat(w, r, http.StatusProxyAuthRequired) }))
	t.Cleanup(refusing.Close)
	for name, proxy := range map[string]string{
		"refuses":      "http://me:" + canaryProxy + "@" + strings.TrimPrefix(refusing.URL, "http://"),
		"is not there": "http://me:" + canaryProxy + "@127.0.0.1:1",
		"is no URL":    "http://me:" + canaryProxy + "@%zz:1",
		"has a scheme": "ftp://me:" + canaryProxy + "@127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			s := newSuspect(t, nil)
			s.env = append(s.env, "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy, "http_proxy="+proxy, "https_proxy="+proxy)
			s.run(t, "", "pull", "--retry", "0", "registry.invalid/app:1")
			s.run(t, "", "pull", "--retry", "0", "--plain-http", "registry.invalid/app:1")
			s.run(t, "p", "login", "--retry", "0", "-u", "me", "--password-stdin", "registry.invalid")
			if name == "refuses" || name == "is no URL" { // ADD is patient with others
				s.run(t, "", "build", "--retry", "0", s.path("remote"))
			}
			s.run(t, "", "build", "--retry", "0", "--build-arg", "HTTP_PROXY", "-t", "app:1", s.path("context"))
			s.run(t, "", "save", "-o", s.path("app.tar"), "app:1")
			s.search(t)
		})
	}
}

// What a build is given to know only while it runs is nowhere afterwards.
func TestNoSecretOfABuildIsKept(t *testing.T) {
	s := newSuspect(t, nil)
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/file?X-Signature="+canaryStorage, http.StatusFound)
			return
		}
		if r.URL.Path == "/refused" {
			repeat(w, r, http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "content")
	}))
	t.Cleanup(remote.Close)
	host := strings.TrimPrefix(remote.URL, "http://")
	s.env = append(s.env, "TOKEN="+canarySecret)
	for name, line := range map[string]string{
		"userinfo": "ADD http://me:" + url.QueryEscape(canaryPassword) + "@" + host + "/file etc/",
		"moved":    "ADD http://me:" + url.QueryEscape(canaryPassword) + "@" + host + "/moved etc/file",
		"refused":  "ADD http://me:" + url.QueryEscape(canaryPassword) + "@" + host + "/refused etc/file",
		"checksum": "ADD --checksum=sha256:" + strings.Repeat("0", 64) + " http://me:" + canaryPassword + "@" + host + "/file etc/file",
		"nourl":    "ADD http://me:" + canaryPassword + "@" + host + "/file etc/",
	} {
		write(t, s.path("input-"+name+"/Kubefile"), "FROM scratch\n"+line+"\n")
		s.run(t, "", "build", "--compression", "none", "--retry", "0", "-t", name+":1", s.path("input-"+name))
		s.run(t, "", "build", "--compression", "none", "--retry", "0", "--lock", s.path("lock-"+name), s.path("input-"+name))
		s.run(t, "", "history", name+":1")
		s.run(t, "", "inspect", name+":1")
	}
	if os.Geteuid() == 0 {
		write(t, s.path("input-run/Kubefile"), "FROM scratch\nRUN --mount=type=secret,id=t --mount=type=secret,id=t,env=T test -s /run/secrets/t && test -n \"$T\" && cat /proc/[0-9]*/cmdline && echo yes > made\n"+
			"RUN --mount=type=secret,id=t,env=T cp nothere \"x$T\" 2>/dev/null\n")
		s.run(t, "", "build", "--compression", "none", "--secret", "id=t,env=TOKEN", s.path("input-run"))
		write(t, s.path("secret"), canarySecret)
		s.run(t, "", "build", "--compression", "none", "--no-cache", "--secret", "id=t,src="+s.path("secret"), s.path("input-run"))
	}
	s.search(t)
}

// suspect is somebody with secrets and a registry that is after them.
type suspect struct {
	dir, host, storage string
	env                []string
	tolerate           func(argv []string) bool // processes whose arguments do not count
}

func newSuspect(t *testing.T, behave func(*suspect, http.ResponseWriter, *http.Request)) *suspect {
	t.Helper()
	s := &suspect{dir: t.TempDir()}
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { repeat(w, r, http.StatusForbidden) }))
	t.Cleanup(storage.Close)
	s.storage = strings.TrimPrefix(storage.URL, "http://")
	plain := newCounter("me:" + canaryPassword)
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/token-") {
			giveToken(w, r)
			return
		}
		_, stored := os.Stat(s.path("home/.docker/config.json"))
		if behave == nil || stored != nil && r.URL.Path == "/v2/" { // let in first
			plain.ServeHTTP(w, r)
			return
		}
		behave(s, w, r)
	}))
	t.Cleanup(registry.Close)
	s.host = strings.TrimPrefix(registry.URL, "http://")
	s.env = append(os.Environ(), "HOME="+s.path("home"), "SEALRT_ROOT="+s.path("store"), "TMPDIR="+s.path("tmp"))
	for _, v := range []string{"SOURCE_DATE_EPOCH", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		s.env = append(s.env, v+"=")
	}
	write(t, s.path("context/Kubefile"), "FROM scratch\nCOPY bin bin\nCOPY manifests manifests\n")
	write(t, s.path("context/bin/k3s"), "the program")
	write(t, s.path("context/manifests/imageList"), s.host+"/team/inner:1\n")
	write(t, s.path("from/Kubefile"), "FROM "+s.host+"/team/app:1\nCOPY Kubefile etc/\n")
	write(t, s.path("remote/Kubefile"), "FROM scratch\nADD http://files.invalid/file etc/\n")
	write(t, s.path("tmp/x"), "")
	return s
}

func (s *suspect) path(name string) string { return filepath.Join(s.dir, name) }

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// login stores the password, which a registry that was let in first accepted.
func (s *suspect) login(t *testing.T) {
	t.Helper()
	s.run(t, "canary-wrong", "login", "--retry", "0", "-u", "me", "--password-stdin", s.host)
	s.run(t, canaryPassword+"\n", "login", "--retry", "0", "-u", "me", "--password-stdin", s.host)
	if _, err := os.Stat(s.path("home/.docker/config.json")); err != nil {
		t.Fatalf("nothing is stored, so nothing can be shown: %v", err)
	}
}

// run runs a command twice, once telling much and once as JSON, and looks at what it says and at all processes.
func (s *suspect) run(t *testing.T, stdin string, args ...string) {
	t.Helper()
	for _, how := range []string{"-v", "--progress=json"} {
		cmd := exec.Command("sealrt", append([]string{how}, args...)...)
		cmd.Env, cmd.Dir, cmd.Stdin = s.env, s.dir, strings.NewReader(stdin)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		seen := make(chan string, 1)
		go func() { seen <- watch(done) }()
		err := cmd.Wait()
		close(done)
		if argv := <-seen; argv != "" && (s.tolerate == nil || !s.tolerate(cmd.Args)) {
			t.Errorf("%s: a process is called %q", args[0], argv)
		}
		t.Logf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, &out)
		if what := shows(out.Bytes()); what != "" {
			t.Errorf("%s %s shows %q", args[0], how, what)
		}
	}
}

// watch looks at the arguments of all processes until done, and returns the first with a secret.
func watch(done <-chan struct{}) string {
	for {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil || len(all) == 0 {
			return ""
		}
		for _, name := range all {
			argv, err := os.ReadFile(name)
			if err == nil && shows(argv) != "" && bytes.Contains(argv, []byte("sealrt")) {
				return string(bytes.ReplaceAll(argv, []byte{0}, []byte(" ")))
			}
		}
		select {
		case <-done:
			return ""
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// shows returns the line of text that has a secret in it, plain, as part of a URL or in base64, or "".
func shows(text []byte) string {
	forms := []string{canary, url.QueryEscape(canaryPassword), base64.StdEncoding.EncodeToString([]byte("me:" + canaryPassword)), base64.StdEncoding.EncodeToString([]byte("me:" + canaryProxy))}
	for line := range bytes.Lines(text) {
		for _, f := range forms {
			if bytes.Contains(line, []byte(f)) {
				return string(line)
			}
		}
	}
	return ""
}

// search looks through all files but those that the user wrote, and the one for credentials.
func (s *suspect) search(t *testing.T) {
	t.Helper()
	looked := 0
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(s.dir, path)
		if !d.Type().IsRegular() || name == "home/.docker/config.json" || name == "secret" || strings.HasPrefix(name, "input-") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		looked++
		if what := shows(content); what != "" {
			t.Errorf("%s has %.300q", name, what)
		}
		return nil
	})
	if err != nil || looked == 0 {
		t.Errorf("%d files: %v", looked, err)
	}
}

// repeat answers with all that was asked.
func repeat(w http.ResponseWriter, r *http.Request, status int) {
	user, secret, _ := r.BasicAuth()
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s %s: Authorization: %s; user %s, password %s (%s)\n", r.Method, r.URL, r.Header.Get("Authorization"), user, secret, url.QueryEscape(secret))
}

func wantBasic(_ *suspect, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	repeat(w, r, http.StatusUnauthorized)
}

// sendTo redirects blobs, and uploads, to somewhere else.
func sendTo(where string) func(*suspect, http.ResponseWriter, *http.Request) {
	return func(s *suspect, w http.ResponseWriter, r *http.Request) {
		target := map[string]string{
			"storage":  "http://store:" + canaryStorage + "@" + s.storage + "/x?X-Signature=" + canaryStorage,
			"nowhere":  "http://store:" + canaryStorage + "@127.0.0.1:1/x?X-Signature=" + canaryStorage,
			"nonsense": "http://store:" + canaryStorage + "@ho st/x?X-Signature=" + canaryStorage,
		}[where]
		switch {
		case r.URL.Path == "/v2/":
			wantNothing(w)
		case r.Method == http.MethodPost:
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut || r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
}

func wantNothing(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }

// breakOff ends in the middle of an answer.
func breakOff(_ *suspect, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprintf(w, "%s", r.Header.Get("Authorization"))
}

// wantToken sends to a token server that is at that path.
func wantToken(path string) func(*suspect, http.ResponseWriter, *http.Request) {
	return func(s *suspect, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+canaryToken && r.URL.Path != "/v2/" {
			repeat(w, r, http.StatusForbidden)
			return
		}
		realm := "http://" + s.host + strings.Replace(path, "/", "/token-", 1)
		if path == "/userinfo" {
			realm = "http://x:" + canaryRefresh + "@127.0.0.1:1/token-none?key=" + canaryRefresh
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"test\"", realm))
		repeat(w, r, http.StatusUnauthorized)
	}
}

func giveToken(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/token-token":
		fmt.Fprintf(w, `{"token":%q,"refresh_token":%q}`, canaryToken, canaryRefresh)
	case "/token-none":
		fmt.Fprintf(w, `{"refresh_token":%q}`, canaryRefresh)
	case "/token-garbage":
		fmt.Fprintf(w, `{"token":%q,%s`, canaryToken, canaryRefresh)
	default:
		repeat(w, r, http.StatusUnauthorized)
	}
}
