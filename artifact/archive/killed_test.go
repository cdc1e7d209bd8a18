package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// TestMain is another process that loads volumes, where it is asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ARCHIVE_TEST_STORE"); dir != "" {
		os.Exit(loadMain(dir, filepath.SplitList(os.Getenv("ARCHIVE_TEST_VOLUMES"))))
	}
	os.Exit(m.Run())
}

// loadMain loads volumes one after the other and prints a line for each event.
func loadMain(dir string, paths []string) int {
	s, err := store.Open(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.Close()
	for _, path := range paths {
		_, err := LoadVolumes(context.Background(), s, []string{path}, func(e artifact.Event) { fmt.Println(e.Kind) })
		if err != nil && !errors.Is(err, errVolumes) {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("volume")
	}
	return 0
}

// loadKilled loads volumes in a process that is killed when it has printed a number of lines, -1 for never, and returns
// how many there were.
func loadKilled(t *testing.T, dir string, paths []string, lines int) (printed int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ARCHIVE_TEST_STORE="+dir, "ARCHIVE_TEST_VOLUMES="+strings.Join(paths, string(filepath.ListSeparator)))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	artifacttest.Check(t, err)
	artifacttest.Check(t, cmd.Start())
	for s := bufio.NewScanner(out); s.Scan(); printed++ {
		if printed == lines {
			artifacttest.Check(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err != nil && lines < 0 {
		t.Fatalf("load: %v: %s", err, stderr.String())
	}
	return printed
}

func TestLoadOfVolumesThatIsKilledGoesOn(t *testing.T) {
	src := newStore(t)
	ref := threeLayers(t, src)
	paths := volumes(t, src, ref, volumeSize, Options{})
	paths[0], paths[2] = paths[2], paths[0]
	lines := loadKilled(t, filepath.Join(t.TempDir(), "store"), paths, -1)
	const places = 8
	if lines < places {
		t.Fatalf("only %d places to be killed at", lines)
	}
	for i := range places {
		loadAgain(t, paths, ref, i*lines/places)
	}
}

// loadAgain loads volumes in a process that is killed after a number of lines, and goes on in this one.
func loadAgain(t *testing.T, paths []string, ref artifact.Reference, lines int) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	loadKilled(t, dir, paths, lines)
	s, err := store.Open(dir)
	artifacttest.Check(t, err)
	inv, err := s.Inventory(t.Context())
	artifacttest.Check(t, err)
	for _, h := range inv {
		b, err := os.ReadFile(s.BlobPath(h))
		if artifacttest.Check(t, err); artifacttest.DigestOf(b) != h {
			t.Errorf("killed after %d lines: blob %s has other content", lines, h)
		}
	}
	for i, path := range paths {
		_, err := LoadVolumes(t.Context(), s, []string{path}, nil)
		if err != nil && (!errors.Is(err, errVolumes) || i == len(paths)-1) {
			t.Fatalf("killed after %d lines: %v", lines, err)
		}
	}
	artifacttest.RequireWholeStore(t, s, ref)
	artifacttest.Check(t, s.Close())
	if left := artifacttest.Ingest(t, s); len(left) > 0 {
		t.Errorf("killed after %d lines: left in ingest: %v", lines, left)
	}
}
