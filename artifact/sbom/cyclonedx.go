package sbom

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"

	"github.com/sealrt/sealrt/artifact/contents"
)

// writeCycloneDX writes the bill as CycloneDX 1.6 (ECMA-424).
func (b *bill) writeCycloneDX(w io.Writer) error {
	root := cyclonedxComponent(b.root)
	tool, version := b.Tool, ""
	if i := strings.Index(tool, "-"); i > 0 {
		tool, version = tool[:i], tool[i+1:]
	}
	bom := cyclonedx.NewBOM()
	bom.SerialNumber = b.serial()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: b.created(), Component: &root,
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{Type: cyclonedx.ComponentTypeApplication, Name: tool, Version: version}}}}
	components := []cyclonedx.Component{}
	for _, e := range b.sorted() {
		if e != b.root {
			components = append(components, cyclonedxComponent(e))
		}
	}
	for _, f := range b.files {
		components = append(components, cyclonedxFile(f))
	}
	bom.Components, bom.Dependencies = &components, b.dependencies()
	properties := []cyclonedx.Property{}
	for _, remark := range b.remarks() {
		properties = append(properties, cyclonedx.Property{Name: "sealrt:note", Value: remark})
	}
	bom.Properties = &properties
	bom.Compositions = &[]cyclonedx.Composition{{Aggregate: cyclonedx.CompositionAggregateIncomplete, Assemblies: &[]cyclonedx.BOMReference{cyclonedx.BOMReference(b.root.id)}}}
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}

// serial returns the number of the document, a UUID of version 8 made of the
// digest (RFC 9562, section 5.8).
func (b *bill) serial() string {
	raw, err := hex.DecodeString(b.Digest.Hex)
	if err != nil || len(raw) < 16 {
		return ""
	}
	raw[6] = raw[6]&0x0f | 0x80
	raw[8] = raw[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:16])
}

// dependencies returns the relations: in CycloneDX what holds something depends
// on it.
func (b *bill) dependencies() *[]cyclonedx.Dependency {
	list := []cyclonedx.Dependency{}
	for _, r := range b.links() {
		if len(list) == 0 || list[len(list)-1].Ref != r.from {
			list = append(list, cyclonedx.Dependency{Ref: r.from, Dependencies: &[]string{}})
		}
		on := list[len(list)-1].Dependencies
		if n := len(*on); n == 0 || (*on)[n-1] != r.to {
			*on = append(*on, r.to)
		}
	}
	return &list
}

// cyclonedxComponent returns an element as CycloneDX has it.
func cyclonedxComponent(e *element) cyclonedx.Component {
	c := cyclonedx.Component{BOMRef: e.id, Type: componentTypes()[e.kind], Name: e.name, Version: e.version, PackageURL: e.purl, Description: e.comment}
	if e.sha256 != "" {
		c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: e.sha256}}
	}
	if e.licence != "" {
		c.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{Name: e.licence}}}
	}
	if e.vendor != "" {
		c.Supplier = &cyclonedx.OrganizationalEntity{Name: e.vendor}
	}
	return c
}

// componentTypes returns what elements are in CycloneDX, by kind.
func componentTypes() map[string]cyclonedx.ComponentType {
	return map[string]cyclonedx.ComponentType{ofCluster: cyclonedx.ComponentTypeContainer, ofImage: cyclonedx.ComponentTypeContainer,
		ofPackage: cyclonedx.ComponentTypeLibrary, ofProgram: cyclonedx.ComponentTypeApplication, ofModule: cyclonedx.ComponentTypeLibrary,
		ofChart: cyclonedx.ComponentTypeApplication, ofDistro: cyclonedx.ComponentTypePlatform}
}

// cyclonedxFile returns a file of the tree as CycloneDX has it.
func cyclonedxFile(f *contents.File) cyclonedx.Component {
	name := strings.ToValidUTF8(f.Name, "_")
	return cyclonedx.Component{BOMRef: fileID(f), Type: cyclonedx.ComponentTypeFile, Name: name,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: f.Digest().Hex}}}
}
