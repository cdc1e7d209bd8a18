package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// journal is the journal of one side, open for adding.
type journal struct {
	file *os.File
	torn bool // the last line has no end: its writer died
}

// openJournal opens the journal in a directory, making it when it is not there.
// The caller closes it.
func openJournal(dir string) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, Journal), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		last := make([]byte, 1)
		_, err = f.ReadAt(last, size-1)
		j.torn = last[0] != '\n'
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// add appends lines; they are on the disk when it returns.
func (j *journal) add(lines [][]byte) error {
	if len(lines) == 0 {
		return nil
	}
	var out bytes.Buffer
	if j.torn {
		out.WriteByte('\n')
	}
	for _, l := range lines {
		out.Write(l)
		out.WriteByte('\n')
	}
	j.torn = true // until it is known
	if _, err := j.file.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	j.torn = false
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }

// checkLine refuses what is not one line.
func checkLine(line []byte) error {
	if len(line) == 0 || bytes.ContainsAny(line, "\n\r") {
		return fmt.Errorf("journal: %q is not one line", line)
	}
	return nil
}

// linesOf returns the whole lines of a journal.
func linesOf(raw []byte) [][]byte {
	var out [][]byte
	for l := range bytes.Lines(raw) {
		if l = bytes.TrimRight(l, "\r\n"); len(l) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// union returns one journal with every line of several: the longest one, and
// after it what it lacks of the others.
func union(all [][]byte) [][]byte {
	longest := 0
	for i, raw := range all {
		if len(raw) > len(all[longest]) {
			longest = i
		}
	}
	out := linesOf(all[longest])
	seen := map[string]bool{}
	for _, l := range out {
		seen[string(l)] = true
	}
	for _, raw := range all {
		for _, l := range linesOf(raw) {
			if !seen[string(l)] {
				seen[string(l)] = true
				out = append(out, l)
			}
		}
	}
	return out
}
