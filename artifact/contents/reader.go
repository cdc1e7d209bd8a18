package contents

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

// What is read of a cluster image, whatever it holds.
const (
	maxFiles    = 1_000_000 // entries of its tree
	maxNames    = 8_000_000 // entries of its layers and of those of the images inside
	maxSoftware = 500_000   // packages and modules
	maxGrowth   = 100       // how many times its size a layer may unpack to,
	freeGrowth  = 8 << 30   // beyond these bytes

	defaultJobs = 4
)

// wanted says what to read of layers beside the names in them.
type wanted interface {
	// content reports whether to read a file of the tree.
	content(name string) bool
	// image reports whether to read a blob of images/ that is no manifest.
	image(blob string) bool
	// all reports whether everything is to be read, and verified.
	all() bool
}

// everything wants everything.
type everything struct{}

func (everything) content(string) bool { return true }
func (everything) image(string) bool   { return true }
func (everything) all() bool           { return true }

// reader reads layers.
type reader struct {
	o     Options
	seed  maphash.Seed
	files atomic.Int64
	names atomic.Int64
	parts atomic.Int64 // packages and modules
}

func newReader(o Options) *reader { return &reader{o: o, seed: maphash.MakeSeed()} }

// jobs returns how many layers are read at a time.
func (r *reader) jobs() int { return cmp.Or(max(r.o.Jobs, 0), defaultJobs) }

// cluster reads the layers of a cluster image, the lowest first.
func (r *reader) cluster(ctx context.Context, c Cluster, w wanted) ([]*record, error) {
	records := make([]*record, len(c.Manifest.Layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.jobs())
	for i, d := range c.Manifest.Layers {
		g.Go(func() (err error) {
			if records[i], err = r.layer(ctx, c, d, w); err != nil {
				err = fmt.Errorf("layer %d of %d: %w", i+1, len(records), err)
			}
			return err
		})
	}
	return records, g.Wait()
}

// layer reads one layer of a cluster image.
func (r *reader) layer(ctx context.Context, c Cluster, d v1.Descriptor, w wanted) (_ *record, err error) {
	if !d.MediaType.IsDistributable() && len(d.URLs) > 0 {
		return nil, fmt.Errorf("%s is to be fetched from %s and is not part of the image", d.Digest, d.URLs[0])
	}
	s := &scan{reader: r, ctx: ctx, want: w, out: &record{files: map[string]*File{}}, look: looker{reader: r}, room: freeGrowth + maxGrowth*d.Size}
	defer func() { err = errors.Join(err, s.look.close()) }()
	if !w.all() {
		seeker := layout.NewSeeker(ctx, c.Source, c.Ref, d)
		defer seeker.Close()
		if plain, err := isPlain(seeker); err != nil {
			return nil, err
		} else if plain {
			return s.out, s.skim(seeker)
		}
	}
	rc, err := c.Source.Open(ctx, c.Ref, d, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	verified := layout.Verify(rc, d, nil)
	if err = layer.Walk(ctx, verified, s.entry); err != nil && ctx.Err() == nil {
		// That the layer is damaged says more than what a decoder stumbled over.
		if _, verr := io.Copy(io.Discard, layer.UntilDone(ctx, verified)); errors.Is(verr, layout.ErrDamaged) {
			err = fmt.Errorf("%w: pull or load the image again", verr)
		}
	}
	return s.out, err
}

// isPlain reports whether a layer is an archive that is not compressed.
func isPlain(s io.ReadSeeker) (bool, error) {
	const magic = 257 // POSIX.1-2017, pax, "ustar Interchange Format"
	head := make([]byte, 512)
	n, err := io.ReadFull(s, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	return n == len(head) && string(head[magic:magic+5]) == "ustar", nil
}

// scan is the reading of one layer of a cluster image. It lives as long as its
// context does.
type scan struct {
	*reader
	ctx  context.Context
	want wanted
	out  *record
	look looker
	room int64 // bytes that the layer may yet unpack to
}

// skim reads an archive that is not compressed and passes over what is not wanted.
func (s *scan) skim(r io.ReadSeeker) error { return entries(s.ctx, r, s.entry) }

// entries calls entry for those of an archive that is not compressed, with clean
// names. Content that entry does not read is passed over, by seeking where r can.
// What follows the archive is not read.
func entries(ctx context.Context, r io.Reader, entry func(*tar.Header, io.Reader) error) error {
	for tr := tar.NewReader(r); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !(hdr != nil && errors.Is(err, tar.ErrInsecurePath)) {
			return fmt.Errorf("read layer: %w", err)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		hdr.Name = path.Clean(hdr.Name)
		if !fs.ValidPath(strings.ToValidUTF8(hdr.Name, "_")) {
			return fmt.Errorf("read layer: entry %q: the name leaves the image", hdr.Name)
		}
		if err := entry(hdr, tr); err != nil {
			return err
		}
	}
}

// count takes an entry from what may be read.
func (r *reader) count(hdr *tar.Header, room *int64) error {
	if r.names.Add(1) > maxNames {
		return fmt.Errorf("%w: %d files in all", errTooMuch, maxNames)
	}
	if *room -= hdr.Size; *room < 0 {
		return fmt.Errorf("%s: the layer unpacks to too much", hdr.Name)
	}
	return nil
}

// entry takes in an entry with a clean name.
func (s *scan) entry(hdr *tar.Header, content io.Reader) error {
	if err := s.count(hdr, &s.room); err != nil {
		return err
	}
	if hdr.Name == "." || s.out.whiteout(hdr.Name) {
		return nil
	}
	s.out.note(s.seed, hdr)
	if s.files.Add(1) > maxFiles {
		return fmt.Errorf("%w: %d files outside of the container images", errTooMuch, maxFiles)
	}
	f := &File{Name: hdr.Name, Mode: hdr.FileInfo().Mode(), UID: hdr.Uid, GID: hdr.Gid}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		f.Size = hdr.Size
		if err := s.regular(f, content); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	case tar.TypeSymlink:
		f.Link = hdr.Linkname
	case tar.TypeLink:
		f.Link, f.hard = path.Clean(hdr.Linkname), true
		if target := s.out.files[f.Link]; target != nil {
			f = target.linked(f.Name)
		}
	}
	s.out.files[f.Name] = f
	return nil
}

// regular reads a regular file, as far as it is wanted.
func (s *scan) regular(f *File, content io.Reader) (err error) {
	part, isPart := strings.CutPrefix(f.Name, "images/")
	if blob, ok := strings.CutPrefix(part, blobs); isPart && ok {
		f.found, err = s.blob(blob, f.Size, content)
		return err
	}
	if isPart && part == "index.json" {
		f.found, err = readIndex(content)
		return err
	}
	if isPart && part == "oci-layout" || !s.want.content(f.Name) {
		return nil
	}
	sums := s.look.sums()
	if f.found, err = s.look.at(f, sums.of(content)); err != nil {
		return err
	}
	if err := sums.rest(content); err != nil {
		return err
	}
	sums.put(f)
	return nil
}
