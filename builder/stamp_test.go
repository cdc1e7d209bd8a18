package builder

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func lstat(t *testing.T, name string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestStampChangesWithTheFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	long := time.Unix(1_000_000_000, 0)
	write := func(to, content string) {
		t.Helper()
		if err := os.WriteFile(to, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(to, long, long); err != nil {
			t.Fatal(err)
		}
	}
	write(name, "one")
	first := stamp(lstat(t, name))
	if again := stamp(lstat(t, name)); again != first {
		t.Errorf("unchanged, %q became %q", first, again)
	}
	for _, tt := range []struct {
		what   string
		change func()
	}{
		{"a longer content of the same time", func() { write(name, "three") }},
		{"another time", func() { os.Chtimes(name, long, long.Add(time.Nanosecond)) }},
		{"another file of the same size and time", func() {
			write(name+"2", "five!")
			os.Rename(name+"2", name)
		}},
	} {
		before := stamp(lstat(t, name))
		tt.change()
		if after := stamp(lstat(t, name)); after == before {
			t.Errorf("%s keeps the stamp %q", tt.what, after)
		}
	}
}

// TestStampKnowsOfWritesThatHideTheirTime needs times of changes, which the file system sets by itself.
func TestStampKnowsOfWritesThatHideTheirTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("stamps of %s do not hold the time of change", runtime.GOOS)
	}
	name := filepath.Join(t.TempDir(), "f")
	long := time.Unix(1_000_000_000, 0)
	write := func(content string) fs.FileInfo {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, long, long); err != nil {
			t.Fatal(err)
		}
		return lstat(t, name)
	}
	first := write("one")
	for deadline := time.Now().Add(time.Minute); ; {
		if second := write("two"); stamp(second) != stamp(first) {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the stamp %q stays whatever is written", stamp(second))
		}
	}
}

func TestFileSettlesOnceItsTimesArePast(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	written := lstat(t, name).ModTime()
	old := written.Add(-time.Hour)
	for _, tt := range []struct {
		name  string
		mtime time.Time
		now   time.Time
		want  bool
	}{
		{"written just now", written, written, false},
		{"written a second ago, by a coarse clock", written.Truncate(time.Second), written.Truncate(time.Second).Add(time.Second), false},
		{"written long ago", written, written.Add(time.Hour), true},
		{"written in the future", written.Add(2 * time.Hour), written.Add(time.Hour), false},
	} {
		if err := os.Chtimes(name, old, tt.mtime); err != nil {
			t.Fatal(err)
		}
		if got := settled(lstat(t, name), tt.now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	// Chtimes sets the time of change to now: a stamp that knows it is not settled, whatever the file claims.
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	if got := settled(lstat(t, name), time.Now().Add(-time.Minute)); got != (runtime.GOOS != "linux") {
		t.Errorf("changed just now, with an old time: %v", got)
	}
}

func TestTickDependsOnTheClock(t *testing.T) {
	whole, part := time.Unix(1000, 0), time.Unix(1000, 1000)
	for _, tt := range []struct {
		t    time.Time
		past time.Duration
		want bool
	}{
		{whole, 2 * time.Second, false}, {whole, 2*time.Second + 1, true},
		{part, 50 * time.Millisecond, false}, {part, 50*time.Millisecond + 1, true}, {part, -time.Hour, false},
	} {
		if got := settledAt(tt.t, tt.t.Add(tt.past)); got != tt.want {
			t.Errorf("%v after %v: %v", tt.past, tt.t, got)
		}
	}
}
