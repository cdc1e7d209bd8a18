package gobuild_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/sealrt/sealrt/artifact/gobuild"
)

// program is this test, which is a Go program and has zstd's magic number in it.
func program(t *testing.T) []byte {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// found returns the paths of all programs that are found.
func found(t *testing.T, r io.Reader) (paths []string, last *debug.BuildInfo) {
	t.Helper()
	err := gobuild.Scan(t.Context(), r, func(info *debug.BuildInfo) bool {
		paths, last = append(paths, info.Path), info
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths, last
}

// packed is an archive, compressed.
func packed(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAProgramTellsHowItWasBuilt(t *testing.T) {
	raw := program(t)
	const name = "github.com/sealrt/sealrt/artifact/gobuild.test"
	paths, info := found(t, bytes.NewReader(raw))
	if diff := cmp.Diff([]string{name}, paths); diff != "" {
		t.Fatal(diff)
	}
	if !strings.HasPrefix(info.GoVersion, "go") {
		t.Errorf("built with %s", info.GoVersion)
	}
	// wherever it begins, and however the bytes come
	for _, before := range []int{1, 1<<20 - 7, 1 << 20} {
		junk := make([]byte, before)
		if paths, _ := found(t, iotest.HalfReader(io.MultiReader(bytes.NewReader(junk), bytes.NewReader(raw)))); len(paths) != 1 {
			t.Errorf("%d bytes before it: %q", before, paths)
		}
	}
	if paths, _ := found(t, bytes.NewReader(raw[:len(raw)/100])); paths != nil {
		t.Errorf("a piece of it: %q", paths)
	}
}

// built is what a linker leaves in a program (debug/buildinfo).
func built(module string) []byte {
	b := append([]byte("\xff Go buildinf:\x08\x02"), make([]byte, 16)...)
	module = strings.Repeat("s", 16) + module + strings.Repeat("e", 16)
	for _, text := range []string{"go1.19.1", module} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

func TestVersionsOfModules(t *testing.T) {
	const all = "path\tcmd/k3s\nmod\tgithub.com/k3s-io/k3s\tv1.25.3\t\ndep\tgithub.com/k3s-io/kine\tv0.9.3\th1:x=\n" +
		"dep\tgo.etcd.io/etcd/server/v3\tv3.5.4\n=>\tgithub.com/k3s-io/etcd/server/v3\tv3.5.3-k3s1\th1:y=\n"
	_, info := found(t, bytes.NewReader(built(all)))
	if info == nil {
		t.Fatal("nothing was found")
	}
	for module, want := range map[string]string{
		"github.com/k3s-io/kine": "v0.9.3", "go.etcd.io/etcd/server/v3": "v3.5.3-k3s1", "github.com/k3s-io/k3s": "v1.25.3", "example.com/other": "",
	} {
		if v, ok := gobuild.Version(info, module); v != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", module, v, ok)
		}
	}
	for name, b := range map[string][]byte{
		"cut off": built(all)[:60], "no header": []byte("\xff Go buildinf:"), "pointers": bytes.Replace(built(all), []byte("\x08\x02"), []byte("\x08\x00"), 1),
		"no modules": built(""), "too long": append([]byte("\xff Go buildinf:\x08\x02"), bytes.Repeat([]byte{0xff}, 40)...),
	} {
		if paths, _ := found(t, bytes.NewReader(b)); paths != nil {
			t.Errorf("%s: %q", name, paths)
		}
	}
}

func TestProgramsInsideAProgramTellToo(t *testing.T) {
	raw := program(t)
	junk := make([]byte, 3<<20)
	rand.Read(junk)
	copy(junk[1<<20-2:], "\x28\xb5\x2f\xfd") // which begins nothing
	inside := packed(t, map[string][]byte{"bin/notes": []byte("read me"), "bin/k3s": raw})
	outer := bytes.Join([][]byte{junk, inside, junk}, nil)
	paths, _ := found(t, bytes.NewReader(outer))
	if diff := cmp.Diff([]string{"github.com/sealrt/sealrt/artifact/gobuild.test"}, paths); diff != "" {
		t.Error(diff)
	}
}

func TestAnArchiveThatIsDamagedIsAnError(t *testing.T) {
	inside := packed(t, map[string][]byte{"bin/k3s": program(t)})
	err := gobuild.Scan(t.Context(), bytes.NewReader(inside[:len(inside)/2]), func(*debug.BuildInfo) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "inside") {
		t.Error(err)
	}
}

func TestAScanEndsWhenEnoughIsFound(t *testing.T) {
	raw := program(t)
	calls := 0
	read := &counter{r: io.MultiReader(bytes.NewReader(raw), bytes.NewReader(raw), bytes.NewReader(raw))}
	if err := gobuild.Scan(t.Context(), read, func(*debug.BuildInfo) bool { calls++; return false }); err != nil || calls != 1 || read.n > 2*len(raw) {
		t.Errorf("%d calls, %d bytes of %d read: %v", calls, read.n, 3*len(raw), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := gobuild.Scan(ctx, bytes.NewReader(raw), func(*debug.BuildInfo) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
