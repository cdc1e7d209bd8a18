package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrLost is wrapped by the error of a command whose connection broke after it was sent: it may or may not have run to
// its end. Commands that had not been sent are sent again over a new connection instead.
var ErrLost = errors.New("connection lost")

// Command is one program with its arguments. There is no shell in it: Argv reaches the program as it stands here.
type Command struct {
	Argv   []string
	Env    []string  // K=V, added to what the machine gives a login
	Stdin  io.Reader // nil: empty. A Read that blocks after the command's end is not waited for.
	Stdout io.Writer // nil: discarded
	Stderr io.Writer // nil: discarded, but for the last lines, which are in ExitError
}

// Host is one machine that runs commands as root. Its methods may be called concurrently.
type Host interface {
	// Name is the address as the user gave it, without user and port.
	Name() string
	// Run runs c and waits for its end. A command that ended with anything but 0 is an *ExitError. Input that could not be
	// read and output that could not be written are errors too. When ctx ends, the command is ended and the error is
	// ctx.Err().
	Run(ctx context.Context, c Command) error
	// Close ends what is open to the machine; commands that still run fail. It may be called twice.
	Close() error
}

// ExitError says that a command ended with a status that is not 0.
type ExitError struct {
	Host   string
	Argv   []string
	Code   int    // the exit status; 128 + n when signal n ended the command
	Stderr string // the end of its standard error, whole lines where possible, at most 4 KiB
}

// told is how many lines of a command's standard error an error repeats.
const told = 12

// Error names the command, the status and the last lines of the command's standard error: programs often say first what is
// wrong and then how to ask for more. Several lines stand below, indented. The caller, who works on several hosts, names the
// host.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s: exit status %d", Quote(e.Argv), e.Code)
	var lines []string
	for line := range strings.Lines(e.Stderr) {
		if line = strings.TrimRight(line, " \t\r\n"); line != "" {
			lines = append(lines, strings.ReplaceAll(line, "\t", "  "))
		}
	}
	lines = lines[max(0, len(lines)-told):]
	if len(lines) == 1 {
		return text + ": " + strings.TrimSpace(lines[0])
	}
	for _, line := range lines {
		text += "\n    " + line
	}
	return text
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// Output runs argv on h and returns its standard output. It is for short answers: the output is held in memory.
func Output(ctx context.Context, h Host, argv ...string) ([]byte, error) {
	var out bytes.Buffer
	if err := h.Run(ctx, Command{Argv: argv, Stdout: &out}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// check refuses a command that cannot be passed on as it stands.
func (c Command) check() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errors.New("run a command: no program is named")
	}
	for _, kv := range c.Env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || !isEnvName(name) {
			return fmt.Errorf("run %s: %q is not an environment variable: write NAME=value", c.Argv[0], name)
		}
	}
	for _, s := range slices.Concat(c.Argv, c.Env) {
		if strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("run %s: an argument holds a zero byte, which no command can be given", c.Argv[0])
		}
	}
	return nil
}

// isEnvName reports whether s is a name as POSIX shells know them (IEEE Std 1003.1, 3.216 Name).
func isEnvName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
