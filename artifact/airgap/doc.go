// Package airgap turns lists of container images into the images/ directory of
// a cluster image.
//
// The directory is an OCI image layout (oci-layout, index.json, blobs/sha256).
// It is delivered as layers of the cluster image, one layer per blob, so that
// the digest of a layer follows from the blob alone and two cluster images that
// hold the same blob share it in every store and registry. Every blob keeps the
// digest it has upstream.
package airgap
