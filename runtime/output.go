package runtime

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// What an error repeats of a command's standard output.
const (
	outputKept  = 4 << 10 // bytes
	outputLines = 12
)

// lastOutput keeps the end of what a command writes; all of it, where it is a
// value that is asked for.
type lastOutput struct {
	all  bool
	text []byte
}

// Write implements io.Writer.
func (l *lastOutput) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	if over := len(l.text) - outputKept; over > 0 && !l.all {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

// explain adds the last lines to the error of a command that has said nothing on
// its standard error, and to that of others' programs: they may complain on
// either.
func (l *lastOutput) explain(err error, others bool) error {
	var exit *host.ExitError
	if errors.As(err, &exit) && strings.TrimSpace(exit.Stderr) != "" && !others {
		return err
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(l.text), "")), "\n")
	lines = lines[max(0, len(lines)-outputLines):]
	if lines[0] == "" {
		return err
	}
	return fmt.Errorf("%w; its last output was\n    %s", err, strings.Join(lines, "\n    "))
}

// lastLine returns the last line that says something, as much of it as is told.
func (l *lastOutput) lastLine() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(l.text), ""))
	line := []rune(strings.TrimSpace(text[strings.LastIndexAny(text, "\n\r")+1:]))
	return string(line[:min(len(line), maxLine)])
}

// maxLine is as much as is told of a line.
const maxLine = 512
