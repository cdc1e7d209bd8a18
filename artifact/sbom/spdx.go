package sbom

import (
	"encoding/hex"
	"io"
	"strings"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/utils"

	"github.com/sealrt/sealrt/artifact/contents"
)

// noAssertion is what SPDX says for "nobody looked".
const noAssertion = "NOASSERTION"

// namespace begins the name of every document of SPDX, which the digest of the
// image makes unique.
const namespace = "https://sealrt.io/spdx/"

// writeSPDX writes the bill as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/).
func (b *bill) writeSPDX(w io.Writer) error {
	files := make([]*spdx.File, len(b.files))
	for i, f := range b.files {
		files[i] = spdxFile(f)
	}
	code, err := utils.GetVerificationCode(files, "")
	if err != nil {
		return err
	}
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: b.Ref.Familiar(), DocumentNamespace: namespace + b.Digest.Algorithm + "-" + b.Digest.Hex,
		CreationInfo: &spdx.CreationInfo{Created: b.created(), CreatorComment: strings.Join(b.remarks(), "\n"),
			Creators: []spdx.Creator{{CreatorType: "Tool", Creator: b.Tool}}},
		Files: files,
	}
	for _, e := range b.sorted() {
		p := spdxPackage(e)
		if e == b.root && len(files) > 0 {
			p.FilesAnalyzed, p.PackageVerificationCode = true, &code
		}
		doc.Packages = append(doc.Packages, p)
	}
	doc.Relationships = b.spdxRelations(files)
	return json.Write(doc, w, json.Indent(" "), json.EscapeHTML(false))
}

// spdxRelations returns what the elements of a document have to do with each
// other.
func (b *bill) spdxRelations(files []*spdx.File) []*spdx.Relationship {
	relate := func(from, to common.ElementID, how string) *spdx.Relationship {
		return &spdx.Relationship{RefA: spdx.DocElementID{ElementRefID: from}, RefB: spdx.DocElementID{ElementRefID: to}, Relationship: how}
	}
	list := []*spdx.Relationship{relate("DOCUMENT", spdxID(b.root.id), common.TypeRelationshipDescribe)}
	for _, r := range b.links() {
		how := common.TypeRelationshipContains
		if r.depends {
			how = common.TypeRelationshipDependsOn
		}
		list = append(list, relate(spdxID(r.from), spdxID(r.to), how))
	}
	for i, f := range files {
		list = append(list, relate(spdxID(b.root.id), f.FileSPDXIdentifier, common.TypeRelationshipContains))
		if id := b.made[b.files[i].Name]; id != "" {
			list = append(list, relate(f.FileSPDXIdentifier, spdxID(id), common.TypeRelationshipGeneratedFrom))
		}
	}
	return list
}

func spdxID(id string) common.ElementID { return common.ElementID(id) }

// spdxPackage returns an element as SPDX has it.
func spdxPackage(e *element) *spdx.Package {
	p := &spdx.Package{PackageName: e.name, PackageSPDXIdentifier: spdxID(e.id), PackageVersion: e.version, PackageDownloadLocation: noAssertion,
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
		PackageComment: e.comment, PrimaryPackagePurpose: purposes()[e.kind]}
	if e.licence != "" { // which need not be an expression of SPDX
		p.PackageLicenseComments = "declared as: " + e.licence
	}
	if e.vendor != "" {
		p.PackageSupplier = &common.Supplier{SupplierType: "Person", Supplier: strings.NewReplacer("<", "(", ">", ")", `"`, "'", `\`, "").Replace(e.vendor)}
	}
	if e.sha256 != "" {
		p.PackageChecksums = []spdx.Checksum{{Algorithm: common.SHA256, Value: e.sha256}}
	}
	if e.purl != "" {
		p.PackageExternalReferences = []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: e.purl}}
	}
	return p
}

// purposes returns what elements are for, by kind (SPDX 2.3, section 7.24).
func purposes() map[string]string {
	return map[string]string{ofCluster: "CONTAINER", ofImage: "CONTAINER", ofPackage: "LIBRARY", ofProgram: "APPLICATION", ofModule: "LIBRARY",
		ofChart: "OTHER", ofDistro: "APPLICATION"}
}

// spdxFile returns a file of the tree as SPDX has it.
func spdxFile(f *contents.File) *spdx.File {
	return &spdx.File{FileName: "./" + strings.ToValidUTF8(f.Name, "_"), FileSPDXIdentifier: spdxID(fileID(f)),
		Checksums: []spdx.Checksum{
			{Algorithm: common.SHA1, Value: hex.EncodeToString(f.SHA1[:])},
			{Algorithm: common.SHA256, Value: f.Digest().Hex},
		},
		LicenseConcluded: noAssertion, LicenseInfoInFiles: []string{noAssertion}, FileCopyrightText: noAssertion}
}
