package contents

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

func FuzzFilesOfAnybody(f *testing.F) {
	f.Add("var/lib/dpkg/status", []byte("Package: a\nVersion: 1\n"))
	f.Add("lib/apk/db/installed", []byte("P:a\nV:1\n"))
	f.Add("charts/a.tgz", []byte("\x1f\x8b\x08\x00"))
	f.Add("charts/a/Chart.yaml", []byte("name: a\ndependencies: [null]"))
	f.Add("bin/a", claims(16, 1))
	f.Add("etc/os-release", []byte("ID=a"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		l := &looker{reader: newReader(Options{Scratch: t.TempDir()})}
		defer l.close()
		file := &File{Name: name, Size: int64(len(content))}
		if _, err := l.at(file, bytes.NewReader(content)); err != nil {
			t.Error(err)
		}
		if _, err := l.inside(file, bytes.NewReader(content)); err != nil {
			t.Error(err)
		}
		_, _ = readIndex(bytes.NewReader(content))
		_, _ = readDocument("", int64(len(content)), bytes.NewReader(content))
	})
}

// claims returns the head of an ELF file for amd64 that claims so many sections,
// which begin after it, and that their names have so many bytes.
func claims(sections, names uint64) []byte {
	const section = 64
	head := make([]byte, 3*section)
	copy(head, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(head[16:], 2)  // an executable
	le.PutUint16(head[18:], 62) // for x86-64
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[40:], section) // where the sections begin
	le.PutUint16(head[52:], 64)      // bytes of this head,
	le.PutUint16(head[54:], 56)      // of a segment,
	le.PutUint16(head[58:], section) // and of a section
	if names == 0 {
		le.PutUint64(head[section+32:], sections) // as many as the first section says
		return head
	}
	le.PutUint16(head[60:], uint16(sections))
	le.PutUint16(head[62:], 1)          // the second section has the names
	le.PutUint32(head[2*section+4:], 3) // as its type says
	le.PutUint64(head[2*section+32:], names)
	return head
}

func TestProgramThatClaimsVeryMuchTakesLittleMemory(t *testing.T) {
	const size = 96 << 20
	for name, head := range map[string][]byte{"sections": claims(size/64-1, 0), "names": claims(2, size)} {
		l := &looker{reader: newReader(Options{Scratch: t.TempDir()})}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		content := io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, int64(size-len(head))))
		found, err := l.inside(&File{Name: "bin/bomb", Size: size}, content)
		if found != nil || err != nil {
			t.Errorf("%s: found %+v, error %v", name, found, err)
		}
		runtime.ReadMemStats(&after)
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 64 {
			t.Errorf("%s: %d MiB were used", name, used)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatALayerOfAnImageUnpacksToIsBounded(t *testing.T) {
	head := make([]byte, 512)
	copy(head, "PaxHeaders/x") // headers without an end, and no entry
	copy(head[124:], "00000001000")
	head[156] = 'x'
	copy(head[257:], "ustar\x0000")
	sum := 8 * int(' ')
	for i, b := range head {
		if i < 148 || i >= 156 {
			sum += int(b)
		}
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	comment := make([]byte, 512)
	copy(comment, "512 comment="+strings.Repeat("x", 512-13)+"\n")
	var raw bytes.Buffer
	w := gzip.NewWriter(&raw)
	for range 200 {
		w.Write(append(head, comment...))
	}
	w.Close()
	s := &innerScan{scan: &scan{reader: newReader(Options{}), ctx: t.Context()}, out: new(record), room: 50 << 10}
	if err := s.read(&raw); err == nil || err.Error() != "it unpacks to too much" {
		t.Errorf("error %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLinesOfADatabaseMayBeLong(t *testing.T) {
	text := "Package: a\nDescription: " + strings.Repeat("x", 100<<10) + "\nVersion: 1\n\nPackage: " + strings.Repeat("y", 2000) + "\nVersion: 2"
	found, err := readDpkg("status", strings.NewReader(text))
	if err != nil || len(found.packages) != 2 {
		t.Fatalf("found %+v, error %v", found, err)
	}
	if p := found.packages[1]; found.packages[0].Version != "1" || p.Version != "2" || len(p.Name) != maxField {
		t.Errorf("found %+v", found.packages)
	}
}

func TestDatabaseWithoutEndIsGivenUp(t *testing.T) {
	if _, err := readApk("installed", zeros{}); err == nil {
		t.Error("it was read")
	}
}
