package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/kubefile"
)

// finish adds to the target's image what the Kubefile implies rather than says, and writes its manifest.
func (s *stage) finish(ctx context.Context, m *image) (v1.Descriptor, error) {
	w := &work{stage: s, image: m, task: s.newTask(s.finalName()), step: s.source.From}
	w.task.work()
	d, err := w.finish(ctx)
	if err != nil {
		w.task.fail(ctx, err)
		return v1.Descriptor{}, err
	}
	w.task.done()
	return d, nil
}

func (s *stage) finalName() string {
	if s.several {
		return "[" + s.target.String() + "] write the image"
	}
	return "write the image"
}

func (w *work) finish(ctx context.Context) (v1.Descriptor, error) {
	if !w.image.based {
		if err := (&baseStep{}).collect(ctx, w, 1); err != nil {
			return v1.Descriptor{}, fmt.Errorf("%s: %s: %w", w.File.Name, artifact.HistoryBase, err)
		}
	}
	if err := w.addHelper(ctx); err != nil {
		return v1.Descriptor{}, err
	}
	if err := w.describe(ctx); err != nil {
		return v1.Descriptor{}, err
	}
	if n := len(w.image.layers); n > mostLayers {
		w.tell(Event{Kind: BuildWarning, Text: fmt.Sprintf("the image has %d layers, and many tools stop at %d: join instructions", n, mostLayers)})
	}
	return w.image.store(ctx, w.Store)
}

// describe says in labels what the image is, and gives a rootfs image the Metadata that it lacks.
func (w *work) describe(ctx context.Context) error {
	kind, stated, err := w.kind()
	if err != nil {
		return fmt.Errorf("%s: %w", w.File.Name, err)
	}
	if err := w.checkBinary(kind); err != nil {
		return err
	}
	if kind.Type == artifact.TypeRootfs && !stated {
		if err := w.addMetadata(ctx, kind); err != nil {
			return fmt.Errorf("%s: add %s: %w", w.File.Name, artifact.MetadataFile, err)
		}
	}
	if err := w.label(kind); err != nil || kind.Type != artifact.TypeRootfs {
		return err
	}
	return w.compareDistro(ctx, kind, w.image.kept)
}

// kind finds out what the image is: from the LABELs of this Kubefile, then Metadata, then what lies in bin, then the
// labels of the base image. stated says that there is a Metadata file.
func (w *work) kind() (kind artifact.Kind, stated bool, err error) {
	own := copyMap(w.image.config.Config.Labels)
	for name := range w.image.inherits {
		delete(own, name)
	}
	kind = artifact.KindOf(&v1.ConfigFile{Architecture: w.platform.Architecture, Config: v1.Config{Labels: own}})
	want := own[artifact.LabelType]
	switch want {
	case "", artifact.TypeRootfs, artifact.TypeApp, artifact.TypePatch:
	default:
		return kind, false, fmt.Errorf("LABEL %s=%s: the types are %s, %s and %s", artifact.LabelType, want, artifact.TypeRootfs, artifact.TypeApp, artifact.TypePatch)
	}
	if want == "" && w.image.inherits[artifact.LabelType] == artifact.TypePatch {
		want = artifact.TypePatch
	}
	meta, stated, err := w.metadata()
	if err != nil {
		return kind, stated, err
	}
	if kind, err = kind.Merge(meta); err != nil {
		return kind, stated, err
	}
	if kind.Distro == "" && (want == "" || want == artifact.TypeRootfs) {
		kind.Distro = w.distroInBin()
	}
	if kind.Distro != "" && kind.Version == "" && (w.image.inherits[artifact.LabelDistro] == kind.Distro) {
		kind.Version = w.image.inherits[artifact.LabelDistroVersion]
	}
	switch {
	case want != "":
		kind.Type = want
	case kind.Distro != "":
		kind.Type = artifact.TypeRootfs
	}
	return kind, stated, nil
}

// metadata reads the Metadata file of the tree.
func (w *work) metadata() (meta artifact.Metadata, stated bool, err error) {
	return readMetadata(treeFS{w.image.tree})
}

func readMetadata(tree fs.FS) (meta artifact.Metadata, stated bool, err error) {
	data, err := fs.ReadFile(tree, artifact.MetadataFile)
	if errors.Is(err, fs.ErrNotExist) {
		return meta, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err != nil {
		return meta, true, fmt.Errorf("read %s: %w: it is JSON such as {\"distro\":\"k3s\",\"version\":\"v1.25.3\",\"arch\":\"amd64\"}", artifact.MetadataFile, err)
	}
	return meta, true, nil
}

// distroInBin tells the distribution by its main binary.
func (w *work) distroInBin() string {
	for _, known := range artifact.Binaries {
		if w.hasFile(known.Path) {
			return known.Distro
		}
	}
	return ""
}

func (w *work) hasFile(name string) bool {
	info, err := treeFS{w.image.tree}.Stat(name)
	return err == nil && !info.IsDir()
}

// installers tell by a word of a RUN command which distribution it means to install.
var installers = [...]struct{ word, distro string }{ //nolint:gochecknoglobals // a table that nothing changes
	{"get.k3s.io", "k3s"}, {"INSTALL_K3S_", "k3s"}, {"get.k0s.sh", "k0s"},
}

// checkBinary refuses a rootfs image without its distribution's main binary: `curl -sf … | sh` succeeds when the
// download does not.
func (w *work) checkBinary(kind artifact.Kind) error {
	distro := kind.Distro
	if kind.Type != artifact.TypeRootfs && kind.Type != artifact.TypeApp {
		return nil
	}
	if distro == "" {
		distro = w.distroToInstall()
	}
	for _, known := range artifact.Binaries {
		if known.Distro != distro {
			continue
		}
		if w.hasFile(known.Path) {
			return w.checkPlatform(known.Path)
		}
		err := fmt.Errorf("the image is to boot %s, but has no %s", distro, known.Path)
		if w.lastRun != nil {
			return w.at(w.lastRun, fmt.Errorf("%w: see what this command did", err))
		}
		return fmt.Errorf("%s: %w: COPY it to bin/, or correct the label %s or %s", w.File.Name, err, artifact.LabelDistro, artifact.MetadataFile)
	}
	return nil
}

// checkPlatform refuses a program for another architecture: installers look at the machine that they run on.
func (w *work) checkPlatform(name string) error {
	f, err := treeFS{w.image.tree}.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", w.File.Name, err)
	}
	defer f.Close()
	arch, ok, err := programPlatform(f)
	if err != nil {
		return fmt.Errorf("%s: read %s: %w", w.File.Name, name, err)
	}
	if !ok || arch == w.platform.Architecture {
		return nil
	}
	return fmt.Errorf("%s: %s is a program for %s, but the image is for %s: put the one for %s there", w.File.Name, name, arch, w.platform, w.platform.Architecture)
}

// distroToInstall is the distribution that a RUN of the stage, or of one that it starts from, installs.
func (w *work) distroToInstall() string {
	for s := w.stage; s != nil; s = s.parent {
		for _, i := range s.source.Instructions {
			run, ok := i.(*kubefile.Run)
			if !ok {
				continue
			}
			for _, known := range installers {
				if strings.Contains(strings.Join(run.Command, " "), known.word) {
					return known.distro
				}
			}
		}
	}
	return ""
}

// addMetadata adds a layer that states what the image is.
func (w *work) addMetadata(ctx context.Context, kind artifact.Kind) error {
	data, err := json.Marshal(artifact.Metadata{Distro: kind.Distro, Version: kind.Version, Arch: w.platform.Architecture})
	if err != nil {
		return err
	}
	w.addFiles(ctx, []layer.Entry{textEntry(artifact.MetadataFile, string(data)+"\n")}, artifact.MetadataFile)
	return nil
}

// label writes the labels of a cluster image.
func (w *work) label(kind artifact.Kind) error {
	labels := copyMap(w.image.config.Config.Labels)
	set := func(name, value string) {
		if delete(labels, name); value != "" {
			labels[name] = value
		}
	}
	set(artifact.LabelType, kind.Type)
	set(artifact.LabelFormat, artifact.Format)
	if kind.Type == artifact.TypeRootfs {
		set(artifact.LabelDistro, kind.Distro)
		set(artifact.LabelDistroVersion, kind.Version)
	}
	f, err := treeFS{w.image.tree}.Open(imagesIndex)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		set(artifact.LabelImagesDigest, "")
	case err != nil:
		return fmt.Errorf("%s: %w", w.File.Name, err)
	default:
		defer f.Close()
		digest, _, err := v1.SHA256(f)
		if err != nil {
			return fmt.Errorf("%s: read %s: %w", w.File.Name, imagesIndex, err)
		}
		set(artifact.LabelImagesDigest, digest.String())
	}
	w.image.config.Config.Labels = labels
	return nil
}
