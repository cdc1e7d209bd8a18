package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCertificatesBeginWithThoseGiven(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := Certificates(name, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	const given = "authority\n\n"
	if err := os.WriteFile(name, []byte(given), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := Certificates(name, 0)
	if err != nil || !strings.HasPrefix(string(all), "authority\n") {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	for limit, want := range map[int]string{len(given): given, len(all): string(all)} {
		if got, err := Certificates(name, limit); err != nil || string(got) != want && len(all) > len(given) {
			t.Errorf("limit %d: %d bytes, want %d, %v", limit, len(got), len(want), err)
		}
	}
}
