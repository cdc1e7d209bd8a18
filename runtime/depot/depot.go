package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/mount"
	"github.com/sealrt/sealrt/artifact/store"
)

// Depot is what a host keeps of cluster images. Its methods may be called
// concurrently, by several processes too.
type Depot struct {
	// Units is the host's service manager; nil for none, and then trees are
	// copied.
	Units Units
	// UnitDir is where Units looks for unit files; "" is /etc/systemd/system.
	UnitDir string
	// Note is told what a person may want to know; nil is fine.
	Note func(text string)

	store *store.Store
	home  string // the directory that the store lies in
	// reached is called where adopting may be cut off; tests end the process
	// there.
	reached func(stage string)
}

func (d *Depot) reach(stage string) {
	if d.reached != nil {
		d.reached(stage)
	}
}

// Open opens the depot whose blobs lie in root, which it makes; the trees of
// images appear in rootfs/ beside it, which is made for the first. The caller
// closes it.
func Open(root string) (*Depot, error) {
	s, err := store.Open(root)
	if err != nil {
		return nil, err
	}
	s.SealBlobs()
	d := &Depot{store: s, home: filepath.Dir(s.Root())}
	for _, dir := range []string{d.path(recordsName), d.path(linksName)} {
		if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, errors.Join(fmt.Errorf("open the depot at %s: %w", root, disk.Full(d.home, err)), s.Close())
		}
	}
	return d, nil
}

// Close gives up what the depot holds, once all that was written is safe on
// disk.
func (d *Depot) Close() error { return d.store.Close() }

const (
	recordsName = "adopted"
	linksName   = "l"
	rootfsName  = "rootfs"
	lockName    = "depot.lock"
)

func (d *Depot) path(parts ...string) string {
	return filepath.Join(append([]string{d.store.Root()}, parts...)...)
}

// Rootfs is the directory where the tree of the image with that manifest
// appears.
func (d *Depot) Rootfs(manifest v1.Hash) string {
	return filepath.Join(d.home, rootfsName, manifest.Hex[:min(len(manifest.Hex), 16)])
}

// mounts are the unpacked layers.
func (d *Depot) mounts() *mount.Mounts { return mount.Of(d.store) }

func (d *Depot) note(format string, args ...any) {
	if d.Note != nil {
		d.Note(fmt.Sprintf(format, args...))
	}
}

// alone calls do while nobody else adopts or drops images.
func (d *Depot) alone(ctx context.Context, do func() error) error {
	f, err := disk.Lock(ctx, d.path(lockName), true)
	if err != nil {
		return err
	}
	defer f.Close() // lets go, as does the end of the process
	return do()
}

// Want is a blob that the depot lacks.
type Want struct {
	v1.Descriptor
	// Offset is how many bytes of it are there already, from its beginning.
	Offset int64 `json:"offset,omitempty"`
}

// Missing returns those of the blobs that have to be sent, in the order given.
// A layer that is unpacked, or that only an adopted image among the blobs
// needs, is not missing; nor is anything else of such an image that was
// dropped because it was of no use any more.
func (d *Depot) Missing(ctx context.Context, blobs []v1.Descriptor) ([]Want, error) {
	records, err := d.records()
	if err != nil {
		return nil, err
	}
	spared := map[v1.Hash]bool{}
	for _, r := range records {
		if slices.ContainsFunc(blobs, func(b v1.Descriptor) bool { return b.Digest == r.Manifest.Digest }) {
			d.spare(r, spared)
		}
	}
	var list []Want
	seen := map[v1.Hash]bool{}
	mounts := d.mounts()
	for _, b := range blobs {
		if seen[b.Digest] || spared[b.Digest] || mounts.Unpacked(b.Digest) && !d.wanted(b.Digest) {
			continue
		}
		seen[b.Digest] = true
		has, err := d.store.Has(ctx, artifact.Reference{}, b)
		if err != nil {
			return nil, err
		}
		if !has {
			list = append(list, Want{b, d.kept(b)})
		}
	}
	return list, nil
}

// spare notes what an adopted image does without.
func (d *Depot) spare(r record, spared map[v1.Hash]bool) {
	if d.shows(r) {
		for _, l := range r.Layers {
			spared[l.Digest] = true
		}
	}
	if r.Handed {
		for _, b := range r.Images {
			spared[b.Digest] = true
		}
	}
}

// kept is how many bytes of an unfinished blob are there.
func (d *Depot) kept(b v1.Descriptor) int64 {
	if b.Size < store.PartialFrom {
		return 0
	}
	return min(d.store.KeptSize(b.Digest.Algorithm+"-"+b.Digest.Hex), b.Size)
}

// Write stores a blob, of which r has the bytes from offset on; offset is that
// of Missing, or less. The digest is verified before the blob has its name.
// What has come when Write fails is kept, if it is worth it, and counts in
// Missing; if all of it came and is not what the digest says, nothing is.
// An error does not name the blob.
func (d *Depot) Write(ctx context.Context, b v1.Descriptor, offset int64, r io.Reader) error {
	has, err := d.store.Has(ctx, artifact.Reference{}, b)
	if err != nil {
		return err
	}
	if !has {
		if err := disk.CheckFree(d.home, b.Size-d.kept(b)); err != nil {
			return fmt.Errorf("%w (dataDir.sealrt of the Clusterfile)", err)
		}
	}
	taken := false
	err = d.store.Put(ctx, artifact.Reference{}.WithDigest(b.Digest), b, func(from int64) (io.ReadCloser, error) {
		if taken || from < offset {
			return nil, fmt.Errorf("%w: there are %d bytes of it here, and those sent begin at %d: ask what is missing, and send it again", errResend, from, offset)
		}
		taken = true
		if _, err := io.CopyN(io.Discard, r, from-offset); err != nil {
			return nil, err
		}
		return io.NopCloser(r), nil
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(d.path(wantedName, b.Digest.Hex))
}

var errResend = errors.New("the beginning is missing")

// wantedName is the directory of marks for layers that are unpacked and whose
// bytes are wanted all the same.
const wantedName = "wanted"

func (d *Depot) wanted(h v1.Hash) bool {
	_, err := os.Stat(d.path(wantedName, h.Hex))
	return err == nil
}

// Blob opens a blob and returns its size in bytes; the caller closes it. One
// that is not there is an error wrapping artifact.ErrNotFound.
func (d *Depot) Blob(_ context.Context, h v1.Hash) (io.ReadSeekCloser, int64, error) {
	f, err := os.Open(d.store.BlobPath(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s on this host: %w (%w)", h, artifact.ErrNotFound, fs.ErrNotExist)
	}
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// record says that the tree of an image is there. It appears last.
type record struct {
	Listing
	Seq    int    `json:"seq"`              // later images have higher ones
	Copied bool   `json:"copied,omitempty"` // the tree is a copy, not a mount
	Source string `json:"source,omitempty"` // of the mount
	Handed bool   `json:"handed,omitempty"` // the container images were handed on and dropped
}

func (d *Depot) recordPath(h v1.Hash) string { return d.path(recordsName, h.Hex+".json") }

// records returns the adopted images, the latest first.
func (d *Depot) records() ([]record, error) {
	entries, err := os.ReadDir(d.path(recordsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []record
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		raw, err := os.ReadFile(d.path(recordsName, e.Name()))
		if err != nil {
			return nil, err
		}
		var r record
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("%s is damaged: %w: remove it and run again", d.path(recordsName, e.Name()), err)
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b record) int { return b.Seq - a.Seq })
	return list, nil
}

// keep writes a record, whole and safe on disk.
func (d *Depot) keep(r record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := d.recordPath(r.Manifest.Digest)
	if err := disk.Reap(path); err != nil {
		return err
	}
	err = disk.Replace(path, int64(len(raw)), func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
	return errors.Join(err, syncFileSystem(filepath.Dir(path)))
}
