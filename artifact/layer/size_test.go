package layer

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	memoryVariable = "LAYER_TEST_MEMORY" // set in the process that measures
	memoryLimit    = 100 << 20
)

// memoryCases are run in a process of their own, with two processors, so that all of its memory is theirs.
var memoryCases = map[string]func(t *testing.T){
	"text":    func(t *testing.T) { discard(t, Zstd, big(512<<20, textReader{})) },
	"noise":   func(t *testing.T) { discard(t, Zstd, big(512<<20, noise(1, 1<<40))) },
	"plain":   func(t *testing.T) { discard(t, None, big(512<<20, zeros{})) },
	"entries": func(t *testing.T) { discard(t, Zstd, many(100_000)) },
	"layers": func(t *testing.T) {
		shared := &Buffers{}
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				if _, err := Write(t.Context(), io.Discard, given(big(5<<20, textReader{})), Options{Buffers: shared}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	},
	"extract": func(t *testing.T) {
		pr, pw := io.Pipe()
		go func() {
			_, err := Write(t.Context(), pw, given(big(256<<20, textReader{})), Options{Jobs: 1})
			pw.CloseWithError(err)
		}()
		if err := Extract(t.Context(), t.TempDir(), pr, ExtractOptions{}); err != nil {
			t.Fatal(err)
		}
	},
}

func discard(t *testing.T, c Compression, e any) {
	entries, ok := e.(func(func(Entry, error) bool))
	if !ok {
		entries = given(e.(Entry))
	}
	if _, err := Write(t.Context(), io.Discard, entries, Options{Compression: c}); err != nil {
		t.Fatal(err)
	}
}

func big(size int64, r io.Reader) Entry {
	return Entry{Name: "big", Size: size, Open: func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(r, size)), nil }}
}

func many(n int) func(func(Entry, error) bool) {
	return func(yield func(Entry, error) bool) {
		for i := range n {
			if !yield(file(fmt.Sprintf("dir%03d/file%03d", i/1000, i%1000), 0o644, "content"), nil) {
				return
			}
		}
	}
}

// textReader is a text without end that compresses about as programs do.
type textReader struct{}

func (textReader) Read(p []byte) (int, error) {
	x := uint32(len(p))
	for i := range p {
		if i%16 == 0 {
			x = x*1664525 + 1013904223
		}
		p[i] = byte(x>>uint(i%3*8)) & 0x3f
	}
	return len(p), nil
}

func TestMemoryDoesNotGrowWithTheLayer(t *testing.T) {
	if name := os.Getenv(memoryVariable); name != "" {
		runtime.GOMAXPROCS(2)
		memoryCases[name](t)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Printf("\nmemory=%d\n", m.Sys)
		return
	}
	for name := range memoryCases {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryDoesNotGrowWithTheLayer$")
			cmd.Env = append(os.Environ(), memoryVariable+"="+name)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, rest, _ := strings.Cut(string(out), "\nmemory=")
			line, _, _ := strings.Cut(rest, "\n")
			sys, err := strconv.ParseInt(line, 10, 64)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%d MiB", sys>>20)
			if sys > memoryLimit {
				t.Errorf("the process took %d MiB from the system, the limit is %d MiB", sys>>20, memoryLimit>>20)
			}
		})
	}
}

func TestManyEntriesComeBack(t *testing.T) {
	const n = 2_000
	raw, _ := mustWrite(t, Options{}, many(n))
	top := t.TempDir()
	if err := extract(t, top, raw); err != nil {
		t.Fatal(err)
	}
	got := 0
	for e, err := range FromDir(top) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Mode.IsRegular() {
			got++
		}
	}
	if got != n {
		t.Errorf("%d files, want %d", got, n)
	}
}

// What is compressed already is stored as it is, between text that is not. The figure is that of the encoder now.
func TestWhatDoesNotCompressIsStored(t *testing.T) {
	var content bytes.Buffer
	io.Copy(&content, noise(1, 10<<20))
	content.WriteString(strings.Repeat("text ", 1<<20))
	io.Copy(&content, noise(2, 10<<20))
	raw, _ := mustWrite(t, Options{}, given(file("f", 0o644, content.String())))
	if len(raw) > 20<<20+8<<10 {
		t.Errorf("20 MiB of noise and some text make %d bytes", len(raw))
	}
}

// A file larger than ustar can say (8 GiB) needs another header; nobody has to wait for its content.
func TestWriteDeclaresHugeFiles(t *testing.T) {
	var b bytes.Buffer
	e := Entry{Name: "huge", Size: 9 << 30, Open: opens("short")}
	_, err := Write(t.Context(), &b, given(e), Options{Compression: None})
	if err == nil || !strings.Contains(err.Error(), "5 bytes instead of 9663676416") {
		t.Errorf("error %v", err)
	}
}

func TestSparseFileBecomesALayerAndComesBack(t *testing.T) {
	const size = 100 << 20
	top := t.TempDir()
	path := filepath.Join(top, "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("tail"), size-4); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	raw, _ := mustWrite(t, Options{}, FromDir(top))
	if len(raw) > 100<<10 {
		t.Errorf("zeros take %d bytes", len(raw))
	}
	back := t.TempDir()
	if err := extract(t, back, raw); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(back, "sparse"))
	if err != nil || len(got) != size || string(got[size-4:]) != "tail" || bytes.Count(got, []byte{0}) != size-4 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func BenchmarkWrite(b *testing.B) {
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		b.Fatal(err)
	}
	for name, r := range map[string]func() io.Reader{
		"program": func() io.Reader { return &repeat{b: binary} },
		"noise":   func() io.Reader { return &repeat{b: noiseBytes(16 << 20)} },
	} {
		for _, c := range compressions {
			b.Run(name+"/"+c.String(), func(b *testing.B) {
				const size = 128 << 20
				b.SetBytes(size)
				for b.Loop() {
					if _, err := Write(b.Context(), io.Discard, given(big(size, r())), Options{Compression: c}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecompress(b *testing.B) {
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range compressions {
		raw, _ := mustWrite(b, Options{Compression: c}, given(big(128<<20, &repeat{b: binary})))
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(128 << 20)
			for b.Loop() {
				r, err := Decompress(bytes.NewReader(raw))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}

func BenchmarkExtract(b *testing.B) {
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		b.Fatal(err)
	}
	one, _ := mustWrite(b, Options{}, given(big(128<<20, &repeat{b: binary})))
	small, _ := mustWrite(b, Options{}, many(10_000))
	for name, raw := range map[string][]byte{"128MiB": one, "10kfiles": small} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				b.StartTimer()
				if err := extract(b, dir, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func noiseBytes(n int64) []byte {
	b, _ := io.ReadAll(noise(1, n))
	return b
}

// repeat yields b again and again.
type repeat struct {
	b  []byte
	at int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}
