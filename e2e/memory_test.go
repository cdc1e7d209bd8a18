//go:build e2e

package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxAnon is how much memory of its own sealrt may have on two processors,
// whatever the size of the image.
const maxAnon = 100 << 20

// bench is a store, a registry and the program under test, in folders of their
// own.
type bench struct {
	dir      string
	registry string
	program  string
}

// newBench builds the program and starts Debian's docker-registry.
func newBench(t *testing.T) *bench {
	t.Helper()
	w := &bench{dir: t.TempDir()}
	w.program = filepath.Join(w.dir, "sealrt")
	build := exec.Command("go", "build", "-trimpath", "-o", w.program, "../cmd/sealrt")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	home := filepath.Join(w.dir, "registry")
	start := exec.Command("testbed/registry.sh", "start", home, "127.0.0.1:0")
	start.Stderr = os.Stderr
	out, err := start.Output()
	if err != nil {
		t.Fatalf("registry.sh start: %v", err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("testbed/registry.sh", "stop", home).CombinedOutput(); err != nil {
			t.Errorf("registry.sh stop: %v: %s", err, out)
		}
	})
	w.registry = strings.TrimSpace(string(out))
	return w
}

// sealrt runs the program with a store of the bench, and returns its stdout.
func (w *bench) sealrt(t *testing.T, store string, args ...string) string {
	t.Helper()
	out, err := w.try(store, args...)
	if err != nil {
		t.Fatalf("sealrt %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (w *bench) try(store string, args ...string) (string, error) {
	cmd := exec.Command(w.program, append(args, "--root", filepath.Join(w.dir, store))...)
	var story strings.Builder
	cmd.Stderr = &story
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, story.String())
	}
	return string(out), err
}

// measured runs the program on two processors as sealrt does, and holds its
// peak of anonymous memory against maxAnon.
func (w *bench) measured(t *testing.T, store string, args ...string) {
	t.Helper()
	cmd := exec.Command(w.program, append(args, "-q", "--root", filepath.Join(w.dir, store))...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	peak, samples := int64(0), 0
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("sealrt %s: %v", args[0], err)
			}
			running = false
		case <-tick.C:
			if n := anonymous(cmd.Process.Pid); n > 0 {
				peak, samples = max(peak, n), samples+1
			}
		}
	}
	t.Logf("%-6s %5.1f s, peak RssAnon %5.1f MiB in %d samples", args[0], time.Since(start).Seconds(), float64(peak)/(1<<20), samples)
	if samples < 10 {
		t.Errorf("%s: %d samples: this test cannot tell", args[0], samples)
	}
	if peak > maxAnon {
		t.Errorf("%s: RssAnon reached %d MiB, more than %d", args[0], peak>>20, maxAnon>>20)
	}
}

var rssAnon = regexp.MustCompile(`(?m)^RssAnon:\s+(\d+) kB$`)

// anonymous returns the RssAnon of a process in bytes (proc_pid_status(5)), 0
// once it has ended.
func anonymous(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	if m := rssAnon.FindSubmatch(status); m != nil {
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return n << 10
	}
	return 0
}

// writeBig writes ten files of together 1 GiB: half of it is random, the other
// half can be compressed.
func writeBig(t *testing.T, dir string) {
	t.Helper()
	const size = 1 << 30 / 10
	line := []byte("a line of text as it is found in manifests, scripts and the like\n")
	for i := range 10 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("part%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_, err = io.CopyN(f, rand.Reader, size)
		} else {
			for n := 0; n < size && err == nil; n += 1000 * len(line) {
				_, err = f.Write([]byte(strings.Repeat(string(line), 1000)))
			}
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestMemoryDoesNotGrowWithTheImage builds, pushes and pulls 1 GiB: as one
// layer, as ten, and as the container images of a cluster image.
func TestMemoryDoesNotGrowWithTheImage(t *testing.T) {
	w := newBench(t)
	context := t.TempDir()
	writeBig(t, context)
	ten := "FROM scratch\n"
	for i := range 10 {
		ten += fmt.Sprintf("COPY part%d /\n", i)
	}
	for name, text := range map[string]string{"one": "FROM scratch\nCOPY . .\n", "ten": ten + "BASE none\n"} {
		file := filepath.Join(w.dir, "Kubefile."+name)
		writeFile(t, file, text)
		image := w.registry + "/" + name + ":1"
		t.Logf("layers: %s", name)
		w.measured(t, "store-"+name, "build", "-f", file, "-t", image, context)
		w.measured(t, "store-"+name, "push", image)
		w.measured(t, "second-"+name, "pull", image)
		for _, used := range []string{"store-", "second-"} {
			if err := os.RemoveAll(filepath.Join(w.dir, used+name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Log("as container images")
	cluster := t.TempDir()
	writeFile(t, filepath.Join(cluster, "Kubefile"), "FROM scratch\nCOPY imageList manifests\n")
	writeFile(t, filepath.Join(cluster, "imageList"), w.registry+"/one:1\n"+w.registry+"/ten:1\n")
	image := w.registry + "/cluster:1"
	w.measured(t, "cluster", "build", "-t", image, cluster)
	w.measured(t, "cluster", "push", image)
	w.measured(t, "cluster2", "pull", image)
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
