package clusterfile

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is what a Clusterfile says: our own document, and those of the
// distribution that stand in the same file.
type Document struct {
	File
	Others []Other
}

// maxText bounds a file: what is larger is no Clusterfile.
const maxText = 4 << 20

// Parse reads a Clusterfile. What it does not know is an error: all mistakes
// are reported together, as [Errors]. name is what the errors call the file.
func Parse(name string, text []byte) (*Document, error) {
	m := &mistakes{file: name}
	if len(text) > maxText {
		m.add(1, "the file has %d bytes: a Clusterfile has at most %d", len(text), maxText)
		return nil, m.err()
	}
	doc := &Document{}
	own := 0
	for _, part := range split(text) {
		n, ok := part.parse(m)
		if !ok {
			continue
		}
		apiVersion, kind := textOf(n, "apiVersion"), textOf(n, "kind")
		if isOurs(n, apiVersion, kind) {
			if own++; own > 1 {
				m.add(n.Line, "a second cluster: a file describes one cluster, put this one into a file of its own")
				continue
			}
			r := &reader{mistakes: m, fields: fields(), lines: map[string]int{}}
			r.document(n, &doc.File)
			continue
		}
		if other(m, n, apiVersion, kind) {
			doc.Others = append(doc.Others, Other{APIVersion: apiVersion, Kind: kind, Line: n.Line, Raw: part.text})
			checkOther(m, n)
		}
	}
	if own == 0 && len(m.list) == 0 {
		m.add(1, "no cluster is described: a document begins with apiVersion: %s and kind: %s (`sealrt gen` prints one)", APIVersion, Kind)
	}
	if err := m.err(); err != nil {
		return nil, err
	}
	return doc, nil
}

// part is one document of a stream.
type part struct {
	line int    // how many lines are before it
	text string // without the marks around it
}

// split divides a stream at its marks. A line that begins with --- or ... is
// one wherever it stands (YAML 1.2.2, 9.1.4), so the text need not be
// understood for it.
func split(text []byte) []part {
	var parts []part
	var now strings.Builder
	begun, line := 0, 0
	end := func(next int) {
		if blank := regexp.MustCompile(`(?m)^(\s*(#.*)?|%.*)$`); strings.TrimSpace(blank.ReplaceAllString(now.String(), "")) != "" {
			parts = append(parts, part{line: begun, text: now.String()})
		}
		now.Reset()
		begun = next
	}
	for l := range bytes.Lines(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))) {
		rest, isMark := bytes.CutPrefix(l, []byte("---"))
		_, isEnd := bytes.CutPrefix(l, []byte("..."))
		switch {
		case isMark && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))):
			end(line)
			if len(bytes.TrimSpace(rest)) == 0 {
				begun++
				break
			}
			now.WriteString("   ") // what follows the mark keeps its column
			now.Write(rest)
		case isEnd && len(bytes.TrimSpace(l)) == 3:
			end(line + 1)
		default:
			now.Write(l)
		}
		line++
	}
	end(line)
	return parts
}

// inYAML is how the reader of YAML says where a mistake is.
var inYAML = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse returns the mapping that the document is. Lines are those of the file.
func (p part) parse(m *mistakes) (*yaml.Node, bool) {
	var doc yaml.Node
	err := yaml.NewDecoder(strings.NewReader(strings.Repeat("\n", p.line) + p.text)).Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	if err != nil {
		line := p.line + 1
		if found := inYAML.FindStringSubmatch(err.Error()); found != nil && found[1] != "" {
			line, _ = strconv.Atoi(found[1]) // the pattern has digits alone
		}
		m.add(line, "this is no YAML: %s", inYAML.ReplaceAllString(err.Error(), ""))
		return nil, false
	}
	n := doc.Content[0]
	if n.Kind != yaml.MappingNode {
		m.add(n.Line, "a document is fields with values, like kind: %s; this is %s", Kind, what(n))
		return nil, false
	}
	return n, true
}

// textOf returns the text of a field of a mapping, "" if there is none.
func textOf(n *yaml.Node, key string) string {
	if v := child(n, key); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

// child returns the value of a field of a mapping, nil if there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// isOurs reports whether a document means to be ours, be it with mistakes.
func isOurs(n *yaml.Node, apiVersion, kind string) bool {
	switch {
	case apiVersion == APIVersion, strings.HasPrefix(apiVersion, "sealrt.io"):
		return true
	case apiVersion == "" && (kind == Kind || kind == "" && child(n, "spec") != nil):
		return true
	}
	return false
}
