package runtime

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/runtime/depot"
)

// The limits of what OpenImage keeps in memory.
const (
	maxSmallFile  = 1 << 20
	maxSmallFiles = 32 << 20
)

// Where a cluster image has the container images inside.
const (
	imagesDir = "images/"
	indexFile = imagesDir + "index.json"
)

// OpenImage reads of a cluster image what a plan needs: its kind, its
// settings, its small files (etc/, manifests/, templates of charts/, YAML at the
// root, scripts that install the distribution) and the names of the container images inside. Layers of container images are not read.
// A reference that src does not have is an error wrapping artifact.ErrNotFound.
func OpenImage(ctx context.Context, src artifact.Source, ref artifact.Reference, platform v1.Platform) (Image, error) {
	desc, manifest, config, err := artifact.Manifest(ctx, src, ref, &platform)
	if err != nil {
		return Image{}, err
	}
	image := Image{
		Ref:    ref,
		Digest: desc.Digest.String(),
		Kind:   artifact.KindOf(config),
		Env:    config.Config.Env,
		Cmd:    slices.Concat(config.Config.Entrypoint, config.Config.Cmd),
		Size:   artifact.Size(manifest),
		Labels: config.Config.Labels,
	}
	files := smallFiles{tree: fstest.MapFS{}, names: map[string]bool{}}
	for i, l := range manifest.Layers {
		if PacksImages(config, i) && l.Size > maxSmallFile {
			continue
		}
		if err := files.read(ctx, src, ref, l); err != nil {
			return Image{}, fmt.Errorf("read %s: layer %d: %w", ref.Familiar(), i+1, err)
		}
	}
	if image.Images, err = files.images(); err != nil {
		return Image{}, fmt.Errorf("read %s: %w", ref.Familiar(), err)
	}
	image.Files = files.tree
	image.Paths = slices.Sorted(maps.Keys(files.names))
	for _, name := range image.Paths {
		if files.names[name] {
			image.Programs = append(image.Programs, name)
		}
	}
	return image, nil
}

// PacksImages reports whether a layer holds container images.
func PacksImages(config *v1.ConfigFile, layer int) bool {
	return madeBy(config, layer) == artifact.HistoryBase
}

// smallFiles is the part of an image's tree that is read on the client.
type smallFiles struct {
	tree  fstest.MapFS
	names map[string]bool // of all files, but for those of container images: whether it can be executed
	size  int64
}

func wanted(name string) bool {
	dir, _, inside := strings.Cut(name, "/")
	if !inside {
		ext := path.Ext(name)
		return ext == ".yaml" || ext == ".yml" || name == artifact.MetadataFile || installs(name)
	}
	if dir == "scripts" && installs(name) {
		return true
	}
	return dir == "etc" || dir == "manifests" || dir == "charts" && strings.HasSuffix(name, TemplateSuffix) || name == indexFile
}

// installs reports whether a file is the script by which a distribution is
// installed: at the root of the tree, or in scripts/.
func installs(name string) bool {
	dir := path.Dir(name)
	return strings.HasSuffix(name, "-install.sh") && (dir == "." || dir == "scripts")
}

// read takes in one layer. What it removes is in the layers below only
// (image-spec layer.md, "Whiteouts"), whatever the order of its entries.
func (f *smallFiles) read(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) error {
	blob, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return err
	}
	defer blob.Close()
	fresh, names := fstest.MapFS{}, map[string]bool{}
	err = layer.Walk(ctx, blob, func(hdr *tar.Header, content io.Reader) error {
		name := path.Clean(hdr.Name)
		if path.Base(name) == layer.OpaqueWhiteout {
			f.remove(path.Dir(name), false)
			return nil
		}
		if gone, ok := strings.CutPrefix(path.Base(name), layer.WhiteoutPrefix); ok {
			f.remove(path.Join(path.Dir(name), gone), true)
			return nil
		}
		if hdr.Typeflag == tar.TypeDir {
			return nil
		}
		if !strings.HasPrefix(name, imagesDir) || depot.IsTarball(name) {
			// a link is what it leads to, which the host knows
			names[name] = hdr.Typeflag == tar.TypeSymlink || hdr.FileInfo().Mode()&0o111 != 0
		}
		if hdr.Typeflag != tar.TypeReg || !wanted(name) {
			return nil
		}
		if hdr.Size > maxSmallFile || f.size+hdr.Size > maxSmallFiles {
			return fmt.Errorf("%s is %d bytes: files in etc/ and manifests/, and templates in charts/, are at most %d bytes each, %d together", name, hdr.Size, maxSmallFile, maxSmallFiles)
		}
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		f.size += hdr.Size
		fresh[name] = &fstest.MapFile{Data: data, Mode: hdr.FileInfo().Mode()}
		return nil
	})
	maps.Copy(f.tree, fresh)
	maps.Copy(f.names, names)
	return err
}

// remove applies a whiteout: to what is below name, and to name itself.
func (f *smallFiles) remove(name string, itself bool) {
	gone := func(n string) bool {
		return itself && n == name || name == "." || strings.HasPrefix(n, name+"/")
	}
	maps.DeleteFunc(f.tree, func(n string, _ *fstest.MapFile) bool { return gone(n) })
	maps.DeleteFunc(f.names, func(n string, _ bool) bool { return gone(n) })
}

// images returns the names in images/index.json, none where there is no such
// file.
func (f *smallFiles) images() ([]string, error) {
	raw, ok := f.tree[indexFile]
	if !ok {
		return nil, nil
	}
	index, err := layout.ParseIndex(raw.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	var names []string
	for _, m := range index.Manifests {
		name := layout.NameOf(m)
		if name == "" && layout.AttachedName(m) != "" {
			continue // a signature, which no container runtime takes
		}
		if name == "" {
			return nil, errors.New(indexFile + ": " + m.Digest.String() + " has no name")
		}
		names = append(names, name)
	}
	return names, nil
}
