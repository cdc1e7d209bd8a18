package contents

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
	"strings"
)

// What is read of a program, whatever it holds.
const (
	maxProgram = 2 << 30 // bytes; longer ones are not looked at
	maxLook    = 8 << 20 // bytes that are read to find out how it was built
	maxModules = 20_000
)

// errScratch is wrapped by errors about the file where a program lies while it
// is looked at.
var errScratch = errors.New("look at a program")

// errLook ends a look that takes too much.
var errLook = errors.New("its tables are too large")

// program looks for how a Go program was built. It returns nil for other files.
// With sum it computes the digest.
func (l *looker) program(f *File, content io.Reader, sum bool) (*found, error) {
	head := make([]byte, 20)
	if n, err := io.ReadFull(content, head); err != nil || !isProgram(head[:n], f.Name) {
		return nil, ignoreShort(err)
	}
	if f.Size > maxProgram {
		return &found{note: "it is too large to find out what it was built of"}, nil
	}
	if err := l.scratch(); err != nil {
		return nil, fmt.Errorf("%w: %w", errScratch, err)
	}
	to := &scratchWriter{file: l.file}
	all := io.Writer(to)
	h := sha256.New()
	if sum {
		all = io.MultiWriter(to, h)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{all}, io.MultiReader(bytes.NewReader(head), content), l.sums().buf); err != nil {
		return nil, err
	}
	out := l.built(f.Size)
	if out == nil || out.program == nil {
		return out, nil
	}
	out.program.Size = f.Size
	if sum {
		h.Sum(out.program.SHA256[:0])
	}
	if l.parts.Add(int64(len(out.program.Modules))+1) > maxSoftware {
		return nil, fmt.Errorf("%w: %d Go modules", errTooMuch, maxSoftware)
	}
	return out, nil
}

func ignoreShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return ignoreEOF(err)
}

// isProgram reports whether a file that begins with head may be an executable of
// Linux: an ELF file of that type, or one that can lie anywhere in memory and is
// not called as a library is. See elf(5).
func isProgram(head []byte, name string) bool {
	const typeAt, exec, dyn = 16, 2, 3
	if len(head) < typeAt+2 || string(head[:4]) != "\x7fELF" {
		return false
	}
	var kind uint16
	if head[5] == 2 {
		kind = binary.BigEndian.Uint16(head[typeAt:])
	} else {
		kind = binary.LittleEndian.Uint16(head[typeAt:])
	}
	base := path.Base(name)
	library := strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
	return kind == exec || kind == dyn && !library
}

// scratch makes the scratch file empty. It has no name, so that it is gone with
// this process.
func (l *looker) scratch() error {
	if l.file == nil {
		f, err := os.CreateTemp(l.o.Scratch, "sealrt-program-")
		if err != nil {
			return err
		}
		if err := os.Remove(f.Name()); err != nil {
			f.Close()
			return err
		}
		l.file = f
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.Seek(0, io.SeekStart)
	return err
}

// scratchWriter tells errors of writing from those of reading.
type scratchWriter struct{ file *os.File }

// Write implements io.Writer.
func (w *scratchWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w: free space there, or set TMPDIR", errScratch, err)
	}
	return n, err
}

// built reads what the scratch file says of how it was built; nil when that is no
// Go program.
func (l *looker) built(size int64) (out *found) {
	defer func() {
		// Package debug/elf does not promise to withstand files made with malice.
		if p := recover(); p != nil {
			out = &found{note: fmt.Sprintf("it is no program: %v", p)}
		}
	}()
	look := &frugalReader{r: io.NewSectionReader(l.file, 0, size), left: maxLook}
	info, err := buildinfo.Read(look)
	if err != nil {
		return nil // most programs are not made with Go
	}
	if len(info.Deps) > maxModules {
		return &found{note: fmt.Sprintf("it names more than %d modules", maxModules)}
	}
	p := &Program{Path: field(info.Path), Main: module(&info.Main), Go: field(info.GoVersion)}
	for _, m := range info.Deps {
		p.Modules = append(p.Modules, module(m))
	}
	return &found{program: p}
}

// frugalReader ends with an error when much was read: programs can claim tables
// of any size, which would come into memory.
type frugalReader struct {
	r    io.ReaderAt
	left int64
}

// ReadAt implements io.ReaderAt.
func (f *frugalReader) ReadAt(p []byte, off int64) (int, error) {
	if f.left -= int64(len(p)); f.left < 0 {
		return 0, errLook
	}
	return f.r.ReadAt(p, off)
}

// module returns what a module is, after replacement by another version.
func module(m *debug.Module) Module {
	if m.Replace != nil && m.Replace.Version != "" {
		m = m.Replace
	}
	version := m.Version
	if version == "(devel)" {
		version = ""
	}
	return Module{Path: strings.Clone(field(m.Path)), Version: strings.Clone(field(version))}
}
