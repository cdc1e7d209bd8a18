package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fixedTree has one entry of every kind that the archive writes in a way of its own.
func fixedTree() []Entry {
	long := strings.Repeat("long/", 30) + "name"
	return []Entry{
		file("bin/k3s", 0o755, strings.Repeat("binary ", 1000)),
		file("bin/sudo", fs.ModeSetuid|0o755, "setuid"),
		{Name: "etc/empty", Mode: 0o600},
		{Name: "etc/owned", Mode: 0o640, UID: 1000, GID: 3_000_000},
		dirEntry("tmp", fs.ModeSticky|0o777),
		symlink("lib", "usr/lib"),
		symlink("usr/lib/"+strings.Repeat("x", 120), "/etc/"+strings.Repeat("y", 120)),
		file("usr/share/größe", 0o644, "ü"),
		file(long, 0o644, "deep"),
		Whiteout("etc/gone"),
		Opaque("var/cache"),
	}
}

// The digests hold for ever: a layer that is built again in years must be found where it was pushed. The digest of a
// compressed layer may change with the compression library, and then only in a commit that says so.
func TestWriteGoldenDigests(t *testing.T) {
	const diffID = "3e5b4a05c5560cf38874818538b3ac84f1763fd9286b289ef1f3de2d292ef857"
	for c, want := range map[Compression]string{
		Zstd: "81c23e5462a80b6dbe6277f1644b39291ef4c31215b71d0dbb14059aac454d25",
		Gzip: "f61274614b054ebdc5216e1d7a6fd47311c27814e02bd8eec296b84e5c45b8a2",
		None: diffID,
	} {
		t.Run(c.String(), func(t *testing.T) {
			raw, blob := mustWrite(t, Options{Compression: c, Created: time.Unix(1700000000, 999)}, Sorted(fixedTree()))
			if blob.DiffID.Hex != diffID {
				t.Errorf("DiffID = %s, want %s", blob.DiffID.Hex, diffID)
			}
			if blob.Digest.Hex != want {
				t.Errorf("Digest = %s, want %s", blob.Digest.Hex, want)
			}
			if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != blob.Digest.Hex || blob.Size != int64(len(raw)) {
				t.Errorf("%d bytes of digest %x were written, the blob says %+v", len(raw), sum, blob)
			}
			d := blob.Descriptor()
			if d.Digest != blob.Digest || d.Size != blob.Size || d.MediaType != c.MediaType() {
				t.Errorf("Descriptor() = %+v", d)
			}
		})
	}
}

func TestWriteHeaders(t *testing.T) {
	raw, _ := mustWrite(t, Options{Compression: None, Created: time.Unix(1700000000, 999)}, Sorted(fixedTree()))
	tr := tar.NewReader(bytes.NewReader(raw))
	var got []string
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uname+h.Gname != "" || h.ModTime.UnixNano() != 1700000000e9 || h.Devmajor != 0 {
			t.Errorf("header of %s: %+v", h.Name, h)
		}
		got = append(got, fmt.Sprintf("%c %s %o %d:%d %s %v", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, h.Linkname, h.Format))
	}
	// Parents come once; PAX (extended) headers only where ustar cannot say it.
	want := []string{
		"5 bin/ 755 0:0  USTAR", "0 bin/k3s 755 0:0  USTAR", "0 bin/sudo 4755 0:0  USTAR",
		"5 etc/ 755 0:0  USTAR", "0 etc/.wh.gone 0 0:0  USTAR", "0 etc/empty 600 0:0  USTAR",
		"0 etc/owned 640 1000:3000000  PAX", "2 lib 777 0:0 usr/lib USTAR",
	}
	for i := 1; i <= 30; i++ {
		want = append(want, fmt.Sprintf("5 %s 755 0:0  USTAR", strings.Repeat("long/", i)))
	}
	want = append(want, "0 "+strings.Repeat("long/", 30)+"name 644 0:0  USTAR", "5 tmp/ 1777 0:0  USTAR",
		"5 usr/ 755 0:0  USTAR", "5 usr/lib/ 755 0:0  USTAR",
		"2 usr/lib/"+strings.Repeat("x", 120)+" 777 0:0 /etc/"+strings.Repeat("y", 120)+" PAX",
		"5 usr/share/ 755 0:0  USTAR", "0 usr/share/größe 644 0:0  PAX", "5 var/ 755 0:0  USTAR",
		"5 var/cache/ 755 0:0  USTAR", "0 var/cache/.wh..wh..opq 0 0:0  USTAR")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriteIsTheSameForAnyNumberOfJobs(t *testing.T) {
	// Chunks of different kinds, so that an encoder that kept something of the chunk before would show.
	var content bytes.Buffer
	for i := range byte(6) {
		io.Copy(&content, noise(i, 3<<20))
		content.WriteString(strings.Repeat(fmt.Sprintf("line %d of a text\n", i), 150_000))
	}
	entries := []Entry{file("data", 0o644, content.String()), file("tail", 0o644, "x")}
	for _, c := range compressions {
		var want Blob
		for jobs := range 9 {
			raw, got := mustWrite(t, Options{Compression: c, Jobs: jobs}, Sorted(entries))
			if jobs == 0 {
				want = got
				plain, err := decompressed(raw)
				if sum := sha256.Sum256([]byte(plain)); err != nil || hex.EncodeToString(sum[:]) != got.DiffID.Hex {
					t.Errorf("%s: %d bytes of digest %x come back, %v; the blob says %+v", c, len(plain), sum, err, got)
				}
			}
			if got != want {
				t.Errorf("%s, %d jobs: %+v, want %+v", c, jobs, got, want)
			}
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	broken := errors.New("disk on fire")
	tests := map[string]struct {
		entries []Entry
		want    string
	}{
		"an absolute name":       {[]Entry{file("/etc/x", 0o644, "")}, `entry "/etc/x": the name is not a clean relative path`},
		"an upward name":         {[]Entry{file("../x", 0o644, "")}, "not a clean relative path"},
		"a trailing slash":       {[]Entry{dirEntry("a/", 0o755)}, "not a clean relative path"},
		"no name":                {[]Entry{{}}, "the name is empty"},
		"the root":               {[]Entry{dirEntry(".", 0o755)}, "the root is no entry"},
		"a NUL":                  {[]Entry{file("a\x00b", 0o644, "")}, "NUL"},
		"an endless name":        {[]Entry{file(strings.Repeat("x/", 2048)+"x", 0o644, "")}, "longer than 4096"},
		"a name twice":           {[]Entry{file("a", 0o644, ""), file("a", 0o644, "")}, `entry "a": the name is listed twice`},
		"disorder":               {[]Entry{file("b", 0o644, ""), file("a", 0o644, "")}, `entry "a": it comes after "b": sort the entries`},
		"disorder of parents":    {[]Entry{file("a/b", 0o644, ""), file("c", 0o644, ""), file("a/c", 0o644, "")}, `it comes after "c"`},
		"a file as a parent":     {[]Entry{file("a", 0o644, ""), file("a/b", 0o644, "")}, `its parent "a" is not a directory`},
		"a link as a parent":     {[]Entry{symlink("a", "b"), file("a/b/c", 0o644, "")}, `its parent "a" is not a directory`},
		"a reserved file":        {[]Entry{file(".wh.a", 0o644, "")}, "reserved for whiteouts"},
		"a reserved directory":   {[]Entry{file("a/.wh.b/c", 0o644, "")}, "reserved for whiteouts"},
		"a link to nothing":      {[]Entry{symlink("a", "")}, "has no target"},
		"content from nowhere":   {[]Entry{{Name: "a", Size: 5}}, "no content of 5 bytes"},
		"a device":               {[]Entry{{Name: "a", Mode: fs.ModeDevice | fs.ModeCharDevice}}, "a device cannot go into a layer"},
		"a socket":               {[]Entry{{Name: "a", Mode: fs.ModeSocket}}, "a socket cannot"},
		"a pipe":                 {[]Entry{{Name: "a", Mode: fs.ModeNamedPipe}}, "a named pipe cannot"},
		"a file that shrank":     {[]Entry{{Name: "etc/a", Size: 5, Open: opens("four")}}, `entry "etc/a": the file changed while it was read: 4 bytes instead of 5`},
		"a file that grew":       {[]Entry{{Name: "etc/a", Size: 5, Open: opens("sixsix")}}, `entry "etc/a": the file changed while it was read: more than 5 bytes`},
		"an empty one that grew": {[]Entry{{Name: "a", Open: opens("x")}}, "more than 0 bytes"},
		"a file that is gone":    {[]Entry{{Name: "a", Size: 5, Open: func() (io.ReadCloser, error) { return nil, broken }}}, `entry "a": disk on fire`},
	}
	for name, test := range tests {
		for _, c := range compressions {
			t.Run(name+"/"+c.String(), func(t *testing.T) {
				blob, err := Write(t.Context(), io.Discard, given(test.entries...), Options{Compression: c})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				if blob != (Blob{}) {
					t.Errorf("a blob in spite of the error: %+v", blob)
				}
			})
		}
	}
}

func TestWritePassesErrorsOn(t *testing.T) {
	cause := errors.New("no space left")
	big := file("big", 0o644, strings.Repeat("x", 20<<20))
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			_, err := Write(t.Context(), io.Discard, func(yield func(Entry, error) bool) { yield(Entry{}, cause) }, Options{Compression: c})
			if !errors.Is(err, cause) {
				t.Errorf("error of the entries: %v", err)
			}
			// While more is to come, and when all that is left is to close.
			for _, e := range []Entry{big, file("small", 0o644, "x")} {
				_, err = Write(t.Context(), &failing{after: 10, err: cause}, given(e), Options{Compression: c, Jobs: 2})
				if !errors.Is(err, cause) {
					t.Errorf("error of the writer in %s: %v", e.Name, err)
				}
			}
		})
	}
}

// failing takes a number of bytes and then fails.
type failing struct {
	after int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.after {
		return 0, f.err
	}
	f.after -= len(p)
	return len(p), nil
}

func TestWriteStopsWhenCancelled(t *testing.T) {
	for _, c := range compressions {
		t.Run(c.String()+" in a file without end", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r := io.TeeReader(zeros{}, &trigger{after: 30 << 20, run: cancel})
			e := Entry{Name: "a", Size: 1 << 50, Open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
			if _, err := Write(ctx, io.Discard, given(e), Options{Compression: c}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
		t.Run(c.String()+" between entries without end", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			entries := func(yield func(Entry, error) bool) {
				for i := 0; yield(Entry{Name: fmt.Sprintf("f%012d", i)}, nil); i++ {
					if i == 1000 {
						cancel()
					}
				}
			}
			if _, err := Write(ctx, io.Discard, entries, Options{Compression: c}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
		t.Run(c.String()+" before it starts", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := Write(ctx, io.Discard, given(), Options{Compression: c}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// trigger runs something once it has got a number of bytes.
type trigger struct {
	after int
	run   func()
}

func (w *trigger) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		w.run()
	}
	return len(p), nil
}
