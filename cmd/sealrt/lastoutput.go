package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sealrt/sealrt/builder/sandbox"
)

// maxLastOutput is how many bytes of a command's output an error repeats.
const maxLastOutput = 2 << 10

// lastOutput keeps the end of what a RUN command says, for those who did not
// want to read it unless it fails.
type lastOutput struct{ text []byte }

func (l *lastOutput) add(text string) {
	if extra := len(text) - maxLastOutput; extra > 0 {
		text = text[extra:]
	}
	l.text = append(l.text, text...)
	if extra := len(l.text) - maxLastOutput; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
}

// explain adds the output to the error of a command.
func (l *lastOutput) explain(err error) error {
	var exit *sandbox.ExitError
	text := strings.TrimSpace(strings.ToValidUTF8(string(l.text), ""))
	if text == "" || !errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("%w; its last output was\n%s", err, text)
}
