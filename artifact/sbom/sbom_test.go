package sbom_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/package-url/packageurl-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/contents"
	"github.com/sealrt/sealrt/artifact/sbom"
)

var update = flag.Bool("update", false, "write the golden files anew")

func hash(s string) v1.Hash {
	h, _, _ := v1.SHA256(strings.NewReader(s))
	return h
}

// about is what the documents of these tests are about.
func about(t testing.TB) sbom.About {
	return sbom.About{Ref: airgaptest.Reference(t, "registry.example.com/team/k3s:v1.25.3"), Digest: hash("cluster"), Platform: "linux/amd64",
		Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: "k3s", Version: "v1.25.3+k3s1"}, Created: time.Unix(1700000000, 0), Tool: "sealrt-v1.0.0"}
}

// everything reads a cluster image that has something of every kind.
func everything(t testing.TB) *contents.Contents {
	t.Helper()
	program := contents.Program{Files: []string{"bin/k3s", "bin/kubectl"}, SHA256: sha256.Sum256([]byte("k3s")), Path: "github.com/k3s-io/k3s/cmd/server",
		Main: contents.Module{Path: "github.com/k3s-io/k3s"}, Go: "go1.19.1 X:nocoverageredesign",
		Modules: []contents.Module{{Path: "golang.org/x/net", Version: "v0.1.0"}, {Path: "gopkg.in/yaml.v3", Version: "v3.0.1"}}}
	coredns := contents.Program{Files: []string{"coredns"}, SHA256: sha256.Sum256([]byte("coredns")), Path: "github.com/coredns/coredns",
		Main: contents.Module{Path: "github.com/coredns/coredns", Version: "v1.9.4"}, Go: "go1.19.1", Modules: []contents.Module{{Path: "golang.org/x/net", Version: "v0.1.0"}}}
	return &contents.Contents{
		Files: []*contents.File{{Name: "bin", Mode: fs.ModeDir | 0o755}, tree(t, "bin/k3s", "k3s"), tree(t, "etc/k3s.yaml", "a: b\n"), {Name: "etc/link", Mode: fs.ModeSymlink, Link: "k3s.yaml"}},
		Software: contents.Software{Programs: []contents.Program{program}, Charts: []contents.Chart{
			{File: "charts/app-1.2.3.tgz!app/Chart.yaml", Name: "app", Version: "1.2.3", AppVersion: "4.5", Dependencies: []contents.Dependency{
				{Name: "sub", Version: "~0.1.0"}, {Name: "redis", Version: ">=17", Repository: "https://charts.example.com"}}},
			{File: "charts/app-1.2.3.tgz!app/charts/sub/Chart.yaml", Name: "sub", Version: "0.1.7"},
		}},
		Images: []contents.Image{
			{Names: []string{"docker.io/library/debian:12", "registry.example.com/debian:12"}, Digest: hash("debian"), Variants: []contents.Variant{{Digest: hash("debian"), Platform: "linux/amd64",
				Software: contents.Software{OS: contents.OS{ID: "debian", Version: "12"}, Packages: []contents.Package{
					{Kind: contents.Debian, Name: "libc6", Version: "2.36-9+deb12u3", Arch: "amd64", Source: "glibc", SourceVersion: "2.36-9", Maintainer: "GNU Libc Maintainers <debian-glibc@lists.debian.org>", File: "var/lib/dpkg/status"},
					{Kind: contents.Debian, Name: "libstdc++6", Version: "1:12.2.0-14", Arch: "amd64", File: "var/lib/dpkg/status"}}}}}},
			{Names: []string{"docker.io/rancher/coredns@" + hash("index").String()}, Digest: hash("index"), Variants: []contents.Variant{{Digest: hash("coredns"), Platform: "linux/amd64", Software: contents.Software{
				OS: contents.OS{ID: "alpine", Version: "3.16.2"}, Programs: []contents.Program{coredns},
				Packages: []contents.Package{{Kind: contents.Alpine, Name: "musl", Version: "1.2.3-r0", Arch: "x86_64", Source: "musl", Licence: "MIT", File: "lib/apk/db/installed"}}}}}},
			{Digest: hash("nameless")},
		},
		Notes: []string{"docker.io/library/debian:12: var/lib/rpm/Packages: the packages of RPM are not read"},
	}
}

// tree returns a file whose content was read.
func tree(t testing.TB, name, content string) *contents.File {
	t.Helper()
	store := registrytest.Store(t)
	c := airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, true, airgaptest.File{Name: name, Content: content}))
	found, err := contents.Read(t.Context(), contents.Cluster{Source: store, Ref: c.Ref, Manifest: c.Manifest, Config: c.Config}, contents.Options{Scratch: t.TempDir(), SHA1: true})
	if err != nil {
		t.Fatal(err)
	}
	f := found.Files[0]
	if f.SHA1 != sha1.Sum([]byte(content)) || f.SHA256 != sha256.Sum256([]byte(content)) {
		t.Fatalf("digests of %s: %x %x", name, f.SHA1, f.SHA256)
	}
	return f
}

func write(t testing.TB, f sbom.Format, a sbom.About, c *contents.Contents) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sbom.Write(&b, f, a, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDocumentsAreTheGoldenOnes(t *testing.T) {
	for _, f := range []sbom.Format{sbom.SPDX, sbom.CycloneDX} {
		got, golden := write(t, f, about(t), everything(t)), filepath.Join("testdata", string(f)+".json")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is another; -update writes it:\n%s", golden, diff)
		}
		if again := write(t, f, about(t), everything(t)); !bytes.Equal(got, again) {
			t.Errorf("%s: the second document has other bytes", f)
		}
	}
}

func TestSPDXIsValid(t *testing.T) {
	doc, err := spdxjson.Read(bytes.NewReader(write(t, sbom.SPDX, about(t), everything(t))))
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Error(err)
	}
	if ids, err := spdxlib.GetDescribedPackageIDs(doc); err != nil || len(ids) != 1 || !strings.HasPrefix(string(ids[0]), "cluster-image-") {
		t.Errorf("it describes %v: %v", ids, err)
	}
	var locators []string
	ids := map[common.ElementID]bool{}
	for _, p := range doc.Packages {
		if ids[p.PackageSPDXIdentifier] {
			t.Errorf("%s is there twice", p.PackageSPDXIdentifier)
		}
		ids[p.PackageSPDXIdentifier] = true
		for _, r := range p.PackageExternalReferences {
			locators = append(locators, r.Locator)
		}
	}
	for _, f := range doc.Files {
		ids[f.FileSPDXIdentifier] = true
	}
	for id := range ids {
		if strings.Trim(string(id), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("identifier %q", id)
		}
	}
	checkPURLs(t, locators)
	if doc.CreationInfo.Created != "2023-11-14T22:13:20Z" || !strings.HasSuffix(doc.DocumentNamespace, hash("cluster").Hex) {
		t.Errorf("created %s, namespace %s", doc.CreationInfo.Created, doc.DocumentNamespace)
	}
}

// checkPURLs reads package URLs, among which these have to be.
func checkPURLs(t *testing.T, locators []string) {
	t.Helper()
	for _, l := range locators {
		if p, err := packageurl.FromString(l); err != nil || p.ToString() != l {
			t.Errorf("package URL %s: %v, %s", l, err, p.ToString())
		}
	}
	for _, want := range []string{
		"pkg:deb/debian/libc6@2.36-9%2Bdeb12u3?arch=amd64&distro=debian-12&upstream=glibc%402.36-9",
		"pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14?arch=amd64&distro=debian-12",
		"pkg:apk/alpine/musl@1.2.3-r0?arch=x86_64&distro=alpine-3.16.2",
		"pkg:golang/golang.org/x/net@v0.1.0", "pkg:golang/stdlib@1.19.1", "pkg:golang/github.com/k3s-io/k3s#cmd/server",
		"pkg:golang/github.com/coredns/coredns@v1.9.4", "pkg:helm/app@1.2.3", "pkg:generic/k3s@v1.25.3%2Bk3s1",
		"pkg:oci/debian@" + hash("debian").String() + "?arch=amd64&repository_url=docker.io%2Flibrary%2Fdebian&tag=12",
	} {
		if !slices.Contains(locators, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(locators, "\n"))
		}
	}
}

func TestCycloneDXIsValid(t *testing.T) {
	raw := write(t, sbom.CycloneDX, about(t), everything(t))
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(raw), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{bom.Metadata.Component.BOMRef: true}
	var locators []string
	for _, c := range *bom.Components {
		if known[c.BOMRef] {
			t.Errorf("%s is there twice", c.BOMRef)
		}
		known[c.BOMRef] = true
		if c.PackageURL != "" {
			locators = append(locators, c.PackageURL)
		}
	}
	checkPURLs(t, locators)
	for _, d := range *bom.Dependencies {
		for _, ref := range append([]string{d.Ref}, *d.Dependencies...) {
			if !known[ref] {
				t.Errorf("%s depends on what is not there: %s", d.Ref, ref)
			}
		}
	}
	validate(t, raw)
}

// validate compares a document with the schema of CycloneDX 1.6, which lies in its
// module.
func validate(t *testing.T, raw []byte) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	for url, file := range map[string]string{"http://cyclonedx.org/schema/bom-1.6.schema.json": "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json": "spdx.schema.json", "http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err == nil {
			err = c.AddResource(url, doc)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
}

func TestTreeOfVeryManyFilesIsListedInPart(t *testing.T) {
	c := &contents.Contents{}
	one := tree(t, "a", "a")
	for _, dir := range []string{"opt/", "scripts/"} {
		for i := range 6000 {
			f := *one
			f.Name = fmt.Sprintf("%s%04d", dir, i)
			c.Files = append(c.Files, &f)
		}
	}
	var doc struct {
		CreationInfo struct{ Comment string }
		Files        []struct{ FileName string }
	}
	if err := json.Unmarshal(write(t, sbom.SPDX, about(t), c), &doc); err != nil {
		t.Fatal(err)
	}
	if n := len(doc.Files); n != 10_000 || doc.Files[0].FileName != "./opt/0000" || doc.Files[3999].FileName != "./opt/3999" || doc.Files[9999].FileName != "./scripts/5999" {
		t.Errorf("%d files are listed, from %s to %s", n, doc.Files[0].FileName, doc.Files[n-1].FileName)
	}
	if !strings.Contains(doc.CreationInfo.Comment, "2000 files of the tree are not listed") {
		t.Errorf("comment %q", doc.CreationInfo.Comment)
	}
}

func TestAttachedDocumentIsFound(t *testing.T) {
	store := registrytest.Store(t)
	subject, err := store.PutBytes(t.Context(), "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2}`))
	if err != nil {
		t.Fatal(err)
	}
	a := about(t)
	a.Digest = subject.Digest
	for _, f := range []sbom.Format{sbom.SPDX, sbom.SPDX, sbom.CycloneDX} {
		n, err := sbom.Attach(t.Context(), store, a, subject, f, write(t, f, a, everything(t)))
		if err != nil {
			t.Fatal(err)
		}
		list, err := store.Attached(t.Context(), a.Ref.WithDigest(subject.Digest))
		if err != nil || !slices.ContainsFunc(list, func(o artifact.Named) bool { return o.Ref == n.Ref && o.Desc.ArtifactType == f.MediaType() }) {
			t.Errorf("attached: %+v, %v, not %+v", list, err, n)
		}
		if want := map[sbom.Format]int{sbom.SPDX: 1, sbom.CycloneDX: 2}[f]; len(list) != want {
			t.Errorf("%d are attached, not %d", len(list), want)
		}
		raw, err := artifact.ReadManifest(t.Context(), store, n.Ref, n.Desc)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			ArtifactType string
			Config       v1.Descriptor
			Layers       []v1.Descriptor
			Subject      v1.Descriptor
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		if m.ArtifactType != f.MediaType() || m.Subject.Digest != subject.Digest || m.Config.MediaType != "application/vnd.oci.empty.v1+json" ||
			len(m.Layers) != 1 || string(m.Layers[0].MediaType) != f.MediaType() {
			t.Errorf("manifest %s", raw)
		}
		for _, d := range append(m.Layers, m.Config) {
			if ok, err := store.Has(t.Context(), a.Ref, d); !ok || err != nil {
				t.Errorf("%s is not there: %v", d.MediaType, err)
			}
		}
	}
}
