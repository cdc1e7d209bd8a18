package mount

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
)

const (
	dirsName  = "dirs.json"
	topName   = "top"
	emptyName = "empty"
)

// work is the making of one mount, in a directory of its own.
type work struct {
	*Mounts
	ref    artifact.Reference
	dir    string
	source string
	pin    bool                 // the record says that the image stays without a mount
	known  map[string]*unpacked // layers by name
	fresh  []*unpacked          // those of them that lie in dir and are to move
}

func (m *Mounts) newWork(ref artifact.Reference) (*work, error) {
	for _, name := range []string{layersName, imagesName} {
		if err := os.MkdirAll(m.path(name), 0o700); err != nil {
			return nil, err
		}
	}
	id := rand.Text()
	w := &work{Mounts: m, ref: ref, dir: m.path(tmpPrefix + id), source: "sealrt-" + id, known: map[string]*unpacked{}}
	return w, os.Mkdir(w.dir, 0o700)
}

// end removes what was not used.
func (w *work) end() {
	_ = removeTree(w.dir) // what is left goes with the next mount
}

// unpack returns the layers, each unpacked, the top first.
func (w *work) unpack(ctx context.Context, layers []v1.Descriptor) (*stack, error) {
	s := newStack(nil)
	for i, d := range layers {
		top, err := w.layer(ctx, s, d)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
		s = newStack(append([]*unpacked{top}, s.layers...))
	}
	return s, w.keep()
}

// layer returns one layer, that is to lie on top of others.
func (w *work) layer(ctx context.Context, below *stack, d v1.Descriptor) (*unpacked, error) {
	key := d.Digest.Hex + userMark()
	alone, err := w.have(key, func(u *unpacked) error { return w.extract(ctx, u, d) })
	if err == nil {
		s := newStack(append([]*unpacked{alone}, below.layers...))
		ok, err := s.selfContained()
		if err != nil || ok && !slices.Contains(below.layers, alone) { // the kernel takes no directory twice
			return alone, err
		}
	} else if len(below.layers) == 0 || ctx.Err() != nil || disk.IsFull(err) {
		return nil, err
	}
	h := sha256.New()
	for _, u := range below.layers {
		io.WriteString(h, u.key+"\n")
	}
	io.WriteString(h, key)
	return w.have(fmt.Sprintf("%x-on%s", h.Sum(nil), userMark()), func(u *unpacked) error { return w.extractOn(ctx, below, u, d) })
}

// have returns the unpacked layer of that name, which make makes if there is none.
func (w *work) have(key string, make func(*unpacked) error) (*unpacked, error) {
	if u := w.known[key]; u != nil { // an image may have a layer twice
		return u, nil
	}
	u := &unpacked{key: key, tree: w.path(layersName, key, treeName)}
	raw, err := os.ReadFile(w.path(layersName, key, dirsName))
	if err == nil {
		w.known[key] = u
		return u, u.parse(raw)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir := filepath.Join(w.dir, key)
	u.tree = filepath.Join(dir, treeName)
	if err := os.MkdirAll(u.tree, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(u.tree, 0o755); err != nil {
		return nil, err
	}
	if err := make(u); err != nil {
		return nil, errors.Join(err, removeTree(dir))
	}
	w.known[key], w.fresh = u, append(w.fresh, u)
	return u, nil
}

func (u *unpacked) parse(raw []byte) error {
	var list []layer.OverlayDir
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("%s is damaged: %w: remove the directory that it is in", filepath.Join(filepath.Dir(u.tree), dirsName), err)
	}
	u.index(list)
	return nil
}

func (u *unpacked) index(list []layer.OverlayDir) {
	u.dirs = map[string]layer.OverlayDir{}
	for _, d := range list {
		u.dirs[d.Name] = d
	}
}

// extract unpacks a layer by itself.
func (w *work) extract(ctx context.Context, u *unpacked, d v1.Descriptor) error {
	var list []layer.OverlayDir
	err := w.read(ctx, w.ref, d, func(r io.Reader) (err error) {
		list, err = layer.ExtractOverlay(ctx, u.tree, r, layer.ExtractOptions{})
		return err
	})
	if err != nil {
		return err
	}
	u.index(list)
	return w.write(u, list)
}

// extractOn unpacks a layer on top of others: what the kernel keeps of that, apart from them, is the layer.
func (w *work) extractOn(ctx context.Context, below *stack, u *unpacked, d v1.Descriptor) error {
	dir := filepath.Dir(u.tree)
	o := overlay{source: w.source, upper: u.tree, work: filepath.Join(dir, "work"), lowers: append([]string{filepath.Join(dir, topName)}, below.trees()...)}
	if err := errors.Join(os.Mkdir(o.work, 0o700), makeTop(below, o.lowers[0]), copyAttributes(o.lowers[0], u.tree)); err != nil {
		return err
	}
	err := o.use(func(merged string) error {
		return w.read(ctx, w.ref, d, func(r io.Reader) error {
			return layer.Extract(ctx, merged, r, layer.ExtractOptions{})
		})
	})
	if err != nil {
		return err
	}
	if err := errors.Join(removeTree(o.work), removeTree(o.lowers[0])); err != nil {
		return err
	}
	return w.write(u, []layer.OverlayDir{})
}

func (w *work) write(u *unpacked, list []layer.OverlayDir) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(filepath.Dir(u.tree), dirsName), raw, 0o600)
}

// keep moves the new layers to where others find them, once they are safe on disk.
func (w *work) keep() error {
	if len(w.fresh) == 0 {
		return nil
	}
	if err := syncFileSystem(w.dir); err != nil {
		return err
	}
	for _, u := range w.fresh {
		to := w.path(layersName, u.key)
		if err := os.Rename(filepath.Dir(u.tree), to); err != nil {
			return err
		}
		u.tree = filepath.Join(to, treeName)
	}
	w.fresh = nil
	return nil
}

// prepare makes all of a mount but the mount itself.
func (w *work) prepare(s *stack, digest v1.Hash, final string) (record, error) {
	dir := filepath.Join(w.dir, imagesName)
	for _, name := range []string{dir, filepath.Join(dir, treeName), filepath.Join(dir, emptyName)} {
		if err := os.Mkdir(name, 0o755); err != nil {
			return record{}, err
		}
	}
	if err := makeTop(s, filepath.Join(dir, topName)); err != nil {
		return record{}, err
	}
	r := record{Ref: w.ref, Digest: digest, Source: w.source, Pinned: w.pin}
	for _, u := range s.layers {
		r.Layers = append(r.Layers, u.key)
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return record{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, recordName), append(raw, '\n'), 0o600); err != nil {
		return record{}, err
	}
	if w.pin { // unlike a mount it outlives the machine's going down
		if err := syncFileSystem(dir); err != nil {
			return record{}, err
		}
	}
	return r, os.Rename(dir, final)
}

// trees lists the directories of the layers, the top first.
func (s *stack) trees() []string {
	var list []string
	for _, u := range s.layers {
		list = append(list, u.tree)
	}
	return list
}
