// Package store keeps images on this machine, as an OCI image layout (OCI image-spec image-layout.md) that several
// processes use at once and that is valid whenever one of them is killed.
package store
