package state_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

func TestASecondProcessOfThisMachineLearnsWhoWorksOnTheCluster(t *testing.T) {
	dir := t.TempDir()
	f, err := state.Open(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(want ...string) {
		t.Helper()
		_, err := state.Open(dir, "one")
		if !errors.As(err, new(*state.BusyError)) {
			t.Fatalf("%v", err)
		}
		for _, w := range append(want, "cluster one: another sealrt is working on it", "wait for its end") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in: %v", w, err)
			}
		}
	}
	refused("it has not said yet")
	if err := f.Sign(state.Holder{Host: "laptop", User: "me", PID: 4242, Operation: "upgrade", Since: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	refused("me@laptop does `sealrt upgrade` since 1970-01-01T00:00:00Z, process 4242", "kill 4242")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = state.Open(dir, "one"); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	refused("it has not said yet") // not who it was before
}

func TestTheLockOfAFolderThatIsRemovedIsNoLock(t *testing.T) {
	dir := t.TempDir()
	f, err := state.Open(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	other, err := state.Open(dir, "one") // made anew
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := state.Open(dir, "one"); !errors.As(err, new(*state.BusyError)) {
		t.Errorf("two have it: %v", err)
	}
}

// saver is a process that saves for ever: the number of each time is in all
// files, and on its output.
func saver(dir string, out io.Writer) error {
	f, err := state.Open(dir, "one")
	if err != nil {
		return err
	}
	m := &master{name: "m", dir: filepath.Join(dir, "master"), running: map[int]context.CancelCauseFunc{}}
	h, err := state.Take(context.Background(), state.Options{
		Cluster: "one", Folder: f, Argv: []string{"keep"}, Masters: []state.Master{{Name: "m", Host: m}}, Holder: state.Holder{ID: fmt.Sprint(os.Getpid())},
	})
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		d, err := f.Load()
		if err == nil {
			n = int(d.Metadata.Revision) + 1
		}
		text := fmt.Appendf(nil, "%d", n)
		if err := h.Save(context.Background(), document(fmt.Sprintf("a:%d", n)), state.Files{state.Images: text, "secrets/s": text}); err != nil {
			return err
		}
		fmt.Fprintln(out, n)
	}
}

// Killed at any moment, a client and its master have a state that is whole, and
// not older than what was said to be saved.
func TestASaveThatIsKilledIsDoneOrNotBegun(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 25 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "SEALRT_TEST_SAVE="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := ""
		lines := bufio.NewScanner(out)
		for i := 0; i <= round%4 && lines.Scan(); i++ {
			last = lines.Text()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			last = lines.Text()
		}
		_ = cmd.Wait() // killed
		whole(t, dir, "one", last)
		whole(t, dir, "master", last)
	}
}

// whole reads a state, which must be of one moment, at the number or after it.
func whole(t *testing.T, dir, name, last string) {
	t.Helper()
	f, err := state.Open(dir, name) // which completes what counts
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{state.Images, "secrets/s"} {
		raw, err := os.ReadFile(f.Path(file))
		if err != nil || "a:"+string(raw) != d.Spec.Endpoint {
			t.Fatalf("%s: %s is %q, the Clusterfile %s (%v)", name, file, raw, d.Spec.Endpoint, err)
		}
	}
	var said, has int
	fmt.Sscan(last, &said)
	fmt.Sscan(strings.TrimPrefix(d.Spec.Endpoint, "a:"), &has)
	if said == 0 || has < said || has > said+1 {
		t.Errorf("%s: %d was saved, it has %d", name, said, has)
	}
}

func TestASaveThatFailsChangesNothing(t *testing.T) {
	f, err := state.Open(t.TempDir(), "one")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Save(document("a:1")); err != nil {
		t.Fatal(err)
	}
	// a file cannot be written: its temporary name is taken
	if err := os.MkdirAll(f.Path(filepath.Join(".new-images.json", "x")), 0o700); err != nil {
		t.Fatal(err)
	}
	before := names(t, f.Path(""))
	if err := f.Restore(&state.Snapshot{Files: state.Files{state.Clusterfile: format(t, 2), state.Images: []byte("2"), "secrets/s": []byte("2")}}, false); err == nil {
		t.Fatal("it was written")
	}
	if d, err := f.Load(); err != nil || d.Spec.Endpoint != "a:1" {
		t.Errorf("%v, %v", d, err)
	}
	if after := names(t, f.Path("")); before != after {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func format(t *testing.T, revision int64) []byte {
	t.Helper()
	d := document("a:2")
	d.Metadata.Revision = revision
	raw, err := clusterfile.Format(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// names lists the files below a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Fprintln(&out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
