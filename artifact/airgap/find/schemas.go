package find

import "bytes"

// definition is a line of a CustomResourceDefinition.
var definition = []byte("\nkind: CustomResourceDefinition") //nolint:gochecknoglobals // a constant, but for its type

// withoutSchemas returns a text of objects without the specs of its
// CustomResourceDefinitions. These name no images, and megabytes of schemas are
// most of what kustomize would spend its time on. Lines keep their numbers.
func withoutSchemas(text []byte) []byte {
	if !bytes.Contains(text, definition) {
		return text
	}
	out := make([]byte, 0, len(text)/8) // most of it goes
	for _, d := range documents(text) {
		if bytes.Contains(d.text, definition) {
			out = appendWithout(out, d.text, "spec:", "status:")
		} else {
			out = append(out, d.text...)
		}
	}
	return out
}

// appendWithout appends a document with empty lines for those of the given
// fields of its top level.
func appendWithout(out, text []byte, names ...string) []byte {
	drop := false
	for line := range bytes.Lines(text) {
		if first := line[0]; first != ' ' && first != '-' && first != '#' && first != '\r' && first != '\n' || bytes.HasPrefix(line, []byte("---")) {
			drop = false
			for _, name := range names {
				drop = drop || bytes.HasPrefix(line, []byte(name))
			}
		}
		if drop {
			line = line[len(bytes.TrimRight(line, "\n")):]
		}
		out = append(out, line...)
	}
	return out
}

// defines reports whether the kustomization has CustomResourceDefinitions.
func (k *kustomization) defines() bool {
	for _, text := range k.files {
		if bytes.Contains(text, definition) {
			return true
		}
	}
	return false
}
