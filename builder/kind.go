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

// describe says in labels what the image is, and gives a rootfs image the Metadata that it lacks.
func (b *building) describe(ctx context.Context, stage *kubefile.Stage) error {
	kind, stated, err := b.kind()
	if err != nil {
		return fmt.Errorf("%s: %w", b.file, err)
	}
	if err := b.checkBinary(kind, stage); err != nil {
		return err
	}
	if kind.Type == artifact.TypeRootfs && !stated {
		if err := b.addMetadata(ctx, kind); err != nil {
			return fmt.Errorf("%s: add %s: %w", b.file, artifact.MetadataFile, err)
		}
	}
	return b.label(kind)
}

// kind finds out what the image is: from the LABELs of this Kubefile, then Metadata, then what lies in bin, then the
// labels of the base image. stated says that there is a Metadata file.
func (b *building) kind() (kind artifact.Kind, stated bool, err error) {
	own := copyMap(b.image.config.Config.Labels)
	for name := range b.inherits {
		delete(own, name)
	}
	kind = artifact.KindOf(&v1.ConfigFile{Architecture: b.platform.Architecture, Config: v1.Config{Labels: own}})
	want := own[artifact.LabelType]
	switch want {
	case "", artifact.TypeRootfs, artifact.TypeApp, artifact.TypePatch:
	default:
		return kind, false, fmt.Errorf("LABEL %s=%s: the types are %s, %s and %s", artifact.LabelType, want, artifact.TypeRootfs, artifact.TypeApp, artifact.TypePatch)
	}
	if want == "" && b.inherits[artifact.LabelType] == artifact.TypePatch {
		want = artifact.TypePatch
	}
	meta, stated, err := b.metadata()
	if err != nil {
		return kind, stated, err
	}
	if kind, err = kind.Merge(meta); err != nil {
		return kind, stated, err
	}
	if kind.Distro == "" && (want == "" || want == artifact.TypeRootfs) {
		kind.Distro = b.distroInBin()
	}
	if kind.Distro != "" && kind.Version == "" && (b.inherits[artifact.LabelDistro] == kind.Distro) {
		kind.Version = b.inherits[artifact.LabelDistroVersion]
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
func (b *building) metadata() (meta artifact.Metadata, stated bool, err error) {
	data, err := fs.ReadFile(treeFS{b.image.tree}, artifact.MetadataFile)
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
func (b *building) distroInBin() string {
	for _, known := range artifact.Binaries {
		if b.hasFile(known.Path) {
			return known.Distro
		}
	}
	return ""
}

func (b *building) hasFile(name string) bool {
	info, err := treeFS{b.image.tree}.Stat(name)
	return err == nil && !info.IsDir()
}

// installers tell by a word of a RUN command which distribution it means to install.
var installers = [...]struct{ word, distro string }{ //nolint:gochecknoglobals // a table that nothing changes
	{"get.k3s.io", "k3s"}, {"INSTALL_K3S_", "k3s"}, {"get.k0s.sh", "k0s"},
}

// checkBinary refuses a rootfs image without its distribution's main binary: `curl -sf … | sh` succeeds when the
// download does not.
func (b *building) checkBinary(kind artifact.Kind, stage *kubefile.Stage) error {
	distro := kind.Distro
	if kind.Type != artifact.TypeRootfs && kind.Type != artifact.TypeApp {
		return nil
	}
	if distro == "" {
		distro = b.distroToInstall(stage)
	}
	for _, known := range artifact.Binaries {
		if known.Distro != distro || b.hasFile(known.Path) {
			continue
		}
		err := fmt.Errorf("the image is to boot %s, but has no %s", distro, known.Path)
		if b.lastRun != nil {
			return b.at(b.lastRun, fmt.Errorf("%w: see what this command did", err))
		}
		return fmt.Errorf("%s: %w: COPY it to bin/, or correct the label %s or %s", b.file, err, artifact.LabelDistro, artifact.MetadataFile)
	}
	return nil
}

// distroToInstall is the distribution that a RUN of the stage installs.
func (b *building) distroToInstall(stage *kubefile.Stage) string {
	for _, i := range stage.Instructions {
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
	return ""
}

// addMetadata adds a layer that states what the image is.
func (b *building) addMetadata(ctx context.Context, kind artifact.Kind) error {
	data, err := json.Marshal(artifact.Metadata{Distro: kind.Distro, Version: kind.Version, Arch: b.platform.Architecture})
	if err != nil {
		return err
	}
	return b.addFiles(ctx, []layer.Entry{textEntry(artifact.MetadataFile, string(data)+"\n")}, artifact.MetadataFile)
}

// label writes the labels of a cluster image.
func (b *building) label(kind artifact.Kind) error {
	labels := copyMap(b.image.config.Config.Labels)
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
	f, err := treeFS{b.image.tree}.Open(imagesIndex)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		set(artifact.LabelImagesDigest, "")
	case err != nil:
		return fmt.Errorf("%s: %w", b.file, err)
	default:
		defer f.Close()
		digest, _, err := v1.SHA256(f)
		if err != nil {
			return fmt.Errorf("%s: read %s: %w", b.file, imagesIndex, err)
		}
		set(artifact.LabelImagesDigest, digest.String())
	}
	b.image.config.Config.Labels = labels
	return nil
}
