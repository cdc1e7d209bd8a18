package find

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a part of a text.
type document struct {
	text []byte
	line int // lines of the text before it
}

// documents splits a text before each line "---" (YAML 1.2.2, 9.1.2: such a
// line ends a document wherever it stands). Directives are left out: the parser
// knows none but those of YAML 1.1.
func documents(text []byte) []document {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return []document{{text, 0}} // UTF-16: the parser reads it
	}
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n\ufeff"), []byte("\n")) // of files that were put together
	var docs []document
	start, pos, first, n, content := 0, 0, 0, 0, false
	for line := range bytes.Lines(text) {
		rest, isStart := bytes.CutPrefix(line, []byte("---"))
		isStart = isStart && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
		if isStart {
			if content {
				docs = append(docs, document{text[start:pos], first})
			}
			start, first = pos, n
		}
		t := bytes.TrimLeft(line, " \t\r\n")
		content = isStart || content || len(t) > 0 && t[0] != '#' && line[0] != '%'
		pos += len(line)
		n++
	}
	if content {
		docs = append(docs, document{text[start:], first})
	}
	return docs
}

// nodes reads the YAML or JSON values of a document. What kubectl reads and the
// parser does not is read on a second try: a stream of JSON values, escapes that
// only JSON has, and lines of tabs and comments.
func (d document) nodes(each func(n *yaml.Node, line int)) error {
	values, err := decode(d.text)
	if err != nil {
		if stream := jsonValues(d); stream != nil {
			for _, v := range stream {
				values, err := decode(v.text)
				if err != nil {
					return v.moved(err)
				}
				for _, n := range values {
					each(n, v.line)
				}
			}
			return nil
		}
		more, again := decode(blankLine.ReplaceAll(d.text, nil))
		if again != nil {
			return d.moved(err)
		}
		values = more
	}
	for _, n := range values {
		each(n, d.line)
	}
	return nil
}

// blankLine matches lines of tabs, or of tabs and a comment.
var blankLine = regexp.MustCompile(`(?m)^[ \t]*\t[ \t]*(?:#.*)?$`)

// decode reads the values of a text. There are several when "..." ends them.
func decode(text []byte) ([]*yaml.Node, error) {
	var found []*yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		if n.Kind == yaml.DocumentNode {
			found = append(found, n.Content...)
		}
	}
}

// jsonValues returns the values of a stream of JSON, written such that they are
// YAML, and nil for what is no JSON.
func jsonValues(d document) []document {
	if t := bytes.TrimLeft(d.text, " \t\r\n"); len(t) == 0 || t[0] != '{' && t[0] != '[' {
		return nil
	}
	var found []document
	dec := json.NewDecoder(bytes.NewReader(d.text))
	line, end := d.line, 0
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			return nil
		}
		start := int(dec.InputOffset()) - len(raw)
		line += bytes.Count(d.text[end:start], []byte("\n"))
		found = append(found, document{jsonEscapes.ReplaceAllFunc(raw, yamlEscape), line})
		line += bytes.Count(raw, []byte("\n"))
		end = start + len(raw)
	}
}

// jsonEscapes matches the escapes of JSON.
var jsonEscapes = regexp.MustCompile(`\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)`)

// yamlEscape returns an escape of JSON as YAML 1.1 has it. Halves of characters
// are replaced: references have none.
func yamlEscape(e []byte) []byte {
	switch {
	case e[1] == '/':
		return e[1:]
	case len(e) > 2:
		return []byte(`\uFFFD`)
	}
	return e
}

// yamlError is an error of the YAML parser with the line of the text.
type yamlError struct {
	line  int
	cause string
}

func (e *yamlError) Error() string { return e.cause }

// errorLine finds the line in an error of the parser, which has no other place
// for it.
var errorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// moved returns an error of the parser with the line of the whole text.
func (d document) moved(err error) *yamlError {
	m := errorLine.FindStringSubmatch(err.Error())
	n, aerr := strconv.Atoi(m[1])
	if aerr != nil || n < 1 {
		n = 1
	}
	return &yamlError{line: d.line + n, cause: strings.TrimSpace(err.Error()[len(m[0]):])}
}
