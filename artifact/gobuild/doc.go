// Package gobuild tells how Go programs were built, from a stream that holds
// them: the program itself, or programs of an archive that it has inside, as
// programs have that unpack others when they start. Nothing is kept but a window
// of the stream.
package gobuild
