// Package layer turns a tree of files into a layer of an OCI image, and a layer into a tree of files.
//
// A layer is a tar archive of what one step of a build added, changed and deleted, usually compressed
// (OCI image-spec, layer.md). Write makes one in a single pass, from entries that FromDir, FromOverlay,
// FromArchive or the caller lists; Extract applies one on a directory that it never leaves; Walk reads one in order.
// Equal entries and options give equal bytes on every machine, whatever the number of processors.
package layer
