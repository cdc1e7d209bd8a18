// Package depot keeps on a host what cluster images consist of: each blob
// once, the layers of the tree unpacked once and shown as a directory, and the
// container images as the blobs they are, to be handed to a container runtime.
//
// A cluster image packs the blobs of its container images into layers of its
// own. Those layers do not travel: [SetOf] lists, where the image is, the blobs
// inside beside the layers of the tree. Everything lies below one directory:
//
//	store/blobs/sha256/   the blobs, read-only
//	store/mount/          unpacked layers (package mount)
//	store/adopted/        one record for each image whose tree is there
//	store/l/N             links to unpacked layers: short names, since all
//	                      options of a mount have to fit into a page of memory
//	rootfs/DIGEST/        the tree of an image
//
// Names appear there when what they name is whole and safe on disk, so that
// whatever was cut off at any moment is completed by doing it again.
package depot
