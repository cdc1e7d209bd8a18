package archive

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// errNoArchive is wrapped by errors that say that something is no OCI archive at all.
var errNoArchive = errors.New("this is no OCI archive")

// ErrDocker is wrapped by errors that say that something is an archive, but of docker's own kind.
var ErrDocker = errors.New("this is a docker-archive, as docker save wrote it up to version 24")

// errVolume is wrapped by errors that say that something is one of several volumes.
var errVolume = errors.New("this is a volume of a set: name it as a file, or as oci-archive:FILE")

// advise adds the next step to errors of archives.
func advise(err error) error {
	switch {
	case errors.Is(err, errDamaged): // says so
	case errors.Is(err, tar.ErrHeader), errors.Is(err, errNoArchive):
		return fmt.Errorf("%w: `sealrt save` and `skopeo copy ... oci-archive:FILE` write archives that can be loaded", err)
	case errors.Is(err, io.ErrUnexpectedEOF), isDamaged(err):
		return fmt.Errorf("%w: the archive is damaged or cut short: copy it here again", err)
	}
	return err
}

// layoutReader makes sense of the entries of an OCI archive, in whatever order they come.
type layoutReader struct {
	begun, blobs          bool // an entry, a blob was read
	index, docker, layout bool
	manifest              *artifact.Index
	presumes              *Inventory // of a delta
	volume                bool       // it has a volume.json
}

// entry takes in one entry. For a blob it returns the digest that the name claims, and leaves the content to the
// caller. Names that lead elsewhere and links are refused; files that no layout has are ignored.
func (l *layoutReader) entry(hdr *tar.Header, content io.Reader) (h v1.Hash, isBlob bool, err error) {
	l.begun = true
	name := strings.TrimPrefix(hdr.Name, "./")
	if hdr.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	switch {
	case name == "" && hdr.Typeflag == tar.TypeDir:
		return v1.Hash{}, false, nil
	case path.IsAbs(hdr.Name), name != path.Clean(name), name == "..", strings.HasPrefix(name, "../"), strings.Contains(name, "\\"):
		return v1.Hash{}, false, fmt.Errorf("entry %q leads out of the archive: this is no image archive", hdr.Name)
	case hdr.Typeflag == tar.TypeDir:
		return v1.Hash{}, false, nil
	case hdr.Typeflag != tar.TypeReg:
		if name == "manifest.json" || l.docker || !strings.HasPrefix(name, "blobs/") && strings.HasSuffix(name, "layer.tar") {
			return v1.Hash{}, false, nil // docker-archives have links; finish refuses them by name
		}
		return v1.Hash{}, false, fmt.Errorf("entry %q is not a regular file: this is no image archive", hdr.Name)
	}
	if hex, ok := strings.CutPrefix(name, blobDir); ok {
		h, err := v1.NewHash("sha256:" + hex)
		if err != nil {
			return v1.Hash{}, false, fmt.Errorf("entry %q is not named by a digest: this is no image archive", hdr.Name)
		}
		l.blobs = true
		return h, true, nil
	}
	return v1.Hash{}, false, l.file(name, hdr.Size, content)
}

func (l *layoutReader) file(name string, size int64, content io.Reader) error {
	limit := int64(artifact.MaxManifest)
	switch name {
	case "manifest.json":
		l.docker = true
		return nil
	case volumeName:
		l.volume = true
		return nil
	case presumesName:
		limit = maxInventory
	case indexName, layoutName:
	default:
		if strings.HasPrefix(name, "blobs/") {
			return fmt.Errorf("entry %q is not named by a sha256 digest: this is no image archive", name)
		}
		return nil
	}
	if size > limit {
		return fmt.Errorf("%s has %s, more than the %s that it may have", name, disk.Bytes(size), disk.Bytes(limit))
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if name == presumesName {
		if l.presumes, err = parseInventory(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if name == layoutName {
		var v struct {
			Version string `json:"imageLayoutVersion"`
		}
		if err := json.Unmarshal(b, &v); err != nil || v.Version != "1.0.0" {
			return errors.New("its oci-layout is not of version 1.0.0")
		}
		l.layout = true
		return nil
	}
	if l.index {
		return errors.New("it has two index.json")
	}
	l.index = true
	l.manifest, err = artifact.ParseIndex(b)
	return err
}

// broken says that the next entry cannot be read.
func (l *layoutReader) broken(err error) error {
	if !l.begun {
		return fmt.Errorf("%w: not a tar archive: %w", errNoArchive, err)
	}
	return fmt.Errorf("not an intact tar archive: %w", err)
}

// finish returns the index once all entries were seen.
func (l *layoutReader) finish() (*artifact.Index, error) {
	switch {
	case l.volume:
		return nil, errVolume
	case !l.index && l.docker:
		return nil, fmt.Errorf("%w: `sealrt load` takes it as a file that is not compressed; `skopeo copy docker-archive:FILE oci-archive:FILE.oci` makes an OCI archive of it", ErrDocker)
	case !l.index && l.layout && l.blobs:
		return nil, fmt.Errorf("it ends before its index.json: %w", io.ErrUnexpectedEOF)
	case !l.index:
		return nil, fmt.Errorf("%w: it has no index.json at its top", errNoArchive)
	case !l.layout:
		return nil, fmt.Errorf("%w: it has no oci-layout at its top", errNoArchive)
	case len(l.manifest.Refs()) == 0:
		return nil, errors.New("its index.json names no image")
	}
	return l.manifest, nil
}
