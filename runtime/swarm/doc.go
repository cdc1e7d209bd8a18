// Package swarm brings blobs from the client to many hosts while each leaves
// the client once: hosts that have a blob serve it to the others.
//
// A [Swarm] lives as long as a run. It asks each host what it lacks, sends
// what no host has over SSH, as it lies in the image, and tells the hosts of
// each other: as soon as a host has a blob it is a source of it, so that blobs
// spread like a tree. Everything is verified by digest where it arrives, and
// what broke off goes on at its byte.
//
// On a host the package is four commands (Missing, Receive, Serve, Fetch),
// which talk to the client over their standard input and output and to each
// other over HTTPS. Both ends of each connection show a certificate of an
// authority that the client makes for the run; keys are never on a disk, and
// all ends when standard input does, so that a client that dies leaves nothing
// behind. Where hosts cannot reach each other, the client sends instead.
package swarm
