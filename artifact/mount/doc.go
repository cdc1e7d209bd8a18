// Package mount shows the tree of an image of a store as a directory, by an overlay mount of its layers, on Linux.
//
// Every layer is unpacked once, in the form of a lower directory of an overlay, however many images share it. A layer
// does not say all by itself: it may leave the owner and mode of a directory to the layers below. So each mount has one
// more directory on top of the layers, which holds such directories as all layers together make them. A layer that
// cannot be unpacked by itself at all, because it writes through a link of a layer below, say, is unpacked on top of
// those, and shared by the images that have all of them. The tree is that of artifact.Unpack.
//
// All of it lies in mount/ beside the blobs of the store:
//
//	layers/KEY/       an unpacked layer: its tree, and dirs.json
//	images/DIGEST/    a mounted image: mount.json, the directory on top, and tree/, where it is mounted
//	tmp-*             what is being made; whoever has the lock removes what others left
//	lock              held alone by who mounts, unmounts or prunes
package mount
