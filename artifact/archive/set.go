package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// set is those volumes of a set that are at hand.
type set struct {
	id       v1.Hash
	plan     *setPlan
	volumes  []*volume // by number, from 0; nil: not at hand
	index    *artifact.Index
	presumes *Inventory
}

// volume is one volume on disk.
type volume struct {
	path    string
	f       *os.File
	head    *volumeFile
	plan    *setPlan
	entries map[string]extent
	sums    map[string]string // digests by name
}

// openSet opens volumes of one set. A damaged one, one of another set and one that is there twice are errors that name
// them. The caller closes the set.
func openSet(paths []string) (*set, error) {
	s := &set{}
	for _, path := range paths {
		v, err := openVolume(path)
		if err == nil {
			if err = s.add(v); err != nil {
				v.f.Close()
			}
		}
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// add takes in a volume. The first one says what the set is.
func (s *set) add(v *volume) error {
	if s.plan == nil {
		s.id, s.plan, s.volumes = v.head.Set, v.plan, make([]*volume, v.plan.Volumes)
		if err := s.readIndex(v); err != nil {
			return fmt.Errorf("%s: %w", v.path, err)
		}
	}
	if v.head.Set != s.id {
		first := s.present()[0]
		return fmt.Errorf("%s is a volume of another set (%s) than %s (%s): leave it out", v.path, v.plan.of(), first.path, s.plan.of())
	}
	place := &s.volumes[v.head.Volume-1]
	if *place != nil {
		return fmt.Errorf("%s is volume %d of the set, and so is %s: leave one of them out", v.path, v.head.Volume, (*place).path)
	}
	*place = v
	return nil
}

// readIndex reads what says which images the set holds.
func (s *set) readIndex(v *volume) error {
	b, err := v.read(indexName, artifact.MaxManifest, s.plan.Index)
	if err != nil {
		return err
	}
	if s.index, err = artifact.ParseIndex(b); err != nil {
		return err
	}
	if len(s.index.Refs()) == 0 {
		return errors.New("its index.json names no image")
	}
	if s.plan.Presumes == nil {
		return nil
	}
	if b, err = v.read(presumesName, maxInventory, *s.plan.Presumes); err != nil {
		return err
	}
	s.presumes, err = parseInventory(b)
	return err
}

// Close closes the files.
func (s *set) Close() error {
	var err error
	for _, v := range s.present() {
		err = errors.Join(err, v.f.Close())
	}
	return err
}

// present lists the volumes at hand, in order.
func (s *set) present() []*volume {
	var list []*volume
	for _, v := range s.volumes {
		if v != nil {
			list = append(list, v)
		}
	}
	return list
}

// requireAll returns an error that names the volumes that are not at hand.
func (s *set) requireAll() error {
	var missing []string
	for n, v := range s.volumes {
		if v == nil {
			missing = append(missing, fmt.Sprint(n+1))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	first := s.present()[0]
	return fmt.Errorf("%s is one of %d volumes: %w beside it: volume %s: put all volumes into one folder, as FILE.001 and so on, or `sealrt load` them one after the other",
		first.path, s.plan.Volumes, artifact.ErrNotFound, strings.Join(missing, ", "))
}

// extents returns where a blob is, nil unless all of it is at hand.
func (s *set) extents(b volumeBlob) []extent {
	if len(b.Places) == 0 {
		return []extent{s.present()[0].entries[b.entry(place{})]}
	}
	var list []extent
	for _, c := range b.Places {
		v := s.volumes[c.Volume-1]
		if v == nil {
			return nil
		}
		list = append(list, v.entries[b.entry(c)])
	}
	return list
}

// archive returns the set as one archive, which closes the files.
func (s *set) archive(name string) *Archive {
	a := &Archive{name: name, blobs: map[v1.Hash][]extent{}, index: s.index, presumes: s.presumes}
	for _, b := range s.plan.Blobs {
		if e := s.extents(b); e != nil {
			a.blobs[b.Digest] = e
		}
	}
	var numbers []string
	for _, v := range s.present() {
		a.files = append(a.files, v.f)
		numbers = append(numbers, fmt.Sprint(v.head.Volume))
	}
	a.volumes = fmt.Sprintf("%s of %d", strings.Join(numbers, ", "), s.plan.Volumes)
	return a
}

// openVolume opens a volume and reads its table of contents.
func openVolume(path string) (*volume, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	v := &volume{path: path, f: f, entries: map[string]extent{}}
	r := io.NewSectionReader(f, 0, size)
	err = walk(r, v.entry, func(err error) error { return fmt.Errorf("%w: %w", errDamaged, err) })
	if errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errDamaged) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err == nil {
		err = v.check()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("volume %s: %w", path, err)
	}
	return v, nil
}

// entry takes in one entry.
func (v *volume) entry(hdr *tar.Header, at int64, content io.Reader) error {
	if hdr.Typeflag != tar.TypeReg || v.sums != nil {
		return fmt.Errorf("%s: %w", hdr.Name, errDamaged)
	}
	v.entries[hdr.Name] = extent{v.f, at, hdr.Size}
	switch {
	case v.head == nil && hdr.Name != volumeName:
		return fmt.Errorf("this is no volume: it does not begin with %s", volumeName)
	case hdr.Name != volumeName && hdr.Name != sumsName:
		return nil
	case hdr.Size > maxInventory:
		return fmt.Errorf("%s has %s, more than the %s that it may have", hdr.Name, disk.Bytes(hdr.Size), disk.Bytes(maxInventory))
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if hdr.Name == sumsName {
		v.sums = parseSums(b)
		return nil
	}
	v.head, v.plan, err = parseVolume(b)
	return err
}

// parseSums reads what sha256sum writes.
func parseSums(b []byte) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if hex, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); ok {
			sums[name] = hex
		}
	}
	return sums
}

// check wants all that the plan says is in this volume to be there.
func (v *volume) check() error {
	if v.head == nil || v.sums == nil {
		return errDamaged
	}
	want := map[string]int64{}
	for _, b := range v.plan.Blobs {
		if len(b.Places) == 0 {
			want[b.entry(place{})] = b.Size
		}
		for _, c := range b.Places {
			if c.Volume == v.head.Volume {
				want[b.entry(c)] = c.Size
			}
		}
	}
	for name, size := range want {
		if e, ok := v.entries[name]; !ok || e.size != size || len(v.sums[name]) != 64 {
			return fmt.Errorf("%s: %w", name, errDamaged)
		}
	}
	return nil
}

// read returns a small file of a volume.
func (v *volume) read(name string, limit int64, digest v1.Hash) ([]byte, error) {
	e, ok := v.entries[name]
	if !ok || e.size > limit {
		return nil, fmt.Errorf("%s: %w", name, errDamaged)
	}
	b, err := io.ReadAll(join([]extent{e}, 0))
	if err == nil && sum(b) != digest {
		err = fmt.Errorf("%s: %w", name, errDamaged)
	}
	return b, err
}
