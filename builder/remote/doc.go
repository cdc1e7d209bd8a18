// Package remote finds what a Kubefile names elsewhere, and remembers which content it was.
//
// A Downloader fetches the remote files of ADD into a store, each once and verified. A Lock, the file Kubefile.lock, says
// which digest each name of an image or file stood for, so that a later build uses the same content or fails.
package remote
