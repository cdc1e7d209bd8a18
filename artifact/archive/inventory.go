package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Inventory lists what a place has: that of a store tells another machine what it need not send, and that in a delta
// archive says what has to be there already.
type Inventory struct {
	FormatVersion int     `json:"formatVersion"` // 1
	Images        []Image `json:"images"`
	Blobs         []Blob  `json:"blobs"`
}

// Image is an image of an inventory or of a set of volumes.
type Image struct {
	Name   artifact.Reference `json:"name"`
	Digest v1.Hash            `json:"digest"`
}

// Blob is a blob of an inventory.
type Blob struct {
	Digest v1.Hash `json:"digest"`
	Size   int64   `json:"size"`            // bytes; 0: not known
	Image  *int    `json:"image,omitempty"` // which of the images has it, from 0; nil: not known
	// Of is the image of a delta that needs the blob; nil elsewhere.
	Of *artifact.Reference `json:"of,omitempty"`
}

// inventoryFormat is the version of Inventory that this program writes.
const inventoryFormat = 1

// maxInventory bounds the bytes of an inventory that is read: some hundred thousand blobs.
const maxInventory = 32 << 20

// Take returns the inventory of the images that refs name in src.
func Take(ctx context.Context, src artifact.Source, refs []artifact.Reference) (*Inventory, error) {
	inv := newInventory()
	seen := map[v1.Hash]bool{}
	for _, ref := range inOrder(refs) {
		d, err := src.Resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		list, missing, err := artifact.Contents(ctx, src, ref, d)
		if err != nil {
			return nil, err
		}
		image := len(inv.Images)
		inv.Images = append(inv.Images, Image{ref, d.Digest})
		lost := digests(missing)
		for _, p := range list {
			if !seen[p.Digest] && !lost[p.Digest] {
				seen[p.Digest] = true
				inv.Blobs = append(inv.Blobs, Blob{Digest: p.Digest, Size: p.Size, Image: &image})
			}
		}
	}
	return inv, nil
}

// TakeStore returns the inventory of a store: its images, and of the blobs that they are made of those that are there,
// and those besides.
func TakeStore(ctx context.Context, s *store.Store) (*Inventory, error) {
	named, err := s.Refs(ctx)
	if err != nil {
		return nil, err
	}
	refs := make([]artifact.Reference, len(named))
	for i, n := range named {
		refs[i] = n.Ref
	}
	inv, err := Take(ctx, s, refs)
	if err != nil {
		return nil, err
	}
	there, err := s.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	known := map[v1.Hash]Blob{}
	for _, b := range inv.Blobs {
		known[b.Digest] = b
	}
	inv.Blobs = inv.Blobs[:0]
	for _, h := range there {
		b, ok := known[h]
		if !ok {
			b = Blob{Digest: h}
		}
		inv.Blobs = append(inv.Blobs, b)
	}
	return inv, nil
}

// Inventory returns the inventory of a place where the archive was loaded: what it presumes is there too.
func (a *Archive) Inventory(ctx context.Context) (*Inventory, error) {
	var refs []artifact.Reference
	for _, n := range a.Refs() {
		refs = append(refs, n.Ref)
	}
	inv, err := Take(ctx, a, refs)
	if err == nil && a.presumes != nil {
		inv.add(a.presumes)
	}
	return inv, err
}

func newInventory() *Inventory {
	return &Inventory{FormatVersion: inventoryFormat, Images: []Image{}, Blobs: []Blob{}}
}

func digests(list []artifact.Part) map[v1.Hash]bool {
	set := make(map[v1.Hash]bool, len(list))
	for _, p := range list {
		set[p.Digest] = true
	}
	return set
}

// Format returns the JSON of the inventory.
func (v *Inventory) Format() ([]byte, error) {
	b, err := json.MarshalIndent(v, "", " ")
	return append(b, '\n'), err
}

// add takes in another inventory.
func (v *Inventory) add(other *Inventory) {
	shift := len(v.Images)
	v.Images = append(v.Images, other.Images...)
	for _, b := range other.Blobs {
		if b.Image != nil {
			image := *b.Image + shift
			b.Image = &image
		}
		v.Blobs = append(v.Blobs, b)
	}
}

// image names the image that has a blob, "" where that is not known.
func (v *Inventory) image(b Blob) string {
	if b.Image == nil {
		return ""
	}
	return v.Images[*b.Image].Name.Familiar()
}

// errNoInventory is wrapped by errors that say that something is no inventory at all.
var errNoInventory = errors.New("this is no inventory: `sealrt inventory -o FILE` writes one")

// ReadInventory reads what `sealrt inventory` writes: JSON, or a digest a line.
func ReadInventory(r io.Reader) (*Inventory, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxInventory+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxInventory {
		return nil, fmt.Errorf("%w: it has more than %d MiB", errNoInventory, maxInventory>>20)
	}
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '{' {
		return parseInventory(b)
	}
	return parseLines(b)
}

// OpenBase returns what the other side has that has the archive at path, all volumes of a set, or gave out the inventory
// that is there.
func OpenBase(ctx context.Context, path string) (*Inventory, error) {
	a, err := Open(path)
	if err == nil {
		defer a.Close()
		return a.Inventory(ctx)
	}
	if !errors.Is(err, errNoArchive) && !errors.Is(err, tar.ErrHeader) {
		return nil, err
	}
	f, ferr := os.Open(path)
	if ferr != nil {
		return nil, ferr
	}
	defer f.Close()
	inv, ferr := ReadInventory(f)
	if errors.Is(ferr, errNoInventory) {
		return nil, fmt.Errorf("%s: this is neither an OCI archive nor an inventory that `sealrt inventory -o FILE` wrote", path)
	}
	if ferr != nil {
		return nil, fmt.Errorf("%s: %w", path, ferr)
	}
	return inv, nil
}

func parseInventory(b []byte) (*Inventory, error) {
	inv := newInventory()
	if err := json.Unmarshal(b, inv); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoInventory, err)
	}
	if inv.FormatVersion != inventoryFormat {
		return nil, fmt.Errorf("its formatVersion is %d, this sealrt knows %d: use a newer one", inv.FormatVersion, inventoryFormat)
	}
	for _, i := range inv.Images {
		if i.Name.IsZero() || !artifact.IsSHA256(i.Digest) {
			return nil, fmt.Errorf("%w: an image of it has no name or digest", errNoInventory)
		}
	}
	for _, blob := range inv.Blobs {
		if !artifact.IsSHA256(blob.Digest) || blob.Size < 0 || blob.Image != nil && (*blob.Image < 0 || *blob.Image >= len(inv.Images)) {
			return nil, fmt.Errorf("%w: its blob %q is not acceptable", errNoInventory, blob.Digest)
		}
	}
	return inv, nil
}

func parseLines(b []byte) (*Inventory, error) {
	inv := newInventory()
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" {
			continue
		}
		h, err := v1.NewHash(line)
		if err != nil || !artifact.IsSHA256(h) {
			return nil, errNoInventory
		}
		inv.Blobs = append(inv.Blobs, Blob{Digest: h})
	}
	if len(inv.Blobs) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errNoInventory)
	}
	return inv, nil
}
