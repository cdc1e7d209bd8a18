// Package kubefile turns the text of a Kubefile into typed instructions with
// their positions.
//
// The language is that of Dockerfiles
// (https://docs.docker.com/reference/dockerfile/) plus the instruction BASE;
// docs/kubefile.md describes it for people who write Kubefiles. The text is
// read by BuildKit's parser, so comments, line continuations, heredocs and
// quoting mean here what they mean everywhere else.
//
// The package reads no files other than the reader it is given, looks nothing
// up and substitutes no variables while parsing: what an instruction holds is
// the text its author wrote. A builder asks an Expander for the values of
// words once it knows the variables.
//
// Nothing is ever skipped silently. What the package does not understand is an
// *Error with the position of the offending text, and all mistakes of a file
// are reported at once, as Errors.
package kubefile
