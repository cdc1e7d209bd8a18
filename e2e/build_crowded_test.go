//go:build e2e

package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// parallel is a Kubefile of stages that run at once; NUMBER makes it another
// one whose first layers are the same.
const parallel = `FROM scratch AS a
COPY bin/ /bin/
RUN seq 1 NUMBER > a.txt && mkdir d && cp a.txt d/
FROM scratch AS b
COPY etc/ /etc/
RUN seq 2 NUMBER > b.txt
FROM scratch
COPY --from=a / /
COPY --from=b / /
RUN rm -r d && ln -s bin/noise0 link
`

// parallelContext makes the directory for it, with Kubefile and Kubefile2.
func parallelContext(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Kubefile"), strings.ReplaceAll(parallel, "NUMBER", "200000"))
	writeFile(t, filepath.Join(dir, "Kubefile2"), strings.ReplaceAll(parallel, "NUMBER", "200001"))
	for _, name := range []string{"bin/noise0", "bin/noise1", "etc/noise2"} {
		noise := make([]byte, 12<<20)
		rand.Read(noise)
		writeFile(t, filepath.Join(dir, name), string(noise))
	}
	return dir
}

// TestBuildsCrowded lets several builds meet in one store and gives them too
// small a disk. Nothing may be left. TestStoreSurvivesKills kills them.
func TestBuildsCrowded(t *testing.T) {
	w := newBench(t)
	dir := parallelContext(t)
	one := []string{"build", "-q", dir}
	two := []string{"build", "-q", "-f", filepath.Join(dir, "Kubefile2"), dir}
	want := []string{w.sealrt(t, "first", one...), w.sealrt(t, "first", two...)}

	t.Run("crowded", func(t *testing.T) {
		for range 3 {
			store := filepath.Join(w.dir, "crowded")
			if err := os.RemoveAll(store); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					got, err := w.try("crowded", [][]string{one, two}[i%2]...)
					if err != nil || got != want[i%2] {
						t.Errorf("build %d: %q, %v, want %s", i, got, err, want[i%2])
					}
				})
			}
			wg.Wait()
			nothingLeft(t, store)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		small := filepath.Join(w.dir, "small")
		if err := os.Mkdir(small, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, size := range []string{"8m", "30m", "44m", "50m"} { // while COPY, unpacking or RUN
			if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size="+size); err != nil {
				t.Fatal(err)
			}
			_, err := w.try("small", one...)
			if err == nil || !strings.Contains(err.Error(), "--root") || !strings.Contains(err.Error(), "Kubefile:") {
				t.Errorf("with %s the build says %v", size, err)
			}
			nothingLeft(t, small)
			if err := syscall.Unmount(small, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// nothingLeft looks for what builds leave in a store when they go wrong.
func nothingLeft(t *testing.T, store string) {
	t.Helper()
	(&depot{}).sound(t, store)
	for _, pattern := range []string{"ingest/*", "trees/tmp-*"} {
		if left, err := filepath.Glob(filepath.Join(store, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), store+"/") {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}
