package convert

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Makers of cluster images that are read here.
const (
	sealos = "sealos"
	sealer = "sealer"
)

// What sealos writes into config.Labels. It reads either of two names (pkg/types/v1beta1 there).
var (
	sealosType    = []string{"sealos.io.type", "apps.sealos.io/type"}                 //nolint:gochecknoglobals // a table that nothing changes
	sealosDistro  = []string{"sealos.io.distribution", "apps.sealos.io/distribution"} //nolint:gochecknoglobals // a table that nothing changes
	sealosVersion = []string{"sealos.io.version", "apps.sealos.io/version"}           //nolint:gochecknoglobals // a table that nothing changes
	sealosHooks   = []string{                                                         //nolint:gochecknoglobals // a table that nothing changes
		"check", "init", "clean", "auth", "init-cri", "clean-cri", "init-registry", "clean-registry",
	}
)

// sealosKube is the label with the version of Kubernetes.
const sealosKube = "version"

// What sealer writes into labels and annotations (pkg/define/image/v1 and pkg/cluster-runtime there; common in v0.8).
const (
	sealerExtension   = "sealer.image.extension"
	sealerImages      = "sealer.image.container.images"
	sealerClusterfile = "sea.aliyun.com/ClusterFile"
	sealerRuntime     = "cluster.alpha.sealer.io/cluster-runtime-type"
	sealerVersion     = "cluster.alpha.sealer.io/cluster-runtime-version"
	sealerInstaller   = "kube-installer" // the type of a rootfs image
)

// foreign is a cluster image of another tool, as it says of itself.
type foreign struct {
	manifest *v1.Manifest
	config   *v1.ConfigFile
	old      v08       // what sealer v0.8 has in place of a configuration
	ext      extension // what sealer v0.9 has in the annotation
}

// v08 is the configuration of an image of sealer v0.8 as a registry has it (types/api/v1 there).
type v08 struct {
	Metadata struct {
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		ImageConfig struct {
			Type string `json:"image_type"`
			Cmd  struct {
				Parent, Current []string
			} `json:"cmd"`
			Args struct {
				Parent, Current map[string]string
			} `json:"args"`
			Labels map[string]string `json:"labels"`
		} `json:"image_config"`
		Version string `json:"sealer_version"`
	} `json:"spec"`
}

// extension is the annotation sealer.image.extension.
type extension struct {
	Type         string            `json:"type"`
	Applications []application     `json:"applications"`
	Env          map[string]string `json:"env"`
	Launch       struct {
		Cmds  []string `json:"cmds"`
		Names []string `json:"app_names"`
	} `json:"launch"`
}

// application is one that sealer launches.
type application struct {
	Name  string            `json:"name"`
	Type  string            `json:"type"`
	Files []string          `json:"files"`
	Env   map[string]string `json:"env"`
	Cmds  []string          `json:"cmds"`
}

// readForeign reads what an image says of itself. What cannot be read is remarked.
func readForeign(m *v1.Manifest, cfg *v1.ConfigFile, raw []byte, r *Report) *foreign {
	f := &foreign{manifest: m, config: cfg}
	if err := json.Unmarshal(raw, &f.old); err != nil {
		f.old = v08{}
	}
	if text := m.Annotations[sealerExtension]; text != "" {
		if err := json.Unmarshal([]byte(text), &f.ext); err != nil {
			r.remark("annotation "+sealerExtension, text, "it cannot be read: %v", err)
		}
	}
	return f
}

// maker tells who made the image, "" if nothing does. Either tool's storage of images is remarkable too, but sealos needs
// no label.
func (f *foreign) maker(hasStorage bool) string {
	names := slices.Collect(func(yield func(string) bool) {
		for _, from := range []map[string]string{f.config.Config.Labels, f.manifest.Annotations, f.old.Metadata.Annotations} {
			for name := range from {
				if !yield(name) {
					return
				}
			}
		}
	})
	has := func(part string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, part) })
	}
	switch {
	case has("sealos.io"):
		return sealos
	case has("sealer.io"), has("sealer.image."), has("io.sealer."), has("sea.aliyun.com/"), f.old.Spec.Version != "":
		return sealer
	case hasStorage:
		return sealos
	}
	return ""
}

// label returns the first of several labels that is there.
func (f *foreign) label(names ...string) (name, value string) {
	for _, name := range names {
		if value := f.config.Config.Labels[name]; value != "" {
			return name, value
		}
		if value := f.old.Spec.ImageConfig.Labels[name]; value != "" {
			return name, value
		}
	}
	return "", ""
}

// metadata is the file Metadata of either tool's rootfs.
type metadata struct {
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Runtime string `json:"ClusterRuntime"`
	Distro  string `json:"distro"`
}

// kind says what the image is. meta is its file Metadata; bin tells the distribution by what lies in bin/.
func (f *foreign) kind(maker string, meta metadata, bin string, r *Report) artifact.Kind {
	var k artifact.Kind
	distroNames, versionNames := []string{sealerRuntime}, []string{sealerVersion}
	if maker == sealos {
		distroNames, versionNames = sealosDistro, []string{sealosKube}
		k.Type = f.sealosType(r)
	} else {
		k.Type = f.sealerType(meta, bin, r)
	}
	if k.Type != artifact.TypeRootfs {
		return k
	}
	for _, s := range [...]struct {
		names []string
		label string
		value *string
	}{{distroNames, artifact.LabelDistro, &k.Distro}, {versionNames, artifact.LabelDistroVersion, &k.Version}} {
		name, value := f.label(s.names...)
		if *s.value = value; value != "" {
			r.mapped("label "+name+"="+value, s.label)
		}
	}
	f.complete(&k, meta, bin, maker, r)
	return k
}

// sealosType returns the type of an image of sealos.
func (f *foreign) sealosType(r *Report) string {
	name, kind := f.label(sealosType...)
	if name != "" {
		r.mapped("label "+name+"="+kind, artifact.LabelType)
	}
	switch kind {
	case artifact.TypeRootfs, artifact.TypePatch:
		return kind
	case "application", "":
	default:
		r.remark("label "+name, kind, "sealos knows rootfs, application and patch: it is taken for an application")
	}
	return artifact.TypeApp
}

// sealerType returns the type of an image of sealer.
func (f *foreign) sealerType(meta metadata, bin string, r *Report) string {
	_, runtime := f.label(sealerRuntime)
	switch {
	case f.ext.Type != "":
		r.mapped("annotation "+sealerExtension+" type "+f.ext.Type, artifact.LabelType)
		if f.ext.Type != sealerInstaller {
			return artifact.TypeApp
		}
		return artifact.TypeRootfs
	case runtime != "", meta.Runtime != "", bin != "":
		return artifact.TypeRootfs
	}
	return artifact.TypeApp
}

// complete finds out of a rootfs image what the labels do not say.
func (f *foreign) complete(k *artifact.Kind, meta metadata, bin, maker string, r *Report) {
	k.Distro = cmp.Or(k.Distro, meta.Runtime, meta.Distro, bin)
	switch k.Distro {
	case "k8s", "kubeadm", "":
		k.Distro = "kubernetes" // what both tools install unless told otherwise
	}
	k.Version = cmp.Or(k.Version, meta.Version)
	known := slices.ContainsFunc(artifact.Binaries[:], func(b artifact.Binary) bool { return b.Distro == k.Distro })
	if !known {
		r.remark("distribution", k.Distro, "sealrt runs k3s, k0s and kubernetes, and no such one")
	}
	if k.Version == "" {
		r.remark("version", "", "the image does not say which version of %s it has: add the label %s", k.Distro, artifact.LabelDistroVersion)
	}
	if meta.Version != "" && !artifact.SameVersion(meta.Version, k.Version) {
		r.remark("file Metadata, version", meta.Version, "the label says %s, which counts", k.Version)
	}
	r.remark("install scripts", "", "%s installs a rootfs image by scripts of the image, sealrt by its own driver for %s: scripts/ stays, and is not run, and the tree may lack what the driver looks for: see docs/import.md", maker, k.Distro)
}
