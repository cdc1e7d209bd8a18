package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// rawHeader is a header block that says what it is told to, however wrong.
func rawHeader(typeflag byte, name, size string) []byte {
	b := make([]byte, tarBlock)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], size)
	copy(b[136:], "00000000000\x00")
	b[156] = typeflag
	copy(b[257:], "ustar\x0000")
	rehash(b)
	return b
}

// octal is a size as a header has it.
func octal(n int) string { return fmt.Sprintf("%011o\x00", n) }

// paxEntry is an entry whose extended header has those records, "key=value", and no content.
func paxEntry(typeflag byte, name string, records ...string) []byte {
	var body bytes.Buffer
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n++
		}
		fmt.Fprintf(&body, "%d %s\n", n, r)
	}
	raw := append(rawHeader('x', "pax", octal(body.Len())), body.Bytes()...)
	raw = append(raw, make([]byte, -len(raw)&(tarBlock-1))...)
	return append(raw, rawHeader(typeflag, name, octal(0))...)
}

// ended is an archive of those entries.
func ended(entries ...[]byte) []byte {
	return append(bytes.Join(entries, nil), make([]byte, 2*tarBlock)...)
}

// tricks are archives that no program writes.
func tricks() map[string][]byte {
	endless := make([]byte, tarBlock) // a GNU sparse map that goes on and on
	endless[504] = 1
	gnu := rawHeader('S', "sparse", octal(0))
	copy(gnu[257:], "ustar  \x00")
	gnu[482] = 1
	copy(gnu[483:], octal(1<<30))
	rehash(gnu)
	return map[string][]byte{
		"a negative size":                ended(rawHeader('0', "a", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
		"a size of 8 EiB":                ended(rawHeader('0', "a", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")),
		"a negative size in a record":    ended(paxEntry('0', "a", "size=-1")),
		"a record of a megabyte":         ended(paxEntry('0', "a", "comment="+strings.Repeat("x", 2<<20))),
		"a NUL in a name":                ended(paxEntry('0', "a", "path=a\x00/../../outside/canary")),
		"a NUL in a target":              ended(paxEntry('2', "a", "linkpath=..\x00x")),
		"a length that is none":          ended(rawHeader('x', "pax", octal(20)), append([]byte("999999999999 path=x\n"), make([]byte, 492)...), rawHeader('0', "a", octal(0))),
		"8 EiB of holes":                 ended(paxEntry('0', "a", "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=9223372036854775807", "GNU.sparse.numblocks=0", "GNU.sparse.map=")),
		"200 GiB of holes":               ended(paxEntry('0', "a", "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=214748364800", "GNU.sparse.numblocks=0", "GNU.sparse.map=")),
		"holes under another name":       ended(paxEntry('0', "a", "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=1", "GNU.sparse.numblocks=0", "GNU.sparse.map=", "GNU.sparse.name=../outside/canary")),
		"a map of holes without end":     append(gnu, bytes.Repeat(endless, 4<<10)...),
		"a map with a wrong count":       ended(paxEntry('0', "a", "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=10", "GNU.sparse.numblocks=9223372036854775807", "GNU.sparse.map=0,1")),
		"a name from a record":           ended(paxEntry('0', "a", "path=../outside/canary")),
		"an absolute name from a record": ended(paxEntry('5', "a", "path=//outside")),
		"a hard link from a record":      ended(paxEntry('1', "a", "linkpath=../outside/canary")),
	}
}

func TestExtractRefusesWhatNoProgramWrites(t *testing.T) {
	for name, raw := range tricks() {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			populate(t, top, "outside/canary=alive", "image/")
			before := snapshot(t, filepath.Join(top, "outside"))
			if err := extract(t, filepath.Join(top, "image"), raw); err == nil {
				t.Error("no error")
			}
			if diff := cmp.Diff(before, snapshot(t, filepath.Join(top, "outside"))); diff != "" {
				t.Error(diff)
			}
			for name, what := range snapshot(t, filepath.Join(top, "image")) {
				if len(what) > 100 {
					t.Errorf("%s is there with %d bytes", name, len(what))
				}
			}
		})
	}
}

// What stays inside is harmless, however odd it looks.
func TestExtractKeepsOddNamesInside(t *testing.T) {
	for name, test := range map[string]struct {
		layers [][]tar.Header
		want   map[string]string
	}{
		"backslashes are letters": {[][]tar.Header{{reg(`..\..\x`), reg(`a\b`), sym(`c:\x`, `\\host\x`)}},
			map[string]string{`..\..\x`: "-rw-r--r-- xxx", `a\b`: "-rw-r--r-- xxx", `c:\x`: `-> \\host\x`}},
		"one name in two normal forms": {[][]tar.Header{{sym("\u00e9", "../outside"), dir("e\u0301"), reg("e\u0301/x")}},
			map[string]string{"\u00e9": "-> ../outside", "e\u0301": "drwxr-xr-x", "e\u0301/x": "-rw-r--r-- xxx"}},
		"names that differ in case": {[][]tar.Header{{sym("A", "../outside"), dir("a"), reg("a/x")}},
			map[string]string{"A": "-> ../outside", "a": "drwxr-xr-x", "a/x": "-rw-r--r-- xxx"}},
		"a whiteout in capitals is a file": {[][]tar.Header{{reg("a")}, {reg(".WH.a"), reg(".Wh..wh..opq")}},
			map[string]string{"a": "-rw-r--r-- xxx", ".WH.a": "-rw-r--r-- xxx", ".Wh..wh..opq": "-rw-r--r-- xxx"}},
		"a link in place of a directory, and back": {[][]tar.Header{{dir("a"), reg("a/b")}, {sym("a", "../outside")}, {dir("a"), reg("a/c")}},
			map[string]string{"a": "drwxr-xr-x", "a/c": "-rw-r--r-- xxx"}},
		"a whiteout of a link to outside": {[][]tar.Header{{sym("a", "../outside")}, {reg(".wh.a")}, {dir("a"), reg("a/.wh.canary"), reg("a/.wh..wh..opq")}},
			map[string]string{"a": "drwxr-xr-x"}},
		"a whiteout before the link": {[][]tar.Header{{reg("a/.wh.canary"), reg("a/.wh..wh..opq"), sym("a", "../outside")}},
			map[string]string{"a": "-> ../outside"}},
		"a whiteout that is a link": {[][]tar.Header{{reg("b")}, {sym(".wh.b", "../outside/canary"), hard(".wh.c", "../outside/canary")}},
			map[string]string{}},
		"a file in place of a hard linked link": {[][]tar.Header{{sym("a", "../outside/canary"), hard("b", "a"), reg("a"), reg("b")}},
			map[string]string{"a": "-rw-r--r-- xxx", "b": "-rw-r--r-- xxx"}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			populate(t, top, "outside/canary=alive", "image/")
			if name == "names that differ in case" || name == "one name in two normal forms" {
				requireDistinct(t, top)
			}
			for _, headers := range test.layers {
				if err := extract(t, filepath.Join(top, "image"), rawTar(t, headers...)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.want, snapshot(t, filepath.Join(top, "image"))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]string{"canary": "-rw-r--r-- alive"}, snapshot(t, filepath.Join(top, "outside"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// requireDistinct skips where a file system takes other names for the same. There the fuzz test looks for escapes.
func requireDistinct(t *testing.T, dir string) {
	t.Helper()
	populate(t, dir, "probe=")
	if _, err := os.Lstat(filepath.Join(dir, "PROBE")); err == nil {
		t.Skip("the file system does not tell a from A: what is left of two such names is another question here")
	}
}

func TestExtractNamesTheLimit(t *testing.T) {
	deep := strings.Repeat("d/", maxDepth)
	storm := []tar.Header{dir("a")}
	for range 9 {
		storm = append(storm, reg("a/"+strings.Repeat("x", len(storm))))
	}
	for range 9 {
		storm = append(storm, reg(".wh.a"))
	}
	for name, test := range map[string]struct {
		raw  []byte
		o    ExtractOptions
		want string
	}{
		"as deep as may be":   {rawTar(t, reg(deep+"x")), ExtractOptions{}, ""},
		"too deep":            {rawTar(t, reg(deep+"d/x")), ExtractOptions{}, "more than 255 directories"},
		"a name too long":     {rawTar(t, reg(strings.Repeat("x", 256))), ExtractOptions{}, "file name too long"},
		"spent entries":       {rawTar(t, reg("a")), ExtractOptions{MaxEntries: 5, Spent: &Spent{Entries: 5}}, "larger than allowed: more than 5 files and directories"},
		"spent bytes":         {rawTar(t, reg("a")), ExtractOptions{MaxBytes: 5, Spent: &Spent{Bytes: 3}}, "larger than allowed: the files are more than 5 bytes together"},
		"whiteouts that last": {rawTar(t, storm...), ExtractOptions{MaxEntries: int64(len(storm))}, "the whiteouts are about more than 76 files"},
	} {
		err := Extract(t.Context(), t.TempDir(), bytes.NewReader(test.raw), test.o)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if limit := strings.Contains(test.want, "larger than allowed"); limit && !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v is not ErrLimit", name, err)
		}
	}
	var held nameBytes
	if err := held.add(strings.Repeat("x", maxNames)); err != nil {
		t.Error(err)
	}
	if err := held.add("x"); err == nil {
		t.Error("names have no limit")
	}
}

func TestExtractCountsWhatItSpent(t *testing.T) {
	spent := Spent{}
	for range 2 {
		if err := Extract(t.Context(), t.TempDir(), bytes.NewReader(rawTar(t, dir("d"), reg("d/a"), sym("b", "a"))), ExtractOptions{Spent: &spent}); err != nil {
			t.Fatal(err)
		}
	}
	if want := (Spent{Entries: 6, Bytes: 6}); spent != want {
		t.Errorf("%+v, want %+v", spent, want)
	}
}

// A file that is all holes takes no room, whatever it claims.
func TestExtractLeavesHoles(t *testing.T) {
	raw := ended(paxEntry('0', "a", "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.size=1073741824", "GNU.sparse.numblocks=0", "GNU.sparse.map="))
	top := t.TempDir()
	if err := extract(t, top, raw); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(top, "a"))
	if err != nil || info.Size() != 1<<30 {
		t.Fatalf("%v, %v", info, err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Blocks*512 > 1<<20 {
		t.Errorf("it takes %d bytes", stat.Blocks*512)
	}
}

func TestExtractDropsSetIDBitsOfFilesOnly(t *testing.T) {
	var special []tar.Header
	for name, mode := range map[string]int64{"suid": 0o4755, "sgid": 0o2755, "both": 0o6711} {
		special = append(special, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode})
	}
	special = append(special, tar.Header{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777}, tar.Header{Typeflag: tar.TypeDir, Name: "mail", Mode: 0o2775})
	for i := range special {
		special[i].Uid, special[i].Gid = os.Getuid(), os.Getgid()
	}
	raw := rawTar(t, special...)
	for drop, want := range map[bool]map[string]string{
		false: {"suid": "urwxr-xr-x ", "sgid": "grwxr-xr-x ", "both": "ugrwx--x--x ", "tmp": "dtrwxrwxrwx", "mail": "dgrwxrwxr-x"},
		true:  {"suid": "-rwxr-xr-x ", "sgid": "-rwxr-xr-x ", "both": "-rwx--x--x ", "tmp": "dtrwxrwxrwx", "mail": "dgrwxrwxr-x"},
	} {
		top := t.TempDir()
		if err := Extract(t.Context(), top, bytes.NewReader(raw), ExtractOptions{DropSetID: drop}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, snapshot(t, top)); diff != "" {
			t.Errorf("drop %v: %s", drop, diff)
		}
	}
}

func TestDecompressEndsABomb(t *testing.T) {
	var frame bytes.Buffer
	w, err := zstd.NewWriter(&frame)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Decompress(bytes.NewReader(frame.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.(*decompressor).count.plain = maxDense - 8<<20 // as if the frames before had been read
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, 1<<20))
	if err == nil || !strings.Contains(err.Error(), "more than 1000 times as many") || n > 10<<20 {
		t.Errorf("%d bytes came out of %d: %v", n, frame.Len(), err)
	}
	for _, test := range []struct {
		plain, packed int64
		want          bool
	}{{maxDense, 1, false}, {maxDense + 1, maxDense / 2000, true}, {maxDense * 2, maxDense / 400, false}, {1 << 40, 1 << 31, false}, {1 << 40, 1 << 20, true}} {
		if got := tooDense(test.plain, test.packed); got != test.want {
			t.Errorf("%d of %d: %v", test.plain, test.packed, got)
		}
	}
}

func TestFromArchiveRefusesBombs(t *testing.T) {
	var replaced []tar.Header
	for range maxReplaced + 1 {
		replaced = append(replaced, dir("a"), reg("a"))
	}
	all := tricks()
	for name, test := range map[string]struct {
		raw  []byte
		want string
	}{
		"8 EiB of holes":                {all["8 EiB of holes"], "the files are more than 137438953472 bytes together"},
		"200 GiB of holes":              {all["200 GiB of holes"], "the files are more than 137438953472 bytes together"},
		"a map of holes without end":    {all["a map of holes without end"], "damaged"},
		"a negative size":               {all["a negative size"], "damaged"},
		"directories become files":      {rawTar(t, replaced...), "more than 1000 directories are replaced"},
		"a name in too many":            {rawTar(t, reg(strings.Repeat("d/", maxDepth+1)+"x")), "more than 255 directories"},
		"a whiteout":                    {rawTar(t, reg("a/.wh.b")), "delete files in images"},
		"a link to outside":             {rawTar(t, sym("a", "../x")), "leads out of the archive"},
		"a hard link to outside":        {rawTar(t, hard("a", "../x")), "leads out of the archive"},
		"a file through a link":         {rawTar(t, sym("a", "b"), reg("a/x")), "is no directory"},
		"a name from a record":          {all["a name from a record"], "leads out of the archive"},
		"a link in a link to directory": {rawTar(t, dir("b"), sym("a", "b"), sym("a/c", "../../x")), "leads out"},
	} {
		_, _, closeAll, err := FromArchive(t.Context(), t.TempDir(), onDisk(t, test.raw))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}
}

// A directory that lets nobody write to it gets what a later layer puts there, also from who is not root.
func TestExtractWritesIntoClosedDirectoriesOfLayersBelow(t *testing.T) {
	top := t.TempDir()
	closed := tar.Header{Typeflag: tar.TypeDir, Name: "a", Mode: 0o555, Uid: os.Getuid(), Gid: os.Getgid()}
	below := closed
	below.Name = "a/b"
	own := reg("a/b/f")
	own.Uid, own.Gid = os.Getuid(), os.Getgid()
	t.Cleanup(func() { os.Chmod(filepath.Join(top, "a"), 0o755); os.Chmod(filepath.Join(top, "a/b"), 0o755) })
	for _, raw := range [][]byte{rawTar(t, closed, below, own), rawTar(t, own), rawTar(t, reg("a/b/.wh.f")), rawTar(t, reg("a/.wh.b"))} {
		if err := extract(t, top, raw); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]string{"a": (fs.ModeDir | 0o555).String()}, snapshot(t, top)); diff != "" {
		t.Error(diff)
	}
}
