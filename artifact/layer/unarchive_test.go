package layer

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// tarOf makes an archive of headers; a regular file's content is its Linkname.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarFile(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content}
}

func tarDir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

func tarLink(flag byte, name, target string) tar.Header {
	return tar.Header{Typeflag: flag, Name: name, Linkname: target}
}

func compressed(t testing.TB, how string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	default:
		return data
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// stream returns an opener of data that is no file.
func stream(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// onDisk returns an opener of a file with data.
func onDisk(t testing.TB, data []byte) func() (io.ReadCloser, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return os.Open(name) }
}

// listed reads an archive and describes every entry in a line.
func listed(t testing.TB, open func() (io.ReadCloser, error)) ([]string, error) {
	t.Helper()
	dir := t.TempDir()
	entries, is, done, err := FromArchive(t.Context(), dir, open)
	defer func() {
		if err := done(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}()
	if err != nil {
		return nil, err
	}
	if !is {
		return nil, nil
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("the spooled archive has a name: %v", left)
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, described(t, e))
	}
	return lines, nil
}

func described(t testing.TB, e Entry) string {
	t.Helper()
	line := fmt.Sprintf("%v %d:%d %s", e.Mode, e.UID, e.GID, e.Name)
	if e.Linkname != "" {
		line += " -> " + e.Linkname
	}
	if e.Open == nil {
		return line
	}
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil || int64(len(content)) != e.Size {
		t.Errorf("%s: %d bytes of %d, %v", e.Name, len(content), e.Size, err)
	}
	if len(content) > 40 {
		return fmt.Sprintf("%s: %d bytes", line, len(content))
	}
	return line + ": " + string(content)
}

func TestFromArchiveReadsEveryCompressionByContent(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 10_000)
	setuid := tarFile("bin/tool", "#!")
	setuid.Mode, setuid.Uid, setuid.Gid = 0o4755, 7, 8
	long := strings.Repeat("directory/", 30) + "file" // needs a PAX header
	archive := tarOf(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0a1b"}},
		tarDir("./"), tarDir("./bin/"), setuid, tarFile("big", big), tarFile(long, "far"), tarFile("empty", ""),
		tarLink(tar.TypeSymlink, "bin/link", "../big"), tarLink(tar.TypeSymlink, "abs", "/etc/passwd"), tarLink(tar.TypeLink, "bin/hard", "./bin/tool"))
	want := []string{
		"Lrwxrwxrwx 0:0 abs -> /etc/passwd",
		"-rw-r--r-- 0:0 big: 160000 bytes",
		"drwxr-xr-x 0:0 bin",
		"urwxr-xr-x 7:8 bin/hard: #!",
		"Lrwxrwxrwx 0:0 bin/link -> ../big",
		"urwxr-xr-x 7:8 bin/tool: #!",
		"-rw-r--r-- 0:0 " + long + ": far",
		"-rw-r--r-- 0:0 empty",
	}
	for _, how := range []string{"none", "gzip", "xz", "zstd"} {
		data := compressed(t, how, archive)
		for kind, open := range map[string]func() (io.ReadCloser, error){"file": onDisk(t, data), "stream": stream(data)} {
			got, err := listed(t, open)
			if err != nil {
				t.Errorf("%s, %s: %v", how, kind, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s:\n%s", how, kind, diff)
			}
		}
	}
}

// The tar command writes what Go does not: bzip2, sparse files, its own formats.
func TestFromArchiveReadsWhatTarWrites(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("THERE IS NO tar COMMAND: its formats were not read; archives made in Go are, in other tests")
	}
	src := t.TempDir()
	for _, name := range []string{"a", "sub/b"} {
		os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755)
		if err := os.WriteFile(filepath.Join(src, name), []byte("content of "+name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"sub/holes", "sub/holes2"} {
		f, err := os.Create(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("head")
		f.WriteAt([]byte("tail"), int64(i+1)<<20)
		f.Close()
		os.Chmod(f.Name(), 0o644)
	}
	os.WriteFile(filepath.Join(src, "z"), []byte("last"), 0o600)
	os.Chmod(filepath.Join(src, "sub"), 0o755)
	os.Link(filepath.Join(src, "a"), filepath.Join(src, "y"))
	os.Symlink("sub/b", filepath.Join(src, "link"))
	want := []string{
		"-rw-r----- 5:6 a: content of a", "Lrwxrwxrwx 5:6 link -> sub/b", "drwxr-xr-x 5:6 sub", "-rw-r----- 5:6 sub/b: content of sub/b",
		"-rw-r--r-- 5:6 sub/holes: 1048580 bytes", "-rw-r--r-- 5:6 sub/holes2: 2097156 bytes", "-rw-r----- 5:6 y: content of a", "-rw------- 5:6 z: last",
	}
	for name, args := range map[string][]string{
		"gnu": {"--format=gnu"}, "pax": {"--format=pax"}, "ustar": {"--format=ustar"},
		"gnu sparse": {"--format=gnu", "-S"}, "pax sparse": {"--format=pax", "-S"}, "pax sparse 0.1": {"--format=pax", "-S", "--sparse-version=0.1"},
		"bzip2": {"-j"}, "xz": {"-J"}, "gzip sparse": {"-z", "-S"}, "zstd": {"--zstd"},
	} {
		out := filepath.Join(t.TempDir(), "out") // a name that tells nothing
		cmd := exec.CommandContext(t.Context(), "tar", append(args, "--sort=name", "--owner=5", "--group=6", "--numeric-owner", "-C", src, "-cf", out, "a", "link", "sub", "y", "z")...)
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%s: THIS tar CANNOT, NOT TESTED: %v: %s", name, err, msg)
			continue
		}
		got, err := listed(t, func() (io.ReadCloser, error) { return os.Open(out) })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// A small tar.bz2, as nothing in Go writes one: the file "hello" with "hello, bzip2".
const bzipArchive = "425a683931415926535992b3409300002e5b80ca804004758000087264de100a0820005434a3234d191a1933534fd504a24d0d3d4c9a01a0d1bde7c8" +
	"33c408d25015a1720282c5a2f11ea213720e95309c8ce4e6302ebe024a8b817f49f8ee89f8bb9229c28484959a0498"

func TestFromArchiveReadsBzip2(t *testing.T) {
	data, err := hex.DecodeString(bzipArchive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(data))); err != nil {
		t.Fatal(err)
	}
	got, err := listed(t, onDisk(t, data))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"-rw-r--r-- 0:0 hello: hello, bzip2"}, got); diff != "" {
		t.Error(diff)
	}
}

// Sparse files one after another, and between others, come back with their holes filled, in any order of reading.
func TestFromArchiveReadsSparseFilesInTheMiddle(t *testing.T) {
	raw, err := os.ReadFile("testdata/sparse.tar")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"alone": raw, "between": slotted(t, raw)} {
		entries, is, done, err := FromArchive(t.Context(), t.TempDir(), onDisk(t, data))
		if err != nil || !is {
			t.Fatalf("%s: %v %v", name, is, err)
		}
		seen := 0
		for i := len(entries) - 1; i >= 0; i-- {
			if e := entries[i]; strings.HasPrefix(e.Name, "sparse") {
				seen++
				r, err := e.Open()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || len(got) != 1<<20 || !bytes.HasPrefix(got, []byte("head\x00")) || !bytes.HasSuffix(got, []byte("\x00tail")) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
		}
		if seen == 0 {
			t.Errorf("%s: no sparse file in %v", name, entries)
		}
		done()
	}
}

// slotted puts the only entry of an archive between others.
func slotted(t *testing.T, raw []byte) []byte {
	before, after := tarOf(t, tarFile("a", "1"), tarDir("b")), tarOf(t, tarFile("z", "2"))
	cut := func(b []byte) []byte { return b[:(len(bytes.TrimRight(b, "\x00"))+511)/512*512] }
	return append(append(append([]byte{}, cut(before)...), cut(raw)...), after...)
}

func TestFromArchiveLeavesOtherFilesAlone(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": {}, "text": []byte("hello"), "long text": bytes.Repeat([]byte("hello, world\n"), 1000), "zeros": make([]byte, 4096),
		"gzip of text": compressed(t, "gzip", []byte("hello")), "xz of text": compressed(t, "xz", bytes.Repeat([]byte("hello"), 1000)),
		"zstd of text": compressed(t, "zstd", []byte("hello")), "gzip of nothing": compressed(t, "gzip", nil),
		"only the magic of gzip": []byte("\x1f\x8b"), "BZ text": []byte("BZh91 is a name"), "an ELF file": append([]byte("\x7fELF"), make([]byte, 2000)...),
		"archive in gzip in gzip": compressed(t, "gzip", compressed(t, "gzip", tarOf(t, tarFile("a", "b")))),
	} {
		for kind, open := range map[string]func() (io.ReadCloser, error){"file": onDisk(t, data), "stream": stream(data)} {
			if _, is, done, err := FromArchive(t.Context(), t.TempDir(), open); is || err != nil || done() != nil {
				t.Errorf("%s, %s: %v %v", name, kind, is, err)
			}
		}
	}
}

func TestFromArchiveLetsTheLaterEntryWin(t *testing.T) {
	for name, test := range map[string]struct {
		headers []tar.Header
		want    []string
	}{
		"file": {[]tar.Header{tarFile("a", "1"), tarFile("./a", "2")}, []string{"-rw-r--r-- 0:0 a: 2"}},
		"file over a directory": {[]tar.Header{tarDir("d"), tarFile("d/x", "1"), tarFile("d", "2"), tarFile("dx", "3")},
			[]string{"-rw-r--r-- 0:0 d: 2", "-rw-r--r-- 0:0 dx: 3"}},
		"directory over a file": {[]tar.Header{tarFile("d", "1"), tarDir("d"), tarFile("d/x", "2")},
			[]string{"drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/x: 2"}},
		"directory twice keeps its members": {[]tar.Header{tarDir("d"), tarFile("d/x", "2"), tarDir("d")},
			[]string{"drwxr-xr-x 0:0 d", "-rw-r--r-- 0:0 d/x: 2"}},
		"a link binds to what was there": {[]tar.Header{tarFile("a", "1"), tarLink(tar.TypeLink, "b", "a"), tarFile("a", "2")},
			[]string{"-rw-r--r-- 0:0 a: 2", "-rw-r--r-- 0:0 b: 1"}},
		"absolute names": {[]tar.Header{tarFile("/etc/x", "1"), tarLink(tar.TypeLink, "/y", "/etc/x"), tarLink(tar.TypeSymlink, "/s", "y"), tarLink(tar.TypeLink, "t", "s")},
			[]string{"-rw-r--r-- 0:0 etc/x: 1", "Lrwxrwxrwx 0:0 s -> y", "Lrwxrwxrwx 0:0 t -> y", "-rw-r--r-- 0:0 y: 1"}},
	} {
		got, err := listed(t, stream(tarOf(t, test.headers...)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestFromArchiveRefuses(t *testing.T) {
	owned := tarFile("a", "b")
	owned.Uid = -1
	for name, test := range map[string]struct {
		header tar.Header
		want   string
	}{
		"a name that leaves":           {tarFile("../a", "x"), "leads out of the archive"},
		"a name that leaves later":     {tarFile("a/../../b", "x"), "leads out of the archive"},
		"an absolute name that leaves": {tarFile("/../b", "x"), "leads out of the archive"},
		"a link that leaves":           {tarLink(tar.TypeSymlink, "d/a", "../../b"), "leads out of the archive"},
		"a link to the parent":         {tarLink(tar.TypeSymlink, "a", ".."), "leads out of the archive"},
		"a link to nothing":            {tarLink(tar.TypeSymlink, "a", ""), "no target"},
		"a hard link that leaves":      {tarLink(tar.TypeLink, "a", "../b"), "leads out of the archive"},
		"a hard link to nothing":       {tarLink(tar.TypeLink, "a", "b"), "not before it"},
		"a hard link to itself":        {tarLink(tar.TypeLink, "a", "a"), "not before it"},
		"a hard link to a directory":   {tarLink(tar.TypeLink, "a", "first"), "a directory"},
		"a whiteout":                   {tarFile("a/.wh.b", ""), "delete files"},
		"below a whiteout":             {tarFile(".wh.b/c", ""), "delete files"},
		"an opaque marker":             {tarFile("a/.wh..wh..opq", ""), "delete files"},
		"a device":                     {tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Devmajor: 1, Devminor: 3}, "device"},
		"a disk":                       {tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda"}, "device"},
		"a pipe":                       {tar.Header{Typeflag: tar.TypeFifo, Name: "p"}, "named pipe"},
		"a negative owner":             {owned, "no owner -1:0"},
		"a file below a file":          {tarFile("file/x", "y"), "no directory"},
		"a file below a link":          {tarFile("link/x", "y"), "no directory"},
	} {
		raw := tarOf(t, tarDir("first"), tarFile("file", "f"), tarLink(tar.TypeSymlink, "link", "/etc"), test.header)
		_, err := listed(t, stream(raw))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.header.Name) {
			t.Errorf("%s: error %v, want %q about %s", name, err, test.want, test.header.Name)
		}
	}
}

func TestFromArchiveRefusesDamage(t *testing.T) {
	raw := tarOf(t, tarFile("a", strings.Repeat("some text. ", 5000)), tarFile("b", "2"))
	for name, data := range map[string][]byte{
		"cut off in a file":   raw[:20_000],
		"cut off in a header": raw[:len(raw)-2048+100],
		"gzip cut off":        compressed(t, "gzip", raw)[:200],
		"xz cut off":          compressed(t, "xz", raw)[:200],
		"zstd cut off":        compressed(t, "zstd", raw)[:100],
		"a wrong header":      append(append([]byte{}, raw[:512+(55_000+511)/512*512]...), bytes.Repeat([]byte("x"), 4096)...),
	} {
		for kind, open := range map[string]func() (io.ReadCloser, error){"file": onDisk(t, data), "stream": stream(data)} {
			if got, err := listed(t, open); err == nil {
				t.Errorf("%s, %s: no error, %q", name, kind, got)
			}
		}
	}
}

// partOfFile is a file inside another, such as an archive in a layer.
type partOfFile struct{ *io.SectionReader }

func (partOfFile) Close() error { return nil }

func TestFromArchiveReadsAPartOfAFileInPlace(t *testing.T) {
	raw := tarOf(t, tarFile("a", "of a"), tarFile("b", "of b"))
	inside := "before" + string(raw) + "behind"
	nowhere := filepath.Join(t.TempDir(), "missing") // a copy would fail
	entries, is, done, err := FromArchive(t.Context(), nowhere, func() (io.ReadCloser, error) {
		return partOfFile{io.NewSectionReader(strings.NewReader(inside), 6, int64(len(raw)))}, nil
	})
	if err != nil || !is || len(entries) != 2 {
		t.Fatalf("%d entries, %v, %v", len(entries), is, err)
	}
	r, err := entries[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "of b" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := errors.Join(r.Close(), done()); err != nil {
		t.Error(err)
	}
}

func TestFromArchiveReportsAFileThatChanges(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.tar")
	os.WriteFile(name, tarOf(t, tarFile("a", "1")), 0o644)
	entries, _, done, err := FromArchive(t.Context(), t.TempDir(), func() (io.ReadCloser, error) { return os.Open(name) })
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := entries[0].Open(); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("error %v", err)
	}
}

func TestFromArchiveReportsErrorsOfTheSource(t *testing.T) {
	broken := errors.New("broken disk")
	raw := compressed(t, "gzip", tarOf(t, tarFile("a", "b")))
	for _, n := range []int{0, 5, 30, len(raw) - 1} {
		_, _, _, err := FromArchive(t.Context(), t.TempDir(), func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(raw[:n]), failingReader{broken})), nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, _, _, err := FromArchive(t.Context(), t.TempDir(), func() (io.ReadCloser, error) { return nil, fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, _, _, err := FromArchive(t.Context(), filepath.Join(t.TempDir(), "missing"), stream(raw)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no place to spool: %v", err)
	}
}

// endless is a tar archive of one file that never ends.
type endless struct {
	head io.Reader
	read func(n int)
}

func (e endless) Read(p []byte) (int, error) {
	if n, err := e.head.Read(p); err == nil {
		return n, nil
	}
	e.read(len(p))
	clear(p)
	return len(p), nil
}

func (endless) Close() error { return nil }

func TestFromArchiveStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	total := 0
	r := endless{bytes.NewReader(tarOf(t, tarFile("a", "b"))[:512]), func(n int) {
		if total += n; total > 1<<20 {
			cancel(stop)
		}
	}}
	dir := t.TempDir()
	_, _, _, err := FromArchive(ctx, dir, func() (io.ReadCloser, error) { return r, nil })
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzFromArchive(f *testing.F) {
	f.Add(tarOf(f, tarDir("d"), tarFile("d/a", "1"), tarLink(tar.TypeLink, "b", "d/a"), tarLink(tar.TypeSymlink, "s", "b")))
	f.Add(compressed(f, "gzip", tarOf(f, tarFile("../a", "1"))))
	f.Add(compressed(f, "xz", tarOf(f, tarFile("a", "1"))))
	f.Add(compressed(f, "zstd", tarOf(f, tarFile(".wh.a", "1"))))
	for _, seed := range []string{"f a\nd b\ns b/c ../a\nh d a", "s a ..\nf a/b", "h a ../x", "d a\nf a/b\nf a\nd a\nf a/c", "p a"} {
		f.Add(script(seed, "/tmp"))
	}
	for _, raw := range smallTricks() {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, _, done, err := FromArchive(t.Context(), t.TempDir(), stream(data))
		if err != nil {
			return
		}
		defer done()
		seen := map[string]bool{}
		for _, e := range entries {
			if !fs.ValidPath(strings.ToValidUTF8(e.Name, "_")) || e.Name == "." || seen[e.Name] || strings.HasPrefix(path.Base(e.Name), WhiteoutPrefix) {
				t.Errorf("name %q", e.Name)
			}
			seen[e.Name] = true
			if err := checkEntry(e); err != nil {
				t.Errorf("%q cannot go into a layer: %v", e.Name, err)
			}
			if e.Open != nil && e.Size <= 1<<20 {
				if r, err := e.Open(); err == nil {
					if n, err := io.Copy(io.Discard, r); err == nil && n != e.Size {
						t.Errorf("%q has %d bytes, not %d", e.Name, n, e.Size)
					}
					r.Close()
				}
			}
			if strings.HasPrefix(filepath.Join(filepath.Dir(e.Name), e.Linkname), "..") && !filepath.IsAbs(e.Linkname) {
				if p := filepath.Join(filepath.Dir(e.Name), e.Linkname); p == ".." || strings.HasPrefix(p, "../") {
					t.Errorf("%q -> %q", e.Name, e.Linkname)
				}
			}
		}
	})
}
