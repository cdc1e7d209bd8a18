// Package registry is the image service of a cluster's hosts: it answers the
// container runtime of each host with the images of the cluster, whichever host
// has them.
//
// On every host one process ([Service]) answers the read-only part of the OCI
// distribution API on a loopback port: from what the host has itself, else
// streamed from a master that is alive. Masters answer each other and the nodes
// on a port of their own, with mutual TLS of the cluster's CA ([CA]). A master
// that ends in the middle of a blob is replaced by another one at that byte, and
// what a master sends is compared with its digest before the last byte is passed
// on.
//
// Which masters there are, certificates and images are read again when their
// files change: nothing is restarted for them.
package registry
