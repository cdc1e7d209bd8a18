package layer

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// command returns the standard output of a tool of the machine, or skips the test where there is none: the same is
// checked elsewhere with archive/tar and the decoders of Go.
func command(t *testing.T, stdin []byte, argv ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Skipf("no %s here", argv[0])
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, stderr.String())
	}
	return out
}

func TestOtherToolsReadOurLayers(t *testing.T) {
	tree := append(fixedTree(), sized(9<<20)) // several frames
	plain, _ := mustWrite(t, Options{Compression: None}, Sorted(tree))
	for c, argv := range map[Compression][]string{Zstd: {"zstd", "-dc"}, Gzip: {"gzip", "-dc"}} {
		raw, _ := mustWrite(t, Options{Compression: c}, Sorted(tree))
		if got := command(t, raw, argv...); !bytes.Equal(got, plain) {
			t.Errorf("%v reads %d other bytes", argv, len(got))
		}
	}
	theirs, ours := t.TempDir(), t.TempDir()
	whole, _ := mustWrite(t, Options{Compression: None}, Sorted(fixedTree()[:9]))
	command(t, whole, "tar", "-xpf", "-", "--no-same-owner", "-C", theirs)
	if err := extract(t, ours, whole); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snapshot(t, theirs), snapshot(t, ours)); diff != "" {
		t.Error(diff)
	}
}

// Programs are most of what cluster images hold; frames of their own cost a little.
func TestOutputIsNotMuchLargerThanThatOfZstd(t *testing.T) {
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := mustWrite(t, Options{}, given(file("program", 0o755, string(program))))
	theirs := command(t, program, "zstd", "-3", "-c")
	t.Logf("%d bytes, zstd -3 makes %d", len(raw), len(theirs))
	if len(raw) > len(theirs)*105/100 {
		t.Errorf("%d bytes, zstd -3 makes %d", len(raw), len(theirs))
	}
}

func TestWeReadLayersOfOtherTools(t *testing.T) {
	source := t.TempDir()
	populate(t, source, "a/b/c=x", "empty=", "link=-> a/b", "ü/"+strings.Repeat("long", 50)+"=deep", "big="+strings.Repeat("big", 500_000))
	if err := os.Link(filepath.Join(source, "a/b/c"), filepath.Join(source, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(source, "empty"), 0o4750|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	want := snapshot(t, source)
	for _, format := range []string{"gnu", "posix", "pax"} {
		raw := command(t, nil, "tar", "-C", source, "--format="+format, "-cf", "-", ".")
		for name, compress := range map[string][]string{"plain": nil, "gzip": {"gzip", "-c"}, "zstd": {"zstd", "-c"}, "zstd -19": {"zstd", "-19", "-c"}} {
			layer := raw
			if compress != nil {
				layer = command(t, raw, compress...)
			}
			top := t.TempDir()
			if err := extract(t, top, layer); err != nil {
				t.Fatalf("%s %s: %v", format, name, err)
			}
			if diff := cmp.Diff(want, snapshot(t, top)); diff != "" {
				t.Errorf("%s %s: %s", format, name, diff)
			}
		}
	}
}
