package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/state"
)

// Write writes a backup: the manifest, the state, and the data, a tar archive of
// a directory that is read to its end. It returns the SHA-256 of what it wrote, in
// hex. Nothing is held in memory but the state.
func Write(w io.Writer, m Manifest, files state.Files, data io.Reader) (string, error) {
	whole := sha256.New()
	b := &writer{tar: tar.NewWriter(io.MultiWriter(w, whole)), made: m.Time}
	if err := b.all(m, files, data); err != nil {
		return "", err
	}
	return hex.EncodeToString(whole.Sum(nil)), nil
}

type writer struct {
	tar  *tar.Writer
	made time.Time
	sums strings.Builder
}

func (b *writer) all(m Manifest, files state.Files, data io.Reader) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	if err := b.text(manifestFile, append(raw, '\n')); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := b.text(stateDir+name, files[name]); err != nil {
			return err
		}
	}
	if err := b.data(tar.NewReader(data)); err != nil {
		return fmt.Errorf("the data of the host: %w", err)
	}
	if _, err := io.Copy(io.Discard, data); err != nil { // what pads it, and how its writer ended
		return fmt.Errorf("the data of the host: %w", err)
	}
	sums := b.sums.String()
	if err := b.text(sumsFile, []byte(sums)); err != nil {
		return err
	}
	return b.tar.Close()
}

// text adds a file that only its owner may read.
func (b *writer) text(name string, raw []byte) error {
	return b.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(raw)), ModTime: b.made}, bytes.NewReader(raw))
}

// data adds what is in another archive.
func (b *writer) data(r *tar.Reader) error {
	some := false
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if !some {
				return errors.New("there is none")
			}
			return nil
		}
		if err != nil {
			return err
		}
		name, err := inside(h)
		if err != nil {
			return err
		}
		if name == "" {
			continue // a socket, or the directory itself
		}
		some = some || h.Typeflag == tar.TypeReg
		h.Name = dataDir + name
		if err := b.entry(h, r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (b *writer) entry(h *tar.Header, content io.Reader) error {
	h.Format = tar.FormatPAX
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if err := b.tar.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(b.tar, sum), content); err != nil {
		return err
	}
	fmt.Fprintf(&b.sums, "%s  %s\n", sumText(sum), h.Name)
	return nil
}

func sumText(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
