package builder

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestContextThatChangesIsAnError changes a file when it was looked at and not yet read.
func TestContextThatChangesIsAnError(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		change     func(name string) error
	}{
		{"grows", "changed", func(name string) error { return os.WriteFile(name, []byte("longer than before"), 0o644) }},
		{"shrinks", "changed", func(name string) error { return os.Truncate(name, 1) }},
		{"vanishes", "d/f vanished", os.Remove},
		{"leads outside", "leads out of the context", func(name string) error { return replace(name, func() error { return os.Symlink(outside, name) }) }},
		{"becomes a directory", "is a directory", func(name string) error { return replace(name, func() error { return os.Mkdir(name, 0o755) }) }},
		{"becomes a pipe", "changed", func(name string) error { return replace(name, func() error { return syscall.Mkfifo(name, 0o644) }) }},
		{"its directory leads outside", "leads out of the context", func(name string) error {
			dir := filepath.Dir(name)
			return replace(dir, func() error { return os.Symlink(filepath.Dir(outside), dir) })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, "FROM scratch\nCOPY . .\n", map[string]string{"d/f": "secret"})
			changed := false
			o.Observe = func(e Event) {
				if e.Kind == NodeStarted && !changed {
					changed = true
					if err := tt.change(filepath.Join(o.Context, "d/f")); err != nil {
						t.Error(err)
					}
				}
			}
			text := failing(t, o)
			if !strings.Contains(text, tt.want) || !strings.Contains(text, "d/f") || !strings.Contains(text, "Kubefile:2:1") {
				t.Errorf("%q", text)
			}
			leftovers(t, o)
		})
	}
}

func replace(name string, by func() error) error {
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	return by()
}
