// Package builder turns a Kubefile and a directory of files into a cluster image.
//
// Build is a function of its Options: the same Kubefile, files, modes, base digests, arguments, platform and creation
// time give the same digest on every machine, as far as RUN commands are reproducible. Mistakes that can be seen
// without building (instructions that are not supported, missing sources, malformed variables) are reported together,
// with their positions, before anything is written. Layers stream straight into the store, and a layer whose inputs
// are unchanged is taken from there.
package builder
