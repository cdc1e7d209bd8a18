package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func decompressed(b []byte) (string, error) {
	r, err := Decompress(bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	return string(out), err
}

func TestDecompressReadsStreamsOfSeveralParts(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	z := func(s string) string { return string(enc.EncodeAll([]byte(s), nil)) }
	g := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return b.String()
	}
	skippable := "\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
	for name, test := range map[string]struct{ in, want string }{
		"zstd":                       {z("hello"), "hello"},
		"zstd frames":                {z("hello ") + skippable + z("world"), "hello world"},
		"zstd with a skip in front":  {skippable + z("hello"), "hello"},
		"gzip":                       {g("hello"), "hello"},
		"gzip members":               {g("hello ") + g("world"), "hello world"},
		"plain":                      {"hello", "hello"},
		"plain and shorter than any": {"x", "x"},
		"nothing":                    {"", ""},
		"plain that looks like bzip": {"BZhello, world", "BZhello, world"},
	} {
		if got, err := decompressed([]byte(test.in)); err != nil || got != test.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	text := strings.Repeat("some text that compresses. ", 10_000)
	var g bytes.Buffer
	gw := gzip.NewWriter(&g)
	io.WriteString(gw, text)
	gw.Close()
	enc, _ := zstd.NewWriter(nil)
	z := enc.EncodeAll([]byte(text), nil)
	wide := "\x28\xb5\x2f\xfd\x00\xa0" + strings.Repeat("\x00", 20) // a window of 1 GiB
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x40
		return b
	}
	for name, in := range map[string][]byte{
		"zstd cut off":            z[:len(z)-1],
		"zstd cut off early":      z[:len(z)/2],
		"zstd cut off in header":  z[:5],
		"zstd damaged":            flip(z, len(z)/2),
		"zstd checksum damaged":   flip(z, len(z)-1),
		"zstd with garbage":       append(bytes.Clone(z), "garbage"...),
		"zstd with zeros":         append(bytes.Clone(z), make([]byte, 512)...),
		"zstd with a wide window": []byte(wide),
		"gzip cut off":            g.Bytes()[:g.Len()-1],
		"gzip cut off early":      g.Bytes()[:g.Len()/2],
		"gzip cut off in header":  g.Bytes()[:5],
		"gzip damaged":            flip(g.Bytes(), g.Len()/2),
		"gzip checksum damaged":   flip(g.Bytes(), g.Len()-6),
		"gzip with garbage":       append(bytes.Clone(g.Bytes()), "garbage of some length"...),
		"gzip with zeros":         append(bytes.Clone(g.Bytes()), make([]byte, 512)...),
		"xz":                      []byte("\xfd7zXZ\x00\x00\x04"),
		"bzip2":                   []byte("BZh91AY&SY\x00"),
	} {
		if got, err := decompressed(in); err == nil {
			t.Errorf("%s: %d bytes without an error", name, len(got))
		} else if errors.Is(err, io.EOF) {
			t.Errorf("%s: the error is the regular end", name)
		} else if name == "zstd with a wide window" && !errors.Is(err, zstd.ErrWindowSizeExceeded) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// A layer that is cut off anywhere is an error, but for a plain one between two entries: some tools write no end.
func TestWalkRefusesTruncatedLayers(t *testing.T) {
	for _, c := range compressions {
		raw, _ := mustWrite(t, Options{Compression: c}, Sorted([]Entry{
			file("bin/k3s", 0o755, strings.Repeat("binary ", 1000)), {Name: "empty"}, symlink("lib", "usr/lib"), file("z", 0o644, "z"),
		}))
		ends := entryEnds(t, raw)
		refused := 0
		for n := 1; n < len(raw); n++ {
			if c == None && ends[n] {
				continue
			}
			err := Walk(t.Context(), bytes.NewReader(raw[:n]), func(_ *tar.Header, r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			})
			if err == nil {
				t.Fatalf("%v: %d of %d bytes are taken for a layer", c, n, len(raw))
			}
			refused++
		}
		if refused < len(raw)/2 {
			t.Errorf("%v: only %d lengths of %d were tried", c, refused, len(raw))
		}
	}
}

// entryEnds returns the lengths at which a plain archive is cut off behind an entry or in the padding that follows.
func entryEnds(t *testing.T, raw []byte) map[int]bool {
	ends := map[int]bool{}
	r := &countingReader{r: bytes.NewReader(raw)}
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if err != nil {
			break // also when raw is compressed
		}
		for n := r.n + int(hdr.Size); n <= (r.n+int(hdr.Size)+511)/512*512; n++ {
			ends[n] = true
		}
	}
	for n := len(raw) - 1024; n < len(raw); n++ {
		ends[n] = true // in the blocks of zeros that end it
	}
	return ends
}

func TestWalk(t *testing.T) {
	raw := rawTar(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}},
		dir("./"), dir("./a/"), reg("a//b"), sym("c", "/etc"), reg("d"))
	var names []string
	r := &countingReader{r: bytes.NewReader(append(raw, make([]byte, 1<<20)...))}
	err := Walk(t.Context(), r, func(hdr *tar.Header, content io.Reader) error {
		names = append(names, hdr.Name)
		if hdr.Name == "a/b" {
			if b, err := io.ReadAll(content); string(b) != "xxx" || err != nil {
				t.Errorf("content %q, %v", b, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".", "a", "a/b", "c", "d"}, names); diff != "" {
		t.Error(diff)
	}
	if r.n != len(raw)+1<<20 {
		t.Errorf("%d of %d bytes were read: who hashes them gets another digest", r.n, len(raw)+1<<20)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestWalkEndsEarly(t *testing.T) {
	raw := append(rawTar(t, reg("a"), reg("b"))[:2048], "not an archive from here on: nobody looks"...)
	cause := errors.New("found something bad")
	for _, want := range []error{nil, cause} {
		calls := 0
		err := Walk(t.Context(), bytes.NewReader(raw), func(*tar.Header, io.Reader) error {
			calls++
			if want == nil {
				return fs.SkipAll
			}
			return want
		})
		if !errors.Is(err, want) || err != want || calls != 1 {
			t.Errorf("%d calls, error %v, want %v", calls, err, want)
		}
	}
}

func TestWalkStopsWhenCancelled(t *testing.T) {
	raw, _ := mustWrite(t, Options{}, given(Entry{Name: "zeros", Size: 64 << 20, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeros{}, 64<<20)), nil
	}}))
	ctx, cancel := context.WithCancel(t.Context())
	// All of the layer has been read when it is cancelled: it is tiny, what it expands to is not.
	var seen int64
	err := Walk(ctx, bytes.NewReader(raw), func(_ *tar.Header, r io.Reader) error {
		if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
			return err
		}
		cancel()
		n, err := io.Copy(io.Discard, r)
		seen = n
		return err
	})
	if !errors.Is(err, context.Canceled) || seen > 1<<20 {
		t.Errorf("error %v after %d more bytes", err, seen)
	}
}
