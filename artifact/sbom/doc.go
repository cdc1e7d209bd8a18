// Package sbom writes the bill of materials of a cluster image: what is inside
// it, as SPDX or CycloneDX has it.
package sbom
