package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func extract(t testing.TB, dir string, raw []byte) error {
	t.Helper()
	return Extract(t.Context(), dir, bytes.NewReader(raw), ExtractOptions{})
}

func TestExtractTakesBackWhatWriteWrote(t *testing.T) {
	entries := fixedTree()[:9] // without the whiteouts
	for i := range entries {
		entries[i].UID, entries[i].GID = os.Getuid(), os.Getgid()
	}
	entries = append(entries, file("odd \n\t\"'\\ name", 0o644, "odd"), file("latin-\xe9", 0o644, "not UTF-8"), file("日本/語", 0o444, "語"),
		dirEntry("closed", 0o500), file("closed/in", 0o400, "in"), dirEntry("set", fs.ModeSetgid|0o755))
	long := strings.Repeat("long/", 30) + "name"
	want := map[string]string{
		"bin": "drwxr-xr-x", "bin/k3s": "-rwxr-xr-x " + strings.Repeat("binary ", 1000), "bin/sudo": "urwxr-xr-x setuid",
		"etc": "drwxr-xr-x", "etc/empty": "-rw------- ", "etc/owned": "-rw-r----- ", "tmp": "dtrwxrwxrwx", "lib": "-> usr/lib",
		"usr": "drwxr-xr-x", "usr/lib": "drwxr-xr-x", "usr/lib/" + strings.Repeat("x", 120): "-> /etc/" + strings.Repeat("y", 120),
		"usr/share": "drwxr-xr-x", "usr/share/größe": "-rw-r--r-- ü", long: "-rw-r--r-- deep",
		"odd \n\t\"'\\ name": "-rw-r--r-- odd", "latin-\xe9": "-rw-r--r-- not UTF-8", "日本": "drwxr-xr-x", "日本/語": "-r--r--r-- 語",
		"closed": "dr-x------", "closed/in": "-r-------- in", "set": "dgrwxr-xr-x",
	}
	for p := filepath.Dir(long); p != "."; p = filepath.Dir(p) {
		want[p] = "drwxr-xr-x"
	}
	created := time.Unix(1600000000, 0)
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			dir := t.TempDir()
			// so that who is not root can remove it
			t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) })
			raw, blob := mustWrite(t, Options{Compression: c, Created: created}, Sorted(entries))
			if err := extract(t, dir, raw); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, snapshot(t, dir)); diff != "" {
				t.Error(diff)
			}
			for _, name := range []string{"bin", "bin/k3s", "etc/empty", "closed", long} {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.ModTime().Equal(created) {
					t.Errorf("%s: time %v, %v", name, info.ModTime(), err)
				}
			}
			if os.Getuid() != 0 {
				return // an unprivileged reader sees closed files as their owner only
			}
			if _, again := mustWrite(t, Options{Compression: c, Created: created}, FromDir(dir)); again != blob {
				t.Errorf("what was extracted makes another layer: %+v, was %+v", again, blob)
			}
		})
	}
}

func TestExtractAppliesALayerOnTheOnesBelow(t *testing.T) {
	tests := map[string]struct {
		below []string
		layer []tar.Header
		want  map[string]string // of regular files and links, and directories that are to stay empty
	}{
		"a file replaces a file":             {[]string{"a=old"}, []tar.Header{reg("a")}, map[string]string{"a": "-rw-r--r-- xxx"}},
		"a file replaces a directory":        {[]string{"a/b/c=old"}, []tar.Header{reg("a")}, map[string]string{"a": "-rw-r--r-- xxx"}},
		"a file replaces a link":             {[]string{"a=-> b", "b=old"}, []tar.Header{reg("a")}, map[string]string{"a": "-rw-r--r-- xxx", "b": "-rw-r--r-- old"}},
		"a file replaces a link to outside":  {[]string{"a=-> /etc/passwd"}, []tar.Header{reg("a")}, map[string]string{"a": "-rw-r--r-- xxx"}},
		"a directory replaces a file":        {[]string{"a=old"}, []tar.Header{dir("a"), reg("a/b")}, map[string]string{"a": "drwxr-xr-x", "a/b": "-rw-r--r-- xxx"}},
		"a directory replaces a link":        {[]string{"a=-> b", "b/c=old"}, []tar.Header{dir("a")}, map[string]string{"a": "drwxr-xr-x", "b": "drwxr-xr-x", "b/c": "-rw-r--r-- old"}},
		"a directory keeps what is in it":    {[]string{"a/b=old"}, []tar.Header{dir("a"), reg("a/c")}, map[string]string{"a": "drwxr-xr-x", "a/b": "-rw-r--r-- old", "a/c": "-rw-r--r-- xxx"}},
		"a link replaces a directory":        {[]string{"a/b=old"}, []tar.Header{sym("a", "../..")}, map[string]string{"a": "-> ../.."}},
		"a file through a link inside":       {[]string{"lib=-> usr/lib", "usr/lib/old=old"}, []tar.Header{reg("lib/new")}, map[string]string{"lib": "-> usr/lib", "usr": "drwxr-xr-x", "usr/lib": "drwxr-xr-x", "usr/lib/old": "-rw-r--r-- old", "usr/lib/new": "-rw-r--r-- xxx"}},
		"missing parents are made":           {nil, []tar.Header{reg("a/b/c")}, map[string]string{"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/c": "-rw-r--r-- xxx"}},
		"a hard link":                        {[]string{"a=old"}, []tar.Header{hard("b", "a"), hard("c", "./b")}, map[string]string{"a": "-rw-r--r-- old", "b": "-rw-r--r-- old", "c": "-rw-r--r-- old"}},
		"a hard link replaces a directory":   {[]string{"a=old", "b/c=old"}, []tar.Header{hard("b", "a")}, map[string]string{"a": "-rw-r--r-- old", "b": "-rw-r--r-- old"}},
		"a hard link to a link":              {[]string{"a=-> /etc/passwd"}, []tar.Header{hard("b", "a"), reg("b2")}, map[string]string{"a": "-> /etc/passwd", "b": "-> /etc/passwd", "b2": "-rw-r--r-- xxx"}},
		"a new file parts from its old link": {[]string{"a=old"}, []tar.Header{hard("b", "a"), reg("b")}, map[string]string{"a": "-rw-r--r-- old", "b": "-rw-r--r-- xxx"}},
		"the last of two entries holds":      {nil, []tar.Header{dir("a"), reg("a/b"), reg("a"), dir("c"), sym("c", "a")}, map[string]string{"a": "-rw-r--r-- xxx", "c": "-> a"}},

		"replaced directories get nothing": {nil, []tar.Header{dir("a"), dir("a/b"), dir("a/c"), sym("a", "../.."), dir("d"), dir("d/e"), reg("d")},
			map[string]string{"a": "-> ../..", "d": "-rw-r--r-- xxx"}},
		"a whiteout of a file":         {[]string{"a=old", "b=old"}, []tar.Header{reg(".wh.a")}, map[string]string{"b": "-rw-r--r-- old"}},
		"a whiteout of a directory":    {[]string{"a/b/c=old"}, []tar.Header{reg("a/.wh.b")}, map[string]string{"a": "drwxr-xr-x"}},
		"a whiteout of a link":         {[]string{"a=-> b", "b/c=old"}, []tar.Header{reg(".wh.a")}, map[string]string{"b": "drwxr-xr-x", "b/c": "-rw-r--r-- old"}},
		"a whiteout of nothing":        {nil, []tar.Header{reg(".wh.a"), reg("b/c/.wh.d")}, map[string]string{}},
		"a whiteout below a file":      {[]string{"a=old"}, []tar.Header{reg("a/.wh.b")}, map[string]string{"a": "-rw-r--r-- old"}},
		"a whiteout far below a file":  {[]string{"a=old", "l=-> a"}, []tar.Header{reg("a/b/.wh.c"), reg("l/.wh..wh..opq")}, map[string]string{"a": "-rw-r--r-- old", "l": "-> a"}},
		"a whiteout and then the file": {[]string{"a/old=old"}, []tar.Header{reg(".wh.a"), reg("a/new")}, map[string]string{"a": "drwxr-xr-x", "a/new": "-rw-r--r-- xxx"}},
		"the file and then a whiteout": {[]string{"a/old=old"}, []tar.Header{reg("a/new"), reg(".wh.a")}, map[string]string{"a": "drwxr-xr-x", "a/new": "-rw-r--r-- xxx"}},
		"an opaque directory":          {[]string{"a/b/c=old", "d=old"}, []tar.Header{dir("a"), reg("a/.wh..wh..opq"), reg("a/new")}, map[string]string{"a": "drwxr-xr-x", "a/new": "-rw-r--r-- xxx", "d": "-rw-r--r-- old"}},
		"an opaque directory, said late": {[]string{"a/b/old=old", "a/c/old=old"}, []tar.Header{reg("a/b/new"), reg("a/new"), hard("a/d", "a/new"), reg("a/.wh..wh..opq")},
			map[string]string{"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/new": "-rw-r--r-- xxx", "a/new": "-rw-r--r-- xxx", "a/d": "-rw-r--r-- xxx"}},
		"an opaque root":     {[]string{"a/b=old", "c=old"}, []tar.Header{reg(".wh..wh..opq"), reg("d")}, map[string]string{"d": "-rw-r--r-- xxx"}},
		"leftovers of aufs":  {nil, []tar.Header{dir(".wh..wh.plnk"), reg(".wh..wh.plnk/1.2"), reg(".wh..wh.aufs")}, map[string]string{}},
		"names with a dot":   {nil, []tar.Header{dir("./"), reg("./a"), reg("b//c"), reg("..d"), reg("e../f")}, map[string]string{"a": "-rw-r--r-- xxx", "b": "drwxr-xr-x", "b/c": "-rw-r--r-- xxx", "..d": "-rw-r--r-- xxx", "e..": "drwxr-xr-x", "e../f": "-rw-r--r-- xxx"}},
		"a file of any type": {nil, []tar.Header{{Typeflag: tar.TypeCont, Name: "a"}}, map[string]string{"a": "-rw-r--r-- "}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			populate(t, dir, test.below...)
			if err := extract(t, dir, rawTar(t, test.layer...)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, snapshot(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExtractRefuses(t *testing.T) {
	tests := map[string]struct {
		below []string
		layer []tar.Header
		want  string
	}{
		"an upward name":                    {nil, []tar.Header{reg("../x")}, `entry "../x": the name leaves the image`},
		"an upward name in the middle":      {nil, []tar.Header{reg("a/../../x")}, "leaves the image"},
		"an upward directory":               {nil, []tar.Header{dir("..")}, "leaves the image"},
		"an absolute name":                  {nil, []tar.Header{reg("/etc/passwd")}, `entry "/etc/passwd": the name leaves the image`},
		"a file through a link":             {nil, []tar.Header{sym("a", "../outside"), reg("a/x")}, `entry "a/x": link "a" to "../outside" leaves the image`},
		"a file through an absolute link":   {[]string{"a=-> /"}, []tar.Header{reg("a/x")}, `link "a" to "/" leaves the image`},
		"a file through links":              {nil, []tar.Header{dir("b"), sym("b/c", ".."), sym("d", "b/c/.."), reg("d/x")}, `link "d" to "b/c/.." leaves the image`},
		"new parents through a link":        {nil, []tar.Header{sym("a", "../outside"), reg("a/new/deep/x")}, `link "a" to "../outside" leaves the image`},
		"a directory through a link":        {nil, []tar.Header{sym("a", "../outside"), dir("a/sub")}, "leaves the image"},
		"a link through a link":             {nil, []tar.Header{sym("a", "../outside"), sym("a/b", "x")}, "leaves the image"},
		"a whiteout through a link":         {nil, []tar.Header{sym("a", "../outside"), reg("a/.wh.canary")}, `link "a" to "../outside" leaves the image`},
		"an opaque marker through a link":   {nil, []tar.Header{sym("a", "../outside"), reg("a/.wh..wh..opq")}, "leaves the image"},
		"a file through a loop":             {nil, []tar.Header{sym("a", "b"), sym("b", "a"), reg("a/x")}, `entry "a/x"`},
		"a file through a dangling link":    {nil, []tar.Header{sym("a", "b"), reg("a/x")}, `link "a" to "b" leads to nothing`},
		"a file below a file":               {[]string{"a=old"}, []tar.Header{reg("a/b")}, "not a directory"},
		"a hard link upward":                {nil, []tar.Header{hard("a", "../../etc/passwd")}, `entry "a": hard link "../../etc/passwd" leaves the image`},
		"a hard link to an absolute name":   {nil, []tar.Header{hard("a", "/etc/passwd")}, `hard link "/etc/passwd" leaves the image`},
		"a hard link through a link":        {nil, []tar.Header{sym("s", "../outside"), hard("a", "s/canary")}, `hard link "s/canary": link "s" to "../outside" leaves the image`},
		"a hard link into a linked outside": {nil, []tar.Header{sym("s", "../outside"), reg("a"), hard("s/b", "a")}, "leaves the image"},
		"a hard link to nothing":            {nil, []tar.Header{hard("a", "b")}, `hard link "b" leads to nothing`},
		"a hard link to itself":             {nil, []tar.Header{reg("a"), hard("a", "./a")}, "leads to itself"},
		"a hard link to a directory":        {nil, []tar.Header{dir("d"), hard("a", "d")}, `hard link "d"`},
		"a symbolic link to nowhere":        {nil, []tar.Header{sym("a", "")}, "has no target"},
		"a whiteout of the parent":          {nil, []tar.Header{reg("a/.wh...")}, "names no file"},
		"a whiteout of the directory":       {nil, []tar.Header{reg("a/.wh..")}, "names no file"},
		"a whiteout of no name":             {nil, []tar.Header{reg("a/.wh.")}, "names no file"},
		"a file in a whiteout":              {nil, []tar.Header{reg(".wh.a/b")}, "reserved for whiteouts"},
		"a device":                          {nil, []tar.Header{{Typeflag: tar.TypeBlock, Name: "dev/sda", Devmajor: 8}}, `entry "dev/sda": devices and named pipes`},
		"a character device":                {nil, []tar.Header{{Typeflag: tar.TypeChar, Name: "null"}}, "devices and named pipes"},
		"a named pipe":                      {nil, []tar.Header{{Typeflag: tar.TypeFifo, Name: "pipe"}}, "devices and named pipes"},
		"another type":                      {nil, []tar.Header{{Typeflag: 'V', Name: "volume"}}, `type 'V'`},
		"a root that is a file":             {nil, []tar.Header{reg(".")}, "the root of an image is a directory"},
		"a root that is a link":             {nil, []tar.Header{sym("./.", "/etc")}, "the root of an image is a directory"},
		"an endless name":                   {nil, []tar.Header{reg(strings.Repeat("x/", 2048) + "x")}, "longer than 4096"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			populate(t, top, "outside/canary=alive", "image/")
			before := snapshot(t, filepath.Join(top, "outside"))
			populate(t, filepath.Join(top, "image"), test.below...)
			err := extract(t, filepath.Join(top, "image"), rawTar(t, test.layer...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if diff := cmp.Diff(before, snapshot(t, filepath.Join(top, "outside"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExtractLimits(t *testing.T) {
	raw := rawTar(t, reg("a"), reg("b"), dir("c"))
	huge := rawTar(t, reg("a"))
	copy(huge[124:136], "77777777777\x00") // 8 GiB, which no content follows
	rehash(huge)
	sum := func(n int64) ExtractOptions { return ExtractOptions{MaxBytes: n} }
	for name, test := range map[string]struct {
		raw  []byte
		o    ExtractOptions
		want string
	}{
		"as many entries as may be": {raw, ExtractOptions{MaxEntries: 3}, ""},
		"one entry too many":        {raw, ExtractOptions{MaxEntries: 2}, `entry "c": larger than allowed: more than 2 files and directories`},
		"as many bytes as may be":   {raw, sum(6), ""},
		"one byte too many":         {raw, sum(5), `entry "b": larger than allowed: the files are more than 5 bytes together`},
		"a file that claims a lot":  {huge, sum(1 << 30), "more than 1073741824 bytes"},
		"no limits":                 {raw, ExtractOptions{}, ""},
	} {
		err := Extract(t.Context(), t.TempDir(), bytes.NewReader(test.raw), test.o)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

// rehash makes the checksum of the first header right.
func rehash(raw []byte) {
	copy(raw[148:156], "        ")
	sum := 0
	for _, b := range raw[:512] {
		sum += int(b)
	}
	for i := 5; i >= 0; i-- {
		raw[148+i] = '0' + byte(sum&7)
		sum >>= 3
	}
	raw[154], raw[155] = 0, ' '
}

func TestExtractSetsTheRootsModeAndTime(t *testing.T) {
	top := t.TempDir()
	if err := extract(t, top, rawTar(t, tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, ModTime: time.Unix(42, 0)}, reg("a"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(top)
	if err != nil || info.Mode().Perm() != 0o711 || info.ModTime().Unix() != 42 {
		t.Errorf("%v %v, %v", info.Mode(), info.ModTime(), err)
	}
}

func TestExtractSetsOwnersAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: nobody else may change owners")
	}
	top := t.TempDir()
	own := func(h tar.Header, uid, gid int) tar.Header { h.Uid, h.Gid = uid, gid; return h }
	setuid := own(reg("a/f"), 7, 8)
	setuid.Mode = 0o4755
	setuid.PAXRecords = map[string]string{capabilityRecord: "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	raw := rawTar(t, own(dir("a"), 1, 2), own(sym("a/s", "f"), 3, 4), setuid)
	if err := extract(t, top, raw); err != nil {
		t.Fatal(err)
	}
	got := owners(t, top)
	want := map[string][2]int{"a": {1, 2}, "a/s": {3, 4}, "a/f": {7, 8}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(filepath.Join(top, "a/f")); err != nil || info.Mode() != fs.ModeSetuid|0o755 {
		t.Errorf("mode %v, %v: the change of owner took the setuid bit", info.Mode(), err)
	}
	if got := capability(t, filepath.Join(top, "a/f")); got != setuid.PAXRecords[capabilityRecord] {
		t.Errorf("capabilities %q", got)
	}
	for _, bad := range []tar.Header{own(reg("b"), -1, 0), own(dir("b"), 0, -1), own(sym("b", "c"), 1<<32, 0)} {
		if err := extract(t, t.TempDir(), rawTar(t, bad)); err == nil || !strings.Contains(err.Error(), "there is no owner") {
			t.Errorf("%d:%d: error %v", bad.Uid, bad.Gid, err)
		}
	}
}

func TestExtractStopsWhenCancelled(t *testing.T) {
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			size := int64(64 << 20)
			raw, _ := mustWrite(t, Options{Compression: c}, given(Entry{Name: "a", Size: size, Open: func() (io.ReadCloser, error) {
				return io.NopCloser(io.LimitReader(zeros{}, size)), nil
			}}))
			top := t.TempDir()
			r := io.TeeReader(bytes.NewReader(raw), &trigger{after: len(raw) / 2, run: cancel})
			if err := Extract(ctx, top, r, ExtractOptions{}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if info, err := os.Stat(filepath.Join(top, "a")); err == nil && info.Size() == size {
				t.Error("it went on to the end")
			}
		})
	}
}

func TestExtractRefusesDamagedLayers(t *testing.T) {
	for _, c := range compressions {
		raw, _ := mustWrite(t, Options{Compression: c}, Sorted(fixedTree()))
		for name, bad := range map[string][]byte{
			"cut off":      raw[:len(raw)/3],
			"no layer":     []byte("<html>404</html>" + strings.Repeat(" ", 1000)),
			"a bad header": append(append(bytes.Clone(raw[:len(raw)/2]), 0xaa, 0xbb, 0xcc), raw[len(raw)/2:]...),
		} {
			if err := extract(t, t.TempDir(), bad); err == nil {
				t.Errorf("%v, %s: no error", c, name)
			}
		}
	}
	if err := extract(t, filepath.Join(t.TempDir(), "missing"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// A file of zeros that GNU tar stored as sparse comes back whole.
func TestExtractReadsSparseFiles(t *testing.T) {
	raw, err := os.ReadFile("testdata/sparse.tar")
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	if err := extract(t, top, raw); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(top, "sparse"))
	if err != nil || len(got) != 1<<20 || !bytes.HasPrefix(got, []byte("head\x00")) || !bytes.HasSuffix(got, []byte("\x00tail")) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if bytes.Count(got, []byte{0}) != 1<<20-8 {
		t.Errorf("%d zeros", bytes.Count(got, []byte{0}))
	}
	if err := Extract(t.Context(), t.TempDir(), bytes.NewReader(raw), ExtractOptions{MaxBytes: 1<<20 - 1}); err == nil {
		t.Error("the limit counts what is stored, not what is written")
	}
}
