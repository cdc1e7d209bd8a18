package main

import (
	"bytes"
	"strings"
)

// maxLogLine is the length in bytes at which a line is broken.
const maxLogLine = 64 << 10

// lineBuffer makes whole lines of what a program prints.
type lineBuffer struct{ rest []byte }

// add returns the lines that end with text.
func (b *lineBuffer) add(text string) []string {
	b.rest = append(b.rest, text...)
	var lines []string
	for {
		line, rest, ok := bytes.Cut(b.rest, []byte("\n"))
		if !ok && len(b.rest) < maxLogLine {
			return lines
		}
		lines = append(lines, shown(line))
		b.rest = rest
	}
}

// end returns the line that has no end, if there is one.
func (b *lineBuffer) end() []string {
	if len(b.rest) == 0 {
		return nil
	}
	line := shown(b.rest)
	b.rest = nil
	return []string{line}
}

// shown returns what a terminal would show of a line in the end: programs
// overwrite what they said after a carriage return.
func shown(line []byte) string {
	line = bytes.TrimRight(line, "\r")
	line = line[bytes.LastIndexByte(line, '\r')+1:]
	return strings.ToValidUTF8(string(line), "\uFFFD")
}
