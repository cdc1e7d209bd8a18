//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// What the siege of a store is made of.
const (
	siegeKills   = 100 // commands ended with SIGKILL
	siegeWorkers = 3   // commands at once
	siegeWaves   = 5   // between two of them the store is looked at
	chunkPause   = 2 * time.Millisecond
	chunkSize    = 128 << 10
)

// siege is a store that commands are killed in.
type siege struct {
	t       *testing.T
	dir     string
	program string
	host    string            // of the registry
	digests map[string]string // by image
	kills   atomic.Int64
	runs    atomic.Int64

	mu    sync.Mutex
	usual map[string]time.Duration // how long a verb takes
	ends  map[string]int           // verbs that were killed
}

// slowRegistry sends blobs in pieces with pauses, so that there is a middle to be killed in.
func slowRegistry(t *testing.T) string {
	t.Helper()
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w = slowWriter{w}
		}
		inner.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

type slowWriter struct{ http.ResponseWriter }

func (w slowWriter) Write(p []byte) (n int, err error) {
	for chunk := range slices.Chunk(p, chunkSize) {
		if len(chunk) == chunkSize {
			time.Sleep(chunkPause) // this is the line's speed, nobody waits for anything
		}
		m, err := w.ResponseWriter.Write(chunk)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func newSiege(t *testing.T) *siege {
	t.Helper()
	s := &siege{t: t, dir: t.TempDir(), host: slowRegistry(t), digests: map[string]string{}, usual: map[string]time.Duration{}, ends: map[string]int{}}
	s.program = filepath.Join(s.dir, "sealrt")
	build := exec.Command("go", "build", "-trimpath", "-o", s.program, "../cmd/sealrt")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	kubefile := "FROM scratch\nCOPY a a\nCOPY b b\nCOPY NAME c\n"
	for _, name := range []string{"v1", "v2"} {
		s.context(name, strings.ReplaceAll(kubefile, "NAME", name))
		s.must("source", "build", "-q", "-t", s.ref(name), s.path("context-"+name))
		s.digests[name] = strings.TrimSpace(s.must("source", "push", "-q", s.ref(name)))
	}
	s.must("source", "save", "-q", s.ref("v1"), "-o", s.path("v1.tar"))
	run := ""
	if os.Geteuid() == 0 {
		run = "RUN seq 1 50000 > numbers\n"
	}
	s.context("built", strings.ReplaceAll(kubefile, "NAME", "built")+run)
	s.digests["built"] = strings.TrimSpace(s.must("source", "build", "-q", s.path("context-built")))
	return s
}

// context makes a directory to build, in which a and b are the same as in every other.
func (s *siege) context(name, kubefile string) {
	s.t.Helper()
	dir := s.path("context-" + name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	writeFile(s.t, filepath.Join(dir, "Kubefile"), kubefile)
	for file, seed := range map[string]byte{"a": 1, "b": 2, name: byte(len(name) + int(name[1]))} {
		noise := make([]byte, 5<<20)
		rand.NewChaCha8([32]byte{seed}).Read(noise)
		writeFile(s.t, filepath.Join(dir, file), string(noise))
	}
}

func (s *siege) path(name string) string { return filepath.Join(s.dir, name) }

func (s *siege) ref(name string) string { return s.host + "/k3s:" + name }

// command prepares sealrt for a store.
func (s *siege) command(ctx context.Context, store string, args ...string) (*exec.Cmd, *strings.Builder) {
	cmd := exec.CommandContext(ctx, s.program, append(args, "--root", s.path(store))...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir)
	var story strings.Builder
	cmd.Stderr = &story
	return cmd, &story
}

// must runs a command to its end and returns its stdout.
func (s *siege) must(store string, args ...string) string {
	s.t.Helper()
	cmd, story := s.command(s.t.Context(), store, args...)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("sealrt %s: %v: %s%s", strings.Join(args, " "), err, story, out)
	}
	return string(out)
}

// orders are the command lines that meet in the store. Each may fail with the words beside it, as others do their work
// at the same time.
func (s *siege) orders(r *rand.Rand) (args []string, may []string) {
	names := []string{s.ref("v1"), s.ref("v2"), "built:1", "built:2", "tagged:1"}
	name := names[r.IntN(len(names))]
	number := strconv.Itoa(1 + r.IntN(2))
	build := []string{"build", "-q", "-t", "built:" + number, s.path("context-built")}
	if r.IntN(2) == 0 {
		build = append(build, "--no-cache")
	}
	lists := []struct {
		args, may []string
	}{
		{[]string{"pull", "-q", s.ref("v" + number)}, nil},
		{[]string{"load", "-q", s.path("v1.tar")}, nil},
		{build, nil},
		{build, nil},
		{[]string{"tag", name, "tagged:1"}, []string{"lists what is there"}},
		{[]string{"rmi", "-q", name}, []string{"lists what is there"}},
		{[]string{"rmi", "-q", name}, []string{"lists what is there"}},
		{[]string{"prune", "-q"}, []string{"busy"}},
		{[]string{"prune", "-q", "--cache"}, []string{"busy"}},
		{[]string{"verify-store", "-q"}, nil},
		{[]string{"save", "-q", name, "-o", s.path("saved-" + strconv.FormatInt(s.runs.Add(1), 10) + ".tar")}, []string{"lists what is there"}},
	}
	pick := lists[r.IntN(len(lists))]
	return pick.args, pick.may
}

// storm runs orders until enough of them were killed, each after a moment in the time that its verb takes.
func (s *siege) storm(seed uint64, until int64) {
	var wg sync.WaitGroup
	for worker := range siegeWorkers {
		r := rand.New(rand.NewPCG(seed, uint64(worker)))
		wg.Go(func() {
			for s.kills.Load() < until && !s.t.Failed() {
				args, may := s.orders(r)
				s.strike(r, args, may)
			}
		})
	}
	wg.Wait()
}

// strike runs one command and kills it, if it does not end before.
func (s *siege) strike(r *rand.Rand, args, may []string) {
	s.mu.Lock()
	usual := s.usual[args[0]]
	s.mu.Unlock()
	if usual == 0 {
		usual = 200 * time.Millisecond
	}
	moment := time.Duration(r.Float64() * float64(usual) * 1.1)
	if r.IntN(2) == 0 {
		moment = time.Minute // what others do is to meet commands that end, too
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), moment)
	defer cancel()
	began := time.Now()
	cmd, story := s.command(ctx, "store", args...)
	out, err := cmd.Output()
	if cmd.ProcessState == nil { // the time was up before it began
		return
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status.Signaled():
		s.kills.Add(1)
		s.ends[args[0]]++
	case cmd.ProcessState.Success(): // perhaps when its time was up
		s.usual[args[0]] = (usual + time.Since(began)) / 2
	case !slices.ContainsFunc(may, func(words string) bool { return strings.Contains(story.String(), words) }):
		s.t.Errorf("sealrt %s: %v: %s%s", strings.Join(args, " "), err, story, out)
	}
	if args[0] == "save" {
		os.Remove(args[len(args)-1])
	}
}

// sound looks whether the store is in order and does what is asked of it.
func (s *siege) sound() {
	s.t.Helper()
	var v struct{ Problems []struct{ Kind, What string } }
	if err := json.Unmarshal([]byte(s.must("store", "verify-store", "-q", "-o", "json")), &v); err != nil || len(v.Problems) != 0 {
		s.t.Errorf("verify-store: %+v, %v", v, err)
	}
	for _, name := range []string{"v1", "v2"} {
		if got := strings.TrimSpace(s.must("store", "pull", "-q", s.ref(name))); got != s.digests[name] {
			s.t.Errorf("pull %s: %s, want %s", name, got, s.digests[name])
		}
	}
	if got := strings.TrimSpace(s.must("store", "build", "-q", s.path("context-built"))); got != s.digests["built"] {
		s.t.Errorf("build: %s, want %s", got, s.digests["built"])
	}
	archive := s.path("sound.tar")
	s.must("store", "save", "-q", s.ref("v1"), "-o", archive)
	if out, err := exec.Command("cmp", archive, s.path("v1.tar")).CombinedOutput(); err != nil {
		s.t.Errorf("save: %s", out)
	}
	s.must("store", "load", "-q", archive)
}

// TestStoreSurvivesKills ends a hundred commands with SIGKILL, at any moment, several in one store at once: pull, load,
// build, tag, rmi, prune, save and verify-store. In between, and in the end, the store is in order, the next command
// works, and nothing is left.
func TestStoreSurvivesKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEALRT_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("the seed is %d: SEALRT_SEED=%d makes the same choices again", seed, seed)
	s := newSiege(t)
	began := time.Now()
	for wave := range siegeWaves {
		s.storm(seed+uint64(wave), int64(siegeKills*(wave+1)/siegeWaves))
		if t.Failed() {
			return
		}
		s.sound()
	}
	t.Logf("%d kills in %s: %v", s.kills.Load(), time.Since(began).Round(time.Second), s.ends)
	for _, verb := range []string{"build", "pull", "load", "rmi", "prune"} {
		if s.ends[verb] == 0 {
			t.Logf("%s was never killed this time", verb)
		}
	}

	s.must("store", "prune", "-q")
	s.leftovers("trees/tmp-*", "ingest/*")
	s.must("store", "verify-store", "-q")
	s.must("store", "prune", "-q", "--all", "--cache", "--yes")
	if out := s.must("store", "inventory"); out != "" {
		t.Errorf("blobs that nobody names: %s", out)
	}
	s.leftovers("trees/*", "mounts/*", "ingest/*", "cache/*/*")
	known := []string{"blobs", "cache", "index.json", "index.lock", "index.spare", "ingest", "lock", "mounts", "oci-layout", "trees"}
	entries, err := os.ReadDir(s.path("store"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			t.Errorf("left in the store: %s", e.Name())
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err == nil && strings.Contains(string(mounts), s.dir) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}

// leftovers looks for files that nobody needs any more.
func (s *siege) leftovers(patterns ...string) {
	s.t.Helper()
	for _, pattern := range patterns {
		if left, err := filepath.Glob(filepath.Join(s.path("store"), pattern)); err != nil || len(left) > 0 {
			s.t.Errorf("left behind: %v, %v", left, err)
		}
	}
}
