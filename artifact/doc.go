// Package artifact says what a cluster image is and moves it between the places where it may live: a store on this
// machine, a registry, an archive.
//
// A place that images are read from is a [Source], one that they are written to a [Sink]; [Copy] is the one verb
// between them. push, pull, save and load are that function with other arguments. Blobs are named by their digest
// everywhere, so nothing that the other side has is sent, and everything that arrives is checked on the way.
//
// Nothing here holds a blob in memory: only manifests and configs, which are small and bounded, are read whole.
package artifact
