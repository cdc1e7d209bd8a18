// Package registry reads and writes images in registries over HTTP (OCI distribution-spec).
//
// Client is a Source and a Sink of artifact. It knows the credentials, mirrors and certificates that docker and podman
// know, goes on where a transfer broke off, and takes from a registry's other repositories what is there.
package registry
