package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// becomer runs commands as root over an execFunc. It finds out once how the machine answers, before the first command, so
// that a wrong password is one attempt and one clear error, whatever the number of commands.
type becomer struct {
	how      string // "", sudo, doas
	host     string // for errors
	user     string // for errors
	password func() (string, error)
	exec     execFunc
	shell    bool          // commands pass through the user's login shell
	patience time.Duration // how long sudo gets to ask, or to say that it needs no password

	turn   chan struct{} // holds one token while somebody finds out
	known  bool
	asks   bool // sudo asks for a password
	secret string
}

func newBecomer(how, host, user string, password func() (string, error), exec execFunc) (*becomer, error) {
	if how != "" && how != "sudo" && how != "doas" {
		return nil, fmt.Errorf("become root on %s: %q is not a way to: use sudo or doas", host, how)
	}
	return &becomer{how: how, host: host, user: user, password: password, exec: exec,
		patience: time.Minute, // longer than it takes to see that the network is gone
		turn:     make(chan struct{}, 1),
	}, nil
}

// run runs c as root and turns its end into Host.Run's answer.
func (b *becomer) run(ctx context.Context, c Command) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.Stdout, c.Stderr = stopping(c.Stdout, stop), stopping(c.Stderr, stop)
	stderr := &tailWriter{next: c.Stderr}
	code, err := b.start(running, c, stderr)
	var full *writeError
	switch {
	case ctx.Err() != nil && err != nil:
		return ctx.Err()
	case errors.As(context.Cause(running), &full):
		return fmt.Errorf("%s: pass on its output: %w", c.Argv[0], full.err)
	case err != nil:
		return fmt.Errorf("%s: %w", c.Argv[0], err)
	case code != 0:
		return &ExitError{Host: b.host, Argv: c.Argv, Code: code, Stderr: stderr.String()}
	}
	return nil
}

// start runs c with a mark in its environment, by which it is found where a signal has to reach it.
func (b *becomer) start(ctx context.Context, c Command, stderr io.Writer) (int, error) {
	mark := "SEALRT_RUN=" + token()
	return b.elevate(ctx, b.exec, process{
		argv:  slices.Concat([]string{"env", mark}, c.Env, c.Argv),
		stdin: c.Stdin, stdout: c.Stdout, stderr: stderr,
		hunt: func(ctx context.Context, run execFunc, signal string) { b.hunt(ctx, run, mark, signal) },
	})
}

// elevate runs p as root by run.
func (b *becomer) elevate(ctx context.Context, run execFunc, p process) (int, error) {
	switch {
	case b.how == "":
	case b.asks:
		return b.answer(ctx, run, p)
	default:
		p.argv = slices.Concat([]string{b.how, "-n", "--"}, p.argv)
	}
	return run(ctx, p)
}

// hunt sends a signal to every process that has mark in its environment. It is for what a signal by the transport does not
// reach: sshd refuses to send any to root's commands, and nobody but root may send one to what sudo runs. What cannot be found
// or signalled is left to the end of its connection.
func (b *becomer) hunt(ctx context.Context, run execFunc, mark, signal string) {
	ask := func(argv ...string) string {
		var out bytes.Buffer
		_, _ = b.elevate(ctx, run, process{argv: argv, stdout: &out}) // no answer finds nothing
		return out.String()
	}
	if found := marked(ask, mark); len(found) > 0 {
		ask(slices.Concat([]string{"kill", "-s", signal}, found)...)
	}
}

// answer runs p under a sudo that asks.
func (b *becomer) answer(ctx context.Context, run execFunc, p process) (int, error) {
	a := b.answering(&p)
	code, err := run(ctx, p)
	a.gate.close()
	if a.prompt.times.Load() > 1 {
		return 0, b.wrongPassword()
	}
	if flushErr := a.prompt.flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write standard error: %w", flushErr)
	}
	return code, err
}

type answering struct {
	gate   *gate
	prompt *promptWriter
}

// answering puts sudo before p. The password is sent when sudo's prompt is seen and not before: a sudo that does not ask
// would hand it to the command as input. -k makes sudo ask even where it remembers an answer.
func (b *becomer) answering(p *process) answering {
	prompt := "[sealrt " + token() + "] password: "
	p.argv = append([]string{"sudo", "-k", "-S", "-p", prompt, "--"}, p.argv...)
	g := newGate(b.secret, p.stdin)
	if p.stderr == nil {
		p.stderr = io.Discard
	}
	w := &promptWriter{next: p.stderr, prompt: []byte(prompt), onSeen: func(times int) {
		if times == 1 {
			g.open()
		} else {
			g.close() // refused: the data must not be taken for further passwords
		}
	}}
	p.stdin, p.stderr = g, w
	return answering{gate: g, prompt: w}
}

func token() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// prepare finds out, once, whether commands come through as they are, whether the user may become root and whether a password
// is asked for.
func (b *becomer) prepare(ctx context.Context) error {
	if b.how == "" && !b.shell {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.known {
		return nil
	}
	argv := []string{"env", messages, "true"}
	switch {
	case b.how == "sudo" && b.password != nil:
		argv = []string{"env", messages, "sudo", "-k", "-n", "--", "env", "true"}
	case b.how != "":
		argv = []string{"env", messages, b.how, "-n", "--", "env", "true"}
	}
	said, printed := &tailWriter{}, &tailWriter{}
	code, err := b.bounded(ctx, process{argv: argv, stdout: printed, stderr: said})
	if err != nil {
		return err
	}
	if err := b.shellError(code, said.String(), printed.String()); err != nil {
		return err
	}
	if code != 0 {
		if b.how != "sudo" || b.password == nil || !needsPassword(said.String()) {
			return b.explain(code, said.String())
		}
		if err := b.tryPassword(ctx); err != nil {
			return err
		}
		b.asks = true
	}
	b.known = true
	return nil
}

// tryPassword asks the user and lets sudo run true(1) with the answer.
func (b *becomer) tryPassword(ctx context.Context) error {
	secret, err := b.password()
	if err != nil {
		return fmt.Errorf("become root on %s: ask for the password of %s: %w", b.host, b.user, err)
	}
	if strings.ContainsAny(secret, "\n\r\x00") {
		return fmt.Errorf("become root on %s: the password holds a line break or a zero byte, which sudo cannot be given", b.host)
	}
	b.secret = secret
	said := &tailWriter{}
	p := process{argv: []string{"env", "true"}, stderr: said}
	a := b.answering(&p)
	defer a.gate.close()
	p.argv = append([]string{"env", messages}, p.argv...)
	code, err := b.bounded(ctx, p)
	switch {
	case a.prompt.times.Load() > 1:
		return b.wrongPassword()
	case err != nil:
		return err
	case code != 0:
		_ = a.prompt.flush() // a tailWriter takes everything
		return b.explain(code, said.String())
	}
	return nil
}

// bounded runs p for as long as patience lasts: a sudo that asks in its own way would wait for ever.
func (b *becomer) bounded(ctx context.Context, p process) (int, error) {
	limited, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	code, err := b.exec(limited, p)
	switch {
	case err == nil:
		return code, nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded) && b.how == "":
		return 0, fmt.Errorf("run commands on %s: the login shell of %s ran none within %s: look what its start-up files wait for", b.host, b.user, b.patience)
	case errors.Is(err, context.DeadlineExceeded):
		return 0, fmt.Errorf("become root on %s: %s did not answer or ask for a password within %s: "+
			"allow %s to use it without a password, or log in as root", b.host, b.how, b.patience, b.user)
	case b.how == "":
		return 0, fmt.Errorf("run commands on %s: %w", b.host, err)
	}
	return 0, fmt.Errorf("become root on %s: %w", b.host, err)
}

// shellError says what is wrong with a login shell, by the end of a command that prints nothing. What start-up files print would
// be taken for the answers of commands.
func (b *becomer) shellError(code int, said, printed string) error {
	if printed = lastLine(printed); printed != "" && (code == 0 || needsPassword(said)) {
		return fmt.Errorf("run commands on %s: the login shell of %s prints %q before what commands print: "+
			"let its start-up files (~/.bashrc, ~/.config/fish/config.fish) print nothing where there is no terminal", b.host, b.user, printed)
	}
	if said = lastLine(said); code == 0 || b.how != "" && said != "" {
		return nil
	}
	return fmt.Errorf("run commands on %s: %s: the login shell of %s runs no commands: give %s another one (usermod -s /bin/sh %s), or log in as another user",
		b.host, strings.TrimSuffix(firstOf(printed, said, fmt.Sprintf("exit status %d", code)), "."), b.user, b.user, b.user)
}

func needsPassword(said string) bool {
	return strings.Contains(said, "password is required") || // sudo
		strings.Contains(said, "authentication is required") || // sudo-rs
		strings.Contains(said, "Authentication required") || strings.Contains(said, "Authorization required") // doas
}

func (b *becomer) wrongPassword() error {
	return fmt.Errorf("become root on %s: sudo did not accept the password of %s: try again with the right one", b.host, b.user)
}

// explain says what stands between the user and root, by the status and the words of sudo or doas.
func (b *becomer) explain(code int, said string) error {
	reason := strings.TrimSuffix(lastLine(said), ".")
	if reason == "" {
		reason = fmt.Sprintf("%s: exit status %d", b.how, code)
	}
	say := func(format string, args ...any) error {
		return fmt.Errorf("become root on %s: %s: %s", b.host, reason, fmt.Sprintf(format, args...))
	}
	switch has := func(s string) bool { return strings.Contains(said, s) }; {
	case code == notFound:
		return say("%s is not installed there: install it, log in as root, or use the other of sudo and doas", b.how)
	case has("must have a tty"):
		return say("remove `Defaults requiretty` from its sudoers")
	case has("incorrect password"), has("try again"), has("no password was provided"), has("incorrect authentication"):
		return b.wrongPassword()
	case has("not in the sudoers file"), has("may not run sudo"), has("is not allowed to"), has("I can't do that"),
		has("Operation not permitted"):
		return say("allow %s to use %s there, or log in as another user", b.user, b.how)
	case b.how == "doas" && needsPassword(said):
		return say("doas takes a password only on a terminal: write `permit nopass %s` in its /etc/doas.conf, or use sudo", b.user)
	case needsPassword(said):
		return say("repeat with --become-ask-pass, or give %s a NOPASSWD rule in its sudoers", b.user)
	}
	return say("see that %s lets %s run commands there", b.how, b.user)
}
