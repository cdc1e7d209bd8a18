package archive

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A set of volumes is an archive in several files, each a tar archive of its own. docs/archives.md describes the format.
const (
	volumeName   = "volume.json" // the first entry: which volume of which set this is
	sumsName     = "SHA256SUMS"  // the last entry: the digests of all others, as sha256sum writes them
	pieceDir     = "pieces/sha256/"
	volumeFormat = 1
	maxVolumes   = 999
)

// volumeFile is the content of volume.json.
type volumeFile struct {
	FormatVersion int             `json:"formatVersion"`
	Set           v1.Hash         `json:"set"`    // the digest of plan, byte for byte as it stands here
	Volume        int             `json:"volume"` // from 1
	Plan          json.RawMessage `json:"plan"`   // a setPlan, the same in every volume
}

// setPlan says what a set holds and where.
type setPlan struct {
	Volumes  int          `json:"volumes"`
	Images   []Image      `json:"images"`
	Index    v1.Hash      `json:"index"`              // the digest of index.json
	Presumes *v1.Hash     `json:"presumes,omitempty"` // the digest of presumes.json, of a delta
	Blobs    []volumeBlob `json:"blobs"`
}

// volumeBlob is a blob of a set.
type volumeBlob struct {
	Digest v1.Hash `json:"digest"`
	Size   int64   `json:"size"`
	Places []place `json:"places,omitempty"` // in the order of the bytes; none: it is whole in every volume
}

// place is where a blob, or a piece of it, is.
type place struct {
	Volume int   `json:"volume"`
	Offset int64 `json:"offset"` // in the blob
	Size   int64 `json:"size"`
}

func (b volumeBlob) descriptor() v1.Descriptor {
	return v1.Descriptor{Digest: b.Digest, Size: b.Size}
}

// entry returns the name of the file that a place of a blob is.
func (b volumeBlob) entry(p place) string {
	if len(b.Places) < 2 {
		return blobDir + b.Digest.Hex
	}
	return fmt.Sprintf("%s%s/%d", pieceDir, b.Digest.Hex, p.Offset)
}

// format returns volume.json of one volume, and the set's id.
func (p *setPlan) format(volume int) ([]byte, error) {
	plan, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(volumeFile{volumeFormat, sum(plan), volume, plan})
}

func sum(b []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}

// parseVolume reads volume.json.
func parseVolume(b []byte) (*volumeFile, *setPlan, error) {
	var v volumeFile
	var p setPlan
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", volumeName, err)
	}
	if v.FormatVersion != volumeFormat {
		return nil, nil, fmt.Errorf("its formatVersion is %d, this sealrt knows %d: use a newer one", v.FormatVersion, volumeFormat)
	}
	if sum(v.Plan) != v.Set {
		return nil, nil, fmt.Errorf("%s: %w", volumeName, errDamaged)
	}
	if err := json.Unmarshal(v.Plan, &p); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", volumeName, err)
	}
	if v.Volume < 1 || v.Volume > p.Volumes {
		return nil, nil, fmt.Errorf("%s: volume %d of %d", volumeName, v.Volume, p.Volumes)
	}
	return &v, &p, p.check()
}

// check refuses what nobody wrote in good faith.
func (p *setPlan) check() error {
	if p.Volumes > maxVolumes || len(p.Images) == 0 || !artifact.IsSHA256(p.Index) {
		return fmt.Errorf("%s: its plan is not acceptable", volumeName)
	}
	seen := map[v1.Hash]bool{}
	for _, b := range p.Blobs {
		if !artifact.IsSHA256(b.Digest) || b.Size < 0 || seen[b.Digest] {
			return fmt.Errorf("%s: blob %q is not acceptable", volumeName, b.Digest)
		}
		seen[b.Digest] = true
		var at int64
		for _, c := range b.Places {
			if c.Offset != at || c.Size < 0 || c.Size > b.Size-at || c.Size == 0 && b.Size > 0 || c.Volume < 1 || c.Volume > p.Volumes {
				return fmt.Errorf("%s: the places of blob %s are not acceptable", volumeName, b.Digest)
			}
			at += c.Size
		}
		if len(b.Places) > 0 && at != b.Size {
			return fmt.Errorf("%s: blob %s has %d bytes of %d", volumeName, b.Digest, at, b.Size)
		}
	}
	return nil
}

// of names the images of the set, for people.
func (p *setPlan) of() string {
	var names []string
	for _, i := range p.Images {
		names = append(names, i.Name.Familiar())
	}
	return strings.Join(names, ", ")
}

// errDamaged is wrapped by errors that say that a volume is not as it was written.
var errDamaged = errors.New("it is damaged or cut short: copy it here again")

// volumePath returns where the volume n of the set at path lies.
func volumePath(path string, n int) string { return fmt.Sprintf("%s.%03d", path, n) }

var volumeSuffix = regexp.MustCompile(`\.[0-9]{3}$`)

// volumesBeside lists the files of the set that path stands for: one of its volumes, or what they are called without
// their number. There are none where path is something else.
func volumesBeside(path string) ([]string, error) {
	switch {
	case IsVolume(path):
		if !volumeSuffix.MatchString(path) {
			return []string{path}, nil
		}
		path = volumeSuffix.ReplaceAllString(path, "")
	case exists(path) || !exists(volumePath(path, 1)):
		return nil, nil
	}
	return listVolumes(path)
}

// listVolumes lists FILE.001 and so on, whatever is in them.
func listVolumes(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(path), e.Name())
		if volumeSuffix.MatchString(name) && volumeSuffix.ReplaceAllString(name, "") == filepath.Clean(path) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list, nil
}

// Volumes lists the files of the set of volumes that FILE is called without their numbers, none where FILE itself is
// there or there is no FILE.001.
func Volumes(file string) ([]string, error) {
	if exists(file) || !exists(volumePath(file, 1)) {
		return nil, nil
	}
	return listVolumes(file)
}

// IsVolume reports whether the file at path is a volume of a set, by how it begins.
func IsVolume(path string) bool {
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	name := make([]byte, len(volumeName)+1)
	_, err = f.ReadAt(name, 0)
	return err == nil && string(name) == volumeName+"\x00"
}
