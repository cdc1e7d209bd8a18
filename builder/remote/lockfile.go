package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

const (
	// lockVersion is the version of the format; what a release does not know, it refuses.
	lockVersion = 1
	// maxLock bounds the bytes of a lock file, some 50,000 entries.
	maxLock = 16 << 20
)

// lockFile is the JSON form of a Lock.
type lockFile struct {
	Version   int                        `json:"version"`
	Platforms map[string]*lockedPlatform `json:"platforms"`
}

// ParseLock reads the file that Format writes; name is the file's, for errors. A file of another version, one that is
// damaged and one that holds anything unknown are errors that say what to do.
func ParseLock(name string, r io.Reader) (*Lock, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxLock+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	f, err := decodeLock(data)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: restore the file, or write it anew with `sealrt build --lock`", name, err)
	}
	l := &Lock{name: name, platforms: map[string]*lockedPlatform{}}
	for key, p := range f.Platforms {
		full := newLockedPlatform() // a section that the file leaves out is nil, and nothing could be recorded in it
		maps.Copy(full.Bases, p.Bases)
		maps.Copy(full.Images, p.Images)
		maps.Copy(full.Files, p.Files)
		maps.Copy(full.Signatures, p.Signatures)
		l.platforms[key] = full
	}
	return l, nil
}

// decodeLock reads the JSON. The version comes first, as a later one may look different otherwise.
func decodeLock(data []byte) (*lockFile, error) {
	if len(data) > maxLock {
		return nil, fmt.Errorf("it has more than %d MiB and is no lock file", maxLock>>20)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, atLine(data, err)
	}
	if v.Version != lockVersion {
		return nil, fmt.Errorf("its version is %d, and this release of sealrt knows %d only", v.Version, lockVersion)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	f := &lockFile{}
	if err := d.Decode(f); err != nil {
		return nil, atLine(data, err)
	}
	return f, nil
}

// atLine adds the line to an error of package json, where it knows the place.
func atLine(data []byte, err error) error {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &typ):
		offset = typ.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

// check says what is wrong with the content: every entry must be one that a look-up can find.
func (f *lockFile) check() error {
	for _, key := range slices.Sorted(maps.Keys(f.Platforms)) {
		p := f.Platforms[key]
		if platform, err := v1.ParsePlatform(key); err != nil || platformKey(*platform) != key || platform.OS == "" || platform.Architecture == "" {
			return fmt.Errorf("%q is no platform", key)
		}
		if p == nil {
			return fmt.Errorf("platform %s holds nothing", key)
		}
		for _, k := range []LockKind{LockBase, LockImage} {
			for _, ref := range slices.Sorted(maps.Keys(p.images(k))) {
				if err := checkLockedImage(ref, p.images(k)[ref]); err != nil {
					return fmt.Errorf("%s: %s: %w", key, k, err)
				}
			}
		}
		for _, u := range slices.Sorted(maps.Keys(p.Files)) {
			if err := checkLockedFile(u, p.Files[u]); err != nil {
				return fmt.Errorf("%s: files: %w", key, err)
			}
		}
		for _, subject := range slices.Sorted(maps.Keys(p.Signatures)) {
			if err := checkSignatures(subject, p.Signatures[subject]); err != nil {
				return fmt.Errorf("%s: signatures: %w", key, err)
			}
		}
	}
	return nil
}

func checkLockedImage(name string, i lockedImage) error {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return err
	}
	if _, pinned := ref.Digest(); pinned || ref.String() != name {
		return fmt.Errorf("%q is not a full reference with a tag", name)
	}
	if !i.MediaType.IsImage() && !i.MediaType.IsIndex() {
		return fmt.Errorf("%s: media type %q is not that of an image", name, i.MediaType)
	}
	return checkLocked(name, i.Digest, i.Size)
}

func checkLockedFile(name string, f lockedFile) error {
	u, err := url.Parse(name)
	if err != nil {
		return err
	}
	if publicURL(u) != name || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no URL that ADD reads", publicURL(u))
	}
	if f.Name != cleanFileName(f.Name) {
		return fmt.Errorf("%s: %q is no file name", name, f.Name)
	}
	return checkLocked(name, f.Digest, f.Size)
}

func checkLocked(name string, d lockedDigest, size int64) error {
	h := d.hash()
	if !artifact.IsSHA256(h) {
		return fmt.Errorf("%s: %q is no sha256 digest", name, string(d))
	}
	if size < 0 {
		return fmt.Errorf("%s: size %d", name, size)
	}
	return nil
}

// Format returns the lock as a file: JSON, sorted and one value a line, so that a version control system shows what
// changed. Equal locks give equal bytes, and ParseLock reads them back.
func (l *Lock) Format() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := lockFile{Version: lockVersion, Platforms: l.platforms}
	if f.Platforms == nil {
		f.Platforms = map[string]*lockedPlatform{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // URLs have &
	e.SetIndent("", "  ")
	_ = e.Encode(f) // strings and numbers, to memory: nothing can fail
	return b.Bytes()
}
