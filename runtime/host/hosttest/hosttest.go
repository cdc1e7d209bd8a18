// Package hosttest provides machines for tests: Host records what it is asked to do and keeps files and systemd units in
// memory; Server is an SSH server in this process that runs commands for real.
package hosttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/sealrt/sealrt/runtime/host"
)

// Host is a machine in memory. It understands the commands of package host and the small tools around them (cat, chmod, cp, date, dd,
// find, gzip, hostname, ln, mkdir, mktemp, mv, readlink, rm, rmdir, sha256sum, systemctl, tail, tee, test, true, uname); any other command succeeds and says nothing, unless Respond
// or Fail says otherwise. Its methods may be called concurrently.
type Host struct {
	name string

	mu     sync.Mutex
	closed bool
	files  tree
	units  map[string]unit
	rules  []*rule
	served []served
	calls  []Call
}

var _ host.Host = (*Host)(nil)

// Call is one command that a Host was asked to run, with all of its standard input.
type Call struct {
	Argv, Env []string
	Stdin     []byte
}

// rule answers the commands that begin with prefix.
type rule struct {
	prefix []string
	stdout string
	code   int
	err    error
	nth    int // of the commands that match; 0: every one
	seen   int
}

// New returns a machine with the directories that every Linux has, and nothing in them.
func New(name string) *Host {
	return &Host{name: name, files: newTree(), units: map[string]unit{}}
}

// Name is the name given to New.
func (h *Host) Name() string { return h.name }

// Respond makes the commands whose argv begins with prefix write stdout and end with code, instead of what they would do. With
// a code other than 0 the text is on standard error as well. A later Respond goes before an earlier one.
func (h *Host) Respond(prefix []string, stdout string, code int) {
	h.add(&rule{prefix: slices.Clone(prefix), stdout: stdout, code: code})
}

// Fail makes the nth of the following commands whose argv begins with prefix fail with err, before it does anything; 1 is the
// first, 0 stands for every one.
func (h *Host) Fail(prefix []string, err error, nth int) {
	h.add(&rule{prefix: slices.Clone(prefix), err: err, nth: nth})
}

// Serve makes run do the commands whose argv begins with prefix, with their streams as they are: for programs that talk to
// who started them. They are not among the calls.
func (h *Host) Serve(prefix []string, run func(ctx context.Context, c host.Command) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served = append(h.served, served{slices.Clone(prefix), run})
}

// served is a command that somebody else does.
type served struct {
	prefix []string
	run    func(ctx context.Context, c host.Command) error
}

func (h *Host) server(argv []string) func(ctx context.Context, c host.Command) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.served {
		if len(argv) >= len(s.prefix) && slices.Equal(argv[:len(s.prefix)], s.prefix) {
			return s.run
		}
	}
	return nil
}

func (h *Host) add(r *rule) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules = append(h.rules, r)
}

// Calls returns the commands so far, in the order in which they began to be answered.
func (h *Host) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// Transcript returns the commands so far, one line each, as a shell would take them. LC_ALL=C, which package host adds to be
// able to read messages, is left out. Commands that failed by Fail are in it.
func (h *Host) Transcript() []string {
	var lines []string
	for _, c := range h.Calls() {
		env := slices.DeleteFunc(slices.Clone(c.Env), func(kv string) bool { return kv == "LC_ALL=C" })
		argv := c.Argv
		if len(env) > 0 {
			argv = slices.Concat([]string{"env"}, env, argv)
		}
		lines = append(lines, host.Quote(argv))
	}
	return lines
}

// Run records c and answers it. All of c.Stdin is read first; its error is the command's.
func (h *Host) Run(ctx context.Context, c host.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if run := h.server(c.Argv); run != nil {
		return run(ctx, c)
	}
	var stdin []byte
	if c.Stdin != nil {
		var err error
		if stdin, err = io.ReadAll(c.Stdin); err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
	stdout, stderr, code, err := h.answer(Call{Argv: slices.Clone(c.Argv), Env: slices.Clone(c.Env), Stdin: stdin})
	if err != nil {
		return err
	}
	if err := write(c.Stdout, stdout); err != nil {
		return err
	}
	if err := write(c.Stderr, stderr); err != nil {
		return err
	}
	if code != 0 {
		return &host.ExitError{Host: h.name, Argv: c.Argv, Code: code, Stderr: stderr}
	}
	return nil
}

func write(w io.Writer, s string) error {
	if w == nil || s == "" {
		return nil
	}
	_, err := io.WriteString(w, s)
	return err
}

func (h *Host) answer(c Call) (stdout, stderr string, code int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return "", "", 0, fmt.Errorf("%s: run %s: the host was closed", h.name, host.Quote(c.Argv))
	}
	if len(c.Argv) == 0 {
		return "", "", 0, fmt.Errorf("%s: run a command: no program is named", h.name)
	}
	h.calls = append(h.calls, c)
	if r := h.match(c.Argv); r != nil {
		if r.err != nil {
			return "", "", 0, r.err
		}
		if r.code != 0 {
			stderr = r.stdout
		}
		return r.stdout, stderr, r.code, nil
	}
	m := machine{Host: h, argv: c.Argv, stdin: c.Stdin}
	code = m.run()
	return m.stdout.String(), m.stderr.String(), code, nil
}

// match counts c for every failure that is waiting and returns the rule that answers it, failures first.
func (h *Host) match(argv []string) *rule {
	var found *rule
	for _, r := range slices.Backward(h.rules) {
		if len(argv) < len(r.prefix) || !slices.Equal(argv[:len(r.prefix)], r.prefix) {
			continue
		}
		r.seen++
		due := r.err == nil || r.nth == 0 || r.seen == r.nth
		if due && (found == nil || found.err == nil && r.err != nil) {
			found = r
		}
	}
	return found
}

// Close makes all further commands fail. It may be called twice.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return nil
}

// machine is one command at work on a Host whose lock is held.
type machine struct {
	*Host
	argv           []string
	stdin          []byte
	stdout, stderr bytes.Buffer
}

func (m *machine) run() int {
	args := m.argv[1:]
	switch m.argv[0] {
	case "cat":
		return m.cat(operands(args))
	case "chmod":
		return m.chmod(operands(args))
	case "cp":
		return m.cp(operands(args))
	case "date":
		return m.date(args)
	case "dd":
		return m.dd(args)
	case "find":
		return m.find(args)
	case "gzip":
		return m.gzip(flags(args), operands(args))
	case "hostname":
		fmt.Fprintln(&m.stdout, m.name)
	case "mkdir":
		return m.mkdir(flags(args), operands(args))
	case "mktemp":
		return m.mktemp(flags(args), operands(args))
	case "mv":
		return m.mv(flags(args), operands(args))
	case "ln":
		return m.ln(operands(args))
	case "readlink":
		return m.readlink(operands(args))
	case "rm":
		return m.rm(flags(args), operands(args))
	case "rmdir":
		return m.rmdir(operands(args))
	case "sha256sum":
		return m.sha256sum(operands(args))
	case "systemctl":
		return m.systemctl(args)
	case "tail":
		return m.tail(args)
	case "tee":
		return m.tee(flags(args), operands(args))
	case "test":
		return m.test(args)
	case "uname":
		return m.uname(args)
	}
	return 0
}

// fail writes the command's complaint and returns its status.
func (m *machine) fail(code int, format string, args ...any) int {
	fmt.Fprintf(&m.stderr, m.argv[0]+": "+format+"\n", args...)
	return code
}

// flags returns the letters of the short flags before --.
func flags(args []string) string {
	var letters strings.Builder
	for _, a := range args {
		if a == "--" {
			break
		}
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") {
			letters.WriteString(a[1:])
		}
	}
	return letters.String()
}

// operands returns what is not a flag.
func operands(args []string) []string {
	var all []string
	for i, a := range args {
		if a == "--" {
			return append(all, args[i+1:]...)
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			all = append(all, a)
		}
	}
	return all
}

func (m *machine) uname(args []string) int {
	switch flags(args) {
	case "m":
		fmt.Fprintln(&m.stdout, "x86_64")
	case "n":
		fmt.Fprintln(&m.stdout, m.name)
	case "r":
		fmt.Fprintln(&m.stdout, "6.1.0")
	case "", "s":
		fmt.Fprintln(&m.stdout, "Linux")
	case "sm":
		fmt.Fprintln(&m.stdout, "Linux x86_64")
	case "snrm":
		fmt.Fprintln(&m.stdout, "Linux", m.name, "6.1.0", "x86_64")
	default:
		return m.fail(1, "hosttest knows no flags but -m, -n, -r, -s, -sm and -snrm")
	}
	return 0
}
