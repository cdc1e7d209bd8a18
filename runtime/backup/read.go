package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/sealrt/sealrt/runtime/state"
)

// stateLimit is how long a file of the state may be at most.
const stateLimit = 64 << 20

// File is a backup that was read once, to its end: it is whole.
type File struct {
	Manifest Manifest
	State    state.Files
	Digest   string // SHA-256 of the file, in hex
	Bytes    int64  // of the files of the data

	path string
}

// Read reads a backup and holds each file in it against its digest.
func Read(file string) (*File, error) {
	b := &File{path: file, State: state.Files{}}
	whole := sha256.New()
	err := each(file, whole, &b.Manifest, func(h *tar.Header, r io.Reader) error {
		name, of := strings.CutPrefix(h.Name, stateDir)
		if !of {
			b.Bytes += h.Size
			return nil
		}
		if h.Size > stateLimit {
			return fmt.Errorf("it has %d bytes, more than any file of a state", h.Size)
		}
		raw, err := io.ReadAll(r)
		b.State[name] = raw
		return err
	})
	if err != nil {
		return nil, err
	}
	b.Digest = hex.EncodeToString(whole.Sum(nil))
	return b, nil
}

// Data writes the data as a tar archive, whose names are below the directory
// that was kept. It reads the file anew, and holds it against the digests anew.
func (b *File) Data(w io.Writer) error {
	out := tar.NewWriter(w)
	whole := sha256.New()
	var m Manifest
	err := each(b.path, whole, &m, func(h *tar.Header, r io.Reader) error {
		name, of := strings.CutPrefix(h.Name, dataDir)
		if !of {
			return nil
		}
		inner := *h
		inner.Name = name
		if err := out.WriteHeader(&inner); err != nil {
			return err
		}
		_, err := io.Copy(out, r)
		return err
	})
	if err == nil && hex.EncodeToString(whole.Sum(nil)) != b.Digest {
		err = fmt.Errorf("%s: it was changed while it was read", b.path)
	}
	if err != nil {
		return err
	}
	return out.Close()
}

// each calls do for every entry of the state and the data of a backup, and checks
// that all is there as it was written.
func each(file string, whole io.Writer, m *Manifest, do func(h *tar.Header, r io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := io.TeeReader(f, whole)
	err = entries(tar.NewReader(in), m, do)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

var errCutOff = errors.New("it is cut off: its end is missing")

func entries(in *tar.Reader, m *Manifest, do func(h *tar.Header, r io.Reader) error) error {
	h, err := in.Next()
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) {
		return pathErr.Err // it is no file, or cannot be read
	}
	if err != nil || h.Name != manifestFile {
		return errors.New("this is no backup of a cluster: `sealrt backup` makes one")
	}
	sums := map[string]string{}
	sum := sha256.New()
	if *m, err = readManifest(io.TeeReader(in, sum)); err != nil {
		return err
	}
	if _, err := io.Copy(sum, in); err != nil {
		return err
	}
	sums[manifestFile] = sumText(sum)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errCutOff
		}
		if err != nil {
			return err
		}
		if h.Name == sumsFile {
			return compare(in, sums)
		}
		if err := allowed(h); err != nil {
			return err
		}
		sum := sha256.New()
		content := io.TeeReader(in, sum)
		err = do(h, content)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errCutOff
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			sums[h.Name] = sumText(sum)
		}
	}
}

// allowed refuses entries that Write does not write: what is unpacked as root is
// below one directory.
func allowed(h *tar.Header) error {
	for _, dir := range []string{stateDir, dataDir} {
		name, of := strings.CutPrefix(h.Name, dir)
		if !of {
			continue
		}
		inner := *h
		inner.Name = name
		got, err := inside(&inner)
		if err == nil && (got != name || got == "" || dir == stateDir && h.Typeflag != tar.TypeReg) {
			err = fmt.Errorf("%s is nothing that a backup holds", h.Name)
		}
		return err
	}
	return fmt.Errorf("%s is nothing that a backup holds", h.Name)
}

// inside returns the name of an entry below the directory that was archived; ""
// for what is left out.
func inside(h *tar.Header) (string, error) {
	slash := ""
	switch h.Typeflag {
	case tar.TypeDir:
		slash = "/"
	case tar.TypeReg:
	case tar.TypeSymlink:
		if target := path.Join(path.Dir(path.Clean(h.Name)), h.Linkname); path.IsAbs(h.Linkname) || !filepath.IsLocal(target) {
			return "", fmt.Errorf("%s leads out of the directory, to %s", h.Name, h.Linkname)
		}
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		return "", nil
	default:
		return "", fmt.Errorf("%s is of a kind (%c) that no data of a cluster is", h.Name, h.Typeflag)
	}
	name := path.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%s is outside of the directory", h.Name)
	}
	if name == "." {
		return "", nil
	}
	return name + slash, nil
}

// compare holds the digests of what was read against those that were written.
func compare(r io.Reader, sums map[string]string) error {
	raw, err := io.ReadAll(io.LimitReader(r, 256<<20))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(raw)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		switch is, there := sums[name]; {
		case !ok:
			return fmt.Errorf("%s: line %q", sumsFile, line)
		case !there:
			return fmt.Errorf("%s is missing", name)
		case is != sum:
			return fmt.Errorf("%s is damaged: its SHA-256 is %s, and was %s", name, is, sum)
		}
		delete(sums, name)
	}
	for name := range sums {
		return fmt.Errorf("%s was put there later", name)
	}
	return nil
}
