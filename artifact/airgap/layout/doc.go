// Package layout reads the container images in the images/ directory of a
// cluster image, which is an OCI image layout, where they lie: in an unpacked
// directory or in the layers of the cluster image.
package layout
