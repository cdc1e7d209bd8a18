package sbom

import (
	"cmp"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/package-url/packageurl-go"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/contents"
)

// purl writes a package URL; "" for what cannot have one. The types are those of
// the purl specification, PURL-TYPES.
func purl(kind, namespace, name, version string, qualifiers map[string]string, subpath string) string {
	for key, value := range qualifiers {
		if value == "" {
			delete(qualifiers, key)
		}
	}
	p := packageurl.NewPackageURL(kind, namespace, name, version, packageurl.QualifiersFromMap(qualifiers), subpath)
	if p.Normalize() != nil {
		return ""
	}
	return p.ToString()
}

// imagePURL returns that of a container image: its version is the digest.
func imagePURL(ref artifact.Reference, h v1.Hash, platform string) string {
	if ref.IsZero() {
		return ""
	}
	_, arch, _ := strings.Cut(platform, "/")
	arch, _, _ = strings.Cut(arch, "/")
	return purl(packageurl.TypeOCI, "", path.Base(ref.Path()), h.String(),
		map[string]string{"repository_url": ref.Name(), "tag": ref.Tag(), "arch": arch}, "")
}

// packagePURL returns that of a distribution's package.
func packagePURL(p contents.Package, os contents.OS) string {
	standard := map[string]string{contents.Debian: "debian", contents.Alpine: "alpine"}[p.Kind]
	namespace := cmp.Or(os.ID, standard)
	distro := ""
	if os.ID != "" && os.Version != "" {
		distro = os.ID + "-" + os.Version
	}
	upstream := p.Source
	if p.SourceVersion != "" {
		upstream += "@" + p.SourceVersion
	}
	if p.Kind == contents.Alpine && p.Source == p.Name {
		upstream = ""
	}
	return purl(p.Kind, namespace, p.Name, p.Version, map[string]string{"arch": p.Arch, "distro": distro, "upstream": upstream}, "")
}

// modulePURL returns that of a Go module, or of a package in it.
func modulePURL(m contents.Module, pkg string) string {
	if m.Path == "" {
		return ""
	}
	namespace, name := path.Split(m.Path)
	sub, _ := strings.CutPrefix(pkg, m.Path)
	return purl(packageurl.TypeGolang, strings.TrimSuffix(namespace, "/"), name, m.Version, nil, strings.Trim(sub, "/"))
}

// libraryPURL returns that of Go's standard library, and its version.
func libraryPURL(goVersion string) (url, version string) {
	version, _, _ = strings.Cut(strings.TrimPrefix(goVersion, "go"), " ")
	return purl(packageurl.TypeGolang, "", "stdlib", version, nil, ""), version
}

// chartPURL returns that of a Helm chart.
func chartPURL(name, version string) string {
	return purl(packageurl.TypeHelm, "", name, version, nil, "")
}
