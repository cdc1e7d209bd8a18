package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SaveVolumes is Save for several files, path.001, path.002 and so on, none of which has more than size bytes, for discs
// that a whole archive does not fit on. They appear together, when all are complete, and are returned in order. The same
// images and the same size give the same bytes.
func SaveVolumes(ctx context.Context, path string, size int64, src artifact.Source, refs []artifact.Reference, o Options) ([]string, error) {
	p, err := newPlan(ctx, src, refs, o)
	if err != nil {
		return nil, err
	}
	s := &splitting{plan: p, path: path, size: size, running: map[v1.Hash]hash.Hash{}}
	if err := s.layOut(); err != nil {
		return nil, fmt.Errorf("save to volumes of %s: %w", disk.Bytes(size), err)
	}
	if err := s.refuseOthers(); err != nil {
		return nil, fmt.Errorf("save to %s: %w", path, err)
	}
	if err := s.write(ctx, 1); err != nil {
		return nil, fmt.Errorf("save to %s: %w", path, err)
	}
	p.tellTagged()
	var list []string
	for n := range s.set.Volumes {
		list = append(list, volumePath(path, n+1))
	}
	return list, nil
}

// splitting is what becomes volumes. What is small and needed to make sense of the rest is in each of them.
type splitting struct {
	*plan
	path            string
	size            int64
	set             setPlan
	small           []planned // in every volume
	index, presumed []byte    // the files
	fixed           int64     // bytes of all that in each volume
	sumsFixed       int64     // bytes of their lines in SHA256SUMS
	need            []int64   // bytes of each volume
	running         map[v1.Hash]hash.Hash
}

// layOut decides what goes where. volume.json lists it, and its own length decides how much fits beside it: room for
// that is guessed, and guessed again when it was too little.
func (s *splitting) layOut() error {
	var err error
	if s.index, err = s.plan.index.Format(); err != nil {
		return err
	}
	if s.presumes != nil {
		if s.presumed, err = s.presumes.Format(); err != nil {
			return err
		}
	}
	for guess := int64(8 * block); ; {
		if err := s.tryLayOut(guess); err != nil {
			return err
		}
		b, err := s.set.format(maxVolumes)
		if err != nil {
			return err
		}
		if n := padded(int64(len(b))); n > guess {
			guess = n + n/8/block*block
			continue
		}
		return nil
	}
}

func (s *splitting) tryLayOut(volumeJSON int64) error {
	s.set = setPlan{Images: s.images, Index: sum(s.index)}
	s.small, s.fixed, s.sumsFixed = nil, block+volumeJSON+trailer, sumsLine(volumeName)
	s.addFixed(indexName, int64(len(s.index)))
	if s.presumed != nil {
		h := sum(s.presumed)
		s.set.Presumes = &h
		s.addFixed(presumesName, int64(len(s.presumed)))
	}
	for _, e := range s.list {
		if e.Name != "layer" {
			s.small = append(s.small, e)
			s.addFixed(blobDir+e.Digest.Hex, e.Size)
			s.set.Blobs = append(s.set.Blobs, volumeBlob{Digest: e.Digest, Size: e.Size})
		}
	}
	v := &filling{size: s.size, fixed: s.fixed, sumsFixed: s.sumsFixed}
	const least = 16 * block // of contents, in each
	if empty := v.room(pieceNameLen); empty < least {
		return fmt.Errorf("each holds the manifests and configurations too, %s: at least %s are needed", disk.Bytes(s.size-empty), disk.Bytes(s.size-empty+least))
	}
	v.next()
	for _, e := range s.list {
		if e.Name == "layer" {
			b := volumeBlob{Digest: e.Digest, Size: e.Size, Places: v.place(e.Size)}
			s.set.Blobs = append(s.set.Blobs, b)
		}
		if v.n > maxVolumes {
			return fmt.Errorf("there would be more than %d: choose bigger ones", maxVolumes)
		}
	}
	s.set.Volumes, s.need = v.n, append(v.need, v.total())
	return nil
}

func (s *splitting) addFixed(name string, size int64) {
	s.fixed += entrySize(size)
	s.sumsFixed += sumsLine(name)
}

// sumsLine returns the bytes of a line of SHA256SUMS.
func sumsLine(name string) int64 { return sha256.Size*2 + 2 + int64(len(name)) + 1 }

// pieceNameLen is the length of the longest name of a piece.
const pieceNameLen = len(pieceDir) + 64 + 1 + 19

// filling is the volume that is filled just now.
type filling struct {
	size, fixed, sumsFixed int64
	n                      int
	used, sums             int64
	need                   []int64 // bytes of those before
}

func (v *filling) next() {
	if v.n > 0 {
		v.need = append(v.need, v.total())
	}
	v.n++
	v.used, v.sums = 0, 0
}

func (v *filling) total() int64 { return v.fixed + v.used + entrySize(v.sumsFixed+v.sums) }

// room returns how many bytes of content fit, of a file whose name has that many bytes.
func (v *filling) room(name int) int64 {
	room := v.size - v.fixed - v.used - block - entrySize(v.sumsFixed+v.sums+sumsLine(strings.Repeat("x", name)))
	return max(0, room/block*block)
}

// place says where a blob of size bytes goes. One is divided where its volume is full; a rest of a volume that is too
// small to be worth it stays empty.
func (v *filling) place(size int64) []place {
	worth := min(1<<20, (v.size-v.fixed)/16)
	if room := v.room(pieceNameLen); size > room && room < worth {
		v.next()
	}
	var list []place
	for offset := int64(0); ; {
		n := min(size-offset, v.room(pieceNameLen))
		list = append(list, place{v.n, offset, n})
		v.used += entrySize(n)
		v.sums += sumsLine(strings.Repeat("x", pieceNameLen))
		if offset += n; offset == size || v.n > maxVolumes {
			return list
		}
		v.next()
	}
}

// refuseOthers wants no volumes of another, longer set to lie beside these, and nothing that has their name.
func (s *splitting) refuseOthers() error {
	if exists(s.path) {
		return errors.New("there is a file of that name, which would hide the volumes: choose another name, or remove it first")
	}
	list, err := listVolumes(s.path)
	if err != nil {
		return err
	}
	for _, path := range list {
		if path > volumePath(s.path, s.set.Volumes) {
			return fmt.Errorf("%s is there from another set, which would have more volumes than the %d of this one: remove it first", path, s.set.Volumes)
		}
	}
	return nil
}

// write writes the volumes from the n-th on. None gets its name before the last is written.
func (s *splitting) write(ctx context.Context, n int) error {
	var need int64
	for _, size := range s.need[n-1:] {
		need += size
	}
	return disk.Replace(volumePath(s.path, n), need, func(to io.Writer) error {
		if err := s.volume(ctx, n, to); err != nil || n == s.set.Volumes {
			return err
		}
		return s.write(ctx, n+1)
	})
}

// volume writes one volume.
func (s *splitting) volume(ctx context.Context, n int, to io.Writer) error {
	head, err := s.set.format(n)
	if err != nil {
		return err
	}
	w := &summing{writer: newWriter(to)}
	if err := w.bytes(volumeName, head); err != nil {
		return err
	}
	if err := w.bytes(indexName, s.index); err != nil {
		return err
	}
	if s.presumed != nil {
		if err := w.bytes(presumesName, s.presumed); err != nil {
			return err
		}
	}
	quiet := *s.plan
	if n > 1 { // told with the first
		quiet.observe = func(artifact.Event) {}
	}
	for _, e := range s.small {
		if err := quiet.blob(ctx, w.writer, e); err != nil {
			return err
		}
		w.add(blobDir+e.Digest.Hex, e.Digest)
	}
	if err := s.contents(ctx, n, w); err != nil {
		return err
	}
	if err := w.writer.bytes(sumsName, w.sums); err != nil {
		return err
	}
	return w.end()
}

// contents writes the blobs and pieces of one volume.
func (s *splitting) contents(ctx context.Context, n int, w *summing) error {
	layers := map[v1.Hash]planned{}
	for _, e := range s.list {
		layers[e.Digest] = e
	}
	for _, b := range s.set.Blobs {
		for _, c := range b.Places {
			if c.Volume != n {
				continue
			}
			h, err := s.content(ctx, w.writer, layers[b.Digest], b, c)
			if err != nil {
				return err
			}
			w.add(b.entry(c), h)
		}
	}
	return nil
}

// content writes a blob or a piece of one, and returns the digest of that.
func (s *splitting) content(ctx context.Context, w *writer, e planned, b volumeBlob, c place) (v1.Hash, error) {
	if len(b.Places) == 1 {
		return b.Digest, s.blob(ctx, w, e)
	}
	return s.piece(ctx, w, e, b, c)
}

// piece writes a piece of a blob and returns its digest. The blob as a whole is verified when its last piece has passed.
func (s *splitting) piece(ctx context.Context, w *writer, e planned, b volumeBlob, c place) (v1.Hash, error) {
	r, err := s.src.Open(ctx, e.ref, e.Descriptor, c.Offset)
	if err != nil {
		return v1.Hash{}, err
	}
	defer r.Close()
	whole := s.running[e.Digest]
	if whole == nil {
		whole = sha256.New()
		s.running[e.Digest] = whole
	}
	event := artifact.Event{Kind: artifact.EventStarted, Ref: e.ref.Familiar(), Digest: e.Digest, Name: e.Name, Size: e.Size, Done: c.Offset}
	s.observe(event)
	event.Kind = artifact.EventProgress
	var h v1.Hash
	err = w.file(b.entry(c), c.Size, func() (err error) {
		part := io.TeeReader(io.LimitReader(r, c.Size), whole)
		h, err = hashed(ctx, w, part, v1.Descriptor{Digest: e.Digest, Size: c.Size}, func(done int64) {
			event.Done = c.Offset + done
			s.observe(event)
		})
		return err
	})
	if err == nil && c.Offset+c.Size == e.Size {
		delete(s.running, e.Digest)
		if got := fmt.Sprintf("sha256:%x", whole.Sum(nil)); got != e.Digest.String() {
			err = damaged(e.Descriptor, fmt.Errorf("the bytes received have digest %s", got))
		}
		event.Kind, event.Done = artifact.EventDone, e.Size
		s.observe(event)
	}
	return h, s.advise(e, err)
}

// summing writes a volume and notes the digests of its files.
type summing struct {
	*writer
	sums []byte
}

func (w *summing) add(name string, h v1.Hash) { w.sums = fmt.Appendf(w.sums, "%s  %s\n", h.Hex, name) }

func (w *summing) bytes(name string, b []byte) error {
	w.add(name, sum(b))
	return w.writer.bytes(name, b)
}
