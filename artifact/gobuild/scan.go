package gobuild

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/sealrt/sealrt/artifact/layer"
)

// window is how many bytes are looked at together: more than what a program says
// of how it was built, and more than the first block of a compressed archive.
const window = 1 << 20

// What begins the things that are looked for.
var (
	infoMagic = []byte("\xff Go buildinf:") //nolint:gochecknoglobals // a constant: package debug/buildinfo, "The build info blob"
	zstdMagic = []byte("\x28\xb5\x2f\xfd")  //nolint:gochecknoglobals // a constant: RFC 8878, section 3.1.1
)

// Scan calls found for everything that a program in r says of how it was built,
// and for all that programs say of a tar archive inside, compressed with zstd.
// It ends when found returns false, or with the stream. Programs of Go before
// 1.18 say it in another way, and are not found.
func Scan(ctx context.Context, r io.Reader, found func(*debug.BuildInfo) bool) error {
	s := &scanner{r: bufio.NewReaderSize(layer.UntilDone(ctx, r), window), found: found, archives: true}
	err := s.scan()
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// errDone ends a scan.
var errDone = errors.New("enough was found")

type scanner struct {
	r        *bufio.Reader
	found    func(*debug.BuildInfo) bool
	archives bool // are looked into
}

func (s *scanner) scan() error {
	for {
		seen, err := s.r.Peek(window)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at, what := s.first(seen)
		last := len(seen) < window
		switch {
		case at < 0 && last:
			return nil
		case at < 0: // what begins at the end of the window begins the next one
			_, err = s.r.Discard(len(seen) - len(infoMagic))
		case at > 0:
			_, err = s.r.Discard(at)
		default:
			err = what(seen)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// first finds the first thing in what is seen, and who reads it once it is at the
// beginning of the window.
func (s *scanner) first(seen []byte) (at int, read func([]byte) error) {
	at, read = bytes.Index(seen, infoMagic), s.info
	if !s.archives {
		return at, read
	}
	before := seen
	if at >= 0 {
		before = seen[:at]
	}
	if z := bytes.Index(before, zstdMagic); z >= 0 {
		return z, s.archive
	}
	return at, read
}

// info tells what the window begins with, if it is what it looks like: programs
// that read others have the same bytes in them.
func (s *scanner) info(seen []byte) error {
	if info, ok := parse(seen); ok && !s.found(info) {
		return errDone
	}
	_, err := s.r.Discard(len(infoMagic))
	return err
}

// parse reads what the linker leaves in a program (debug/buildinfo).
func parse(b []byte) (*debug.BuildInfo, bool) {
	const header, inline = 32, 2
	if len(b) < header || b[15]&inline == 0 {
		return nil, false
	}
	version, rest, ok := text(b[header:])
	if !ok || !bytes.HasPrefix(version, []byte("go")) && !bytes.HasPrefix(version, []byte("devel")) {
		return nil, false
	}
	module, _, ok := text(rest)
	const mark = 16 // bytes before and behind
	if !ok || len(module) < 2*mark+1 || module[len(module)-mark-1] != '\n' {
		return nil, false
	}
	info, err := debug.ParseBuildInfo(string(module[mark : len(module)-mark]))
	if err != nil {
		return nil, false
	}
	info.GoVersion = string(version)
	return info, true
}

// text reads a text behind its length.
func text(b []byte) (value, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// Version returns the version of a module that a program was built with, of what
// it was replaced with where it was, and reports whether it was.
func Version(info *debug.BuildInfo, path string) (string, bool) {
	for _, m := range info.Deps {
		if m.Path != path {
			continue
		}
		if m.Replace != nil && m.Replace.Version != "" {
			return m.Replace.Version, true
		}
		return m.Version, m.Version != ""
	}
	if info.Main.Path == path && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version, true
	}
	return "", false
}

// wrap says where in a stream an error was.
func wrap(name string, err error) error {
	if err == nil || errors.Is(err, errDone) {
		return err
	}
	return fmt.Errorf("%s inside: %w", name, err)
}
