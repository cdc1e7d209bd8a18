package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/sandbox"
)

func TestMain(m *testing.M) {
	if handled, code := sandbox.Main(); handled {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){"sealrt": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"requests": requests,
			"image":    pushImage,
			"hold":     hold,
			"sign":     signImage,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "sandbox" { // where RUN surely works
				_, err := os.Stat("/proc/self/ns/mnt")
				return os.Geteuid() == 0 && err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// setup gives a script a home, a store and registries of its own.
func setup(env *testscript.Env) error {
	plain, locked := newCounter(""), newCounter("me:secret")
	for variable, c := range map[string]*counter{"REGISTRY": plain, "LOCKED": locked} {
		server := httptest.NewServer(c)
		env.Defer(server.Close)
		env.Setenv(variable, strings.TrimPrefix(server.URL, "http://"))
	}
	env.Values["registry"] = plain
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("SEALRT_ROOT", filepath.Join(env.WorkDir, ".store"))
	for _, variable := range []string{"SOURCE_DATE_EPOCH", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF"} {
		env.Setenv(variable, "")
	}
	return nil
}

// hold makes the store busy for the rest of the script.
func hold(ts *testscript.TestScript, _ bool, _ []string) {
	store, err := store.Open(ts.Getenv("SEALRT_ROOT"))
	ts.Check(err)
	release, err := store.Hold(context.Background())
	ts.Check(err)
	ts.Defer(func() { ts.Check(errors.Join(release(), store.Close())) })
}

// counter is a registry in this process that counts requests by method. A
// login, user:password, may be needed for it.
type counter struct {
	handler http.Handler
	login   string

	mu    sync.Mutex
	count map[string]int
}

func newCounter(login string) *counter {
	return &counter{handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))), login: login, count: map[string]int{}}
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v2/" { // the question whether this is a registry
		method := r.Method
		if strings.Contains(r.URL.Path, "/referrers/") || strings.HasSuffix(r.URL.Path, "/tags/list") { // for signatures
			method = "LIST"
		}
		c.mu.Lock()
		c.count[method]++
		c.mu.Unlock()
	}
	if user, secret, _ := r.BasicAuth(); c.login != "" && user+":"+secret != c.login {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c.handler.ServeHTTP(w, r)
}

// requests METHOD... succeeds when the registry had such requests since the
// last call; all counts start again.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	c := ts.Value("registry").(*counter)
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, method := range args {
		sum += c.count[method]
	}
	counts := fmt.Sprint(c.count)
	clear(c.count)
	if (sum > 0) == neg {
		ts.Fatalf("requests of the registry: %s", counts)
	}
}

// pushImage NAME puts a container image for this platform into the registry.
func pushImage(ts *testscript.TestScript, neg bool, args []string) {
	img, err := random.Image(1<<20, 2)
	ts.Check(err)
	config, err := img.ConfigFile()
	ts.Check(err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	ts.Check(err)
	ref, err := name.ParseReference(ts.Getenv("REGISTRY") + "/" + args[0])
	ts.Check(err)
	ts.Check(remote.Write(ref, img))
}
