package kubefile

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Limits that keep time and memory bounded whatever a file holds. A line must
// stay below the 64 KiB that BuildKit's parser can read. An instruction must
// stay below that in its canonical form too, which may be 2.5 times as long.
const (
	maxFile        = 1 << 20
	maxLine        = 60 << 10
	maxInstruction = 24 << 10
	maxNesting     = 16
	maxErrors      = 50
)

const (
	defaultEscape = '\\'
	byteOrderMark = "\uFEFF"
)

// source is the text of a Kubefile as lines, which can be taken out of it.
type source struct {
	lines  []string // newlines included
	escape rune
}

// read returns the text of r as a source and adds its mistakes to m. A source
// with mistakes is not worth parsing.
func read(r io.Reader, m *mistakes) (*source, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m.file, err)
	}
	checkText(data, m)
	if len(m.list) > 0 {
		return nil, nil
	}
	text := strings.TrimPrefix(string(data), byteOrderMark)
	s := &source{lines: strings.SplitAfter(text, "\n"), escape: defaultEscape}
	s.checkLines(m)
	return s, nil
}

// checkText refuses what is too large or no text.
func checkText(data []byte, m *mistakes) {
	if len(data) > maxFile {
		m.add(Position{1, 1}, "", fmt.Sprintf("the file is larger than %d MiB", maxFile>>20),
			"put large content into files of the context and COPY them")
		return
	}
	const hint = "a Kubefile is text in UTF-8"
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		m.add(Position{1, 1}, "", "the file is in UTF-16", "save it as UTF-8")
		return
	}
	line, start := 1, 0
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			m.add(Position{line, utf8.RuneCount(data[start:i]) + 1}, "", fmt.Sprintf("byte 0x%02x is not UTF-8", data[i]), hint)
			return
		case r == 0:
			m.add(Position{line, utf8.RuneCount(data[start:i]) + 1}, "", "NUL byte: this is not a text file", hint)
			return
		case r == '\n':
			line, start = line+1, i+1
		}
		i += size
	}
}

// checkLines refuses lines, and instructions over several lines, of absurd length.
func (s *source) checkLines(m *mistakes) {
	start, length, depth := 0, 0, 0
	for n, line := range s.lines {
		if len(line) > maxLine {
			m.add(Position{n + 1, 1}, shorten(line), fmt.Sprintf("the line is longer than %d KiB", maxLine>>10),
				"put large content into files of the context and COPY them")
		}
		if length == 0 {
			start = n
		}
		after, deepest := nesting(line, depth)
		if depth = after; deepest > maxNesting {
			m.add(Position{n + 1, 1}, shorten(line), fmt.Sprintf("variables are nested more than %d deep", maxNesting),
				"close the ${, or compute the value in a RUN")
			return
		}
		if !s.continued(strings.TrimRight(line, "\r\n")) {
			length, depth = 0, 0
			continue
		}
		if length += len(line); length > maxInstruction {
			m.add(Position{start + 1, 1}, shorten(s.lines[start]),
				fmt.Sprintf("the instruction is longer than %d KiB", maxInstruction>>10),
				"put the commands into a script, COPY and RUN it")
			return
		}
	}
}

// nesting returns how deep variables are nested at the end of a line, and the
// deepest there was, given the depth before it.
func nesting(line string, depth int) (after, deepest int) {
	for i, c := range []byte(line) {
		switch {
		case c == '{' && i > 0 && line[i-1] == '$':
			depth++
			deepest = max(deepest, depth)
		case c == '}' && depth > 0:
			depth--
		}
	}
	return depth, deepest
}

// continued tells whether the next line continues this one: it ends in a single
// escape character.
func (s *source) continued(line string) bool {
	before, found := strings.CutSuffix(strings.TrimRight(line, " \t"), string(s.escape))
	return found && !strings.HasSuffix(before, string(s.escape))
}

// directives reads the comments "# escape=", "# syntax=" and "# check=" at the
// beginning. Lines with mistakes become plain comments.
func (s *source) directives(m *mistakes) {
	var p parser.DirectiveParser
	for n, line := range s.lines {
		text := strings.TrimLeftFunc(strings.TrimRight(line, "\r\n"), unicode.IsSpace)
		if !strings.HasPrefix(text, "#") {
			return
		}
		at := Position{n + 1, utf8.RuneCountInString(line[:strings.Index(line, "#")]) + 1}
		d, err := p.ParseLine([]byte(text))
		switch {
		case err != nil:
			m.add(at, shorten(text), err.Error(), "remove this one")
			s.lines[n] = "#\n"
		case d == nil:
			return
		case d.Name != "escape":
		case d.Value == "\\" || d.Value == "`":
			s.escape = rune(d.Value[0])
		default:
			m.add(at, d.Value, fmt.Sprintf("%q cannot be the escape character", shorten(d.Value)), "write # escape=` or # escape=\\")
			s.lines[n] = "#\n"
		}
	}
}

// blank tells whether nothing but comments and empty lines is left.
func (s *source) blank() bool {
	for _, line := range s.lines {
		if t := strings.TrimSpace(line); t != "" && t[0] != '#' {
			return false
		}
	}
	return true
}

// erase empties the lines from first to last, counted from 1, and tells whether
// that changed any.
func (s *source) erase(first, last int) bool {
	changed := false
	for n := max(first, 1); n <= min(last, len(s.lines)); n++ {
		changed = changed || strings.TrimSpace(s.lines[n-1]) != ""
		s.lines[n-1] = "\n"
	}
	return changed
}

// parse runs BuildKit's parser over what is left.
func (s *source) parse() (*parser.Result, error) {
	return parser.Parse(strings.NewReader(strings.Join(s.lines, "")))
}

// text is an instruction as one line, which knows where its parts came from.
type text struct {
	string
	parts []part
}

// part is a piece of a line: the byte at offset in the text is character
// column of the line.
type part struct {
	offset, line, column int
}

// join returns the instruction that begins at a line, counted from 1: the lines
// it consists of, without comments, empty lines and escape characters between
// them. It yields what BuildKit's parser keeps as Node.Original.
func (s *source) join(first int) text {
	var b strings.Builder
	var t text
	for n := first; n <= len(s.lines); n++ {
		line := strings.TrimRight(s.lines[n-1], "\r\n")
		trimmed := strings.TrimLeftFunc(line, unicode.IsSpace)
		column := 1
		if n == first {
			column += utf8.RuneCountInString(line[:len(line)-len(trimmed)])
			line = trimmed
		} else if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		continued := s.continued(line)
		if continued {
			line = line[:strings.LastIndex(line, string(s.escape))]
		}
		t.parts = append(t.parts, part{b.Len(), n, column})
		b.WriteString(line)
		if !continued {
			break
		}
	}
	t.string = b.String()
	return t
}

// at returns the position of the byte at offset.
func (t text) at(offset int) Position {
	p := t.parts[0]
	for _, next := range t.parts[1:] {
		if next.offset > offset {
			break
		}
		p = next
	}
	return Position{p.line, p.column + utf8.RuneCountInString(t.string[p.offset:offset])}
}
