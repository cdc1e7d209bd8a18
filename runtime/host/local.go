package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Local is this machine, without SSH. The zero value works; it must not be copied once used.
type Local struct {
	Become string // how to become root: "" (not at all), "sudo" or "doas"; nothing is done when the process is root's
	// BecomePassword is asked for the password that sudo asks for; nil: only sudo without a password is tried.
	BecomePassword func() (string, error)

	once    sync.Once
	become  *becomer
	invalid error
}

var _ Host = (*Local)(nil)

// Name is "localhost".
func (l *Local) Name() string { return "localhost" }

// Run implements Host. A program that does not exist ends with status 127 and one that cannot be started with 126, as a shell
// would say.
func (l *Local) Run(ctx context.Context, c Command) error {
	l.once.Do(func() {
		how := l.Become
		if os.Geteuid() == 0 {
			how = ""
		}
		l.become, l.invalid = newBecomer(how, l.Name(), "you", l.BecomePassword, execLocal)
	})
	if l.invalid != nil {
		return l.invalid
	}
	return l.become.run(ctx, c)
}

// Close does nothing.
func (l *Local) Close() error { return nil }

// execLocal runs p in a process group of its own, so that what p started ends with it when ctx ends.
func execLocal(ctx context.Context, p process) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var out outputs
	defer out.cut()
	cmd := exec.Command(p.argv[0], p.argv[1:]...) //nolint:noctx // its whole process group is ended, below
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = grace
	cmd.Stdout, cmd.Stderr = out.guard(p.stdout), out.guard(p.stderr)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("open standard input: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return notStarted(p, err)
	}
	ended, killed := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		endGroup(ctx, cmd.Process.Pid, p, ended)
	})
	fed := feed(stdin, p.stdin)
	err = cmd.Wait()
	close(ended)
	if !stop() {
		<-killed
		return 0, ctx.Err()
	}
	return localStatus(err, fed)
}

// endGroup makes a process group end: first by asking, and when its leader has not ended after a while, by force. ended is
// closed when the leader has ended.
func endGroup(ctx context.Context, pid int, p process, ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*grace)
	defer cancel()
	send := func(signal syscall.Signal, name string) {
		// The error is EPERM where sudo has made it root's, and ESRCH where nobody is left.
		if err := syscall.Kill(-pid, signal); errors.Is(err, syscall.EPERM) && p.hunt != nil {
			p.hunt(ctx, execLocal, name)
		}
	}
	send(syscall.SIGTERM, "TERM")
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
	}
	send(syscall.SIGKILL, "KILL") // the leader, or what it has left behind
}

func notStarted(p process, err error) (int, error) {
	var code int
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code = 127
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		code = 126
	default:
		return 0, fmt.Errorf("start: %w", err)
	}
	if p.stderr != nil {
		if _, err := fmt.Fprintln(p.stderr, err); err != nil {
			return 0, fmt.Errorf("write standard error: %w", err)
		}
	}
	return code, nil
}

// localStatus reads the exit status out of what Wait returned.
func localStatus(err error, fed *watchedReader) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	// ErrWaitDelay: it ended well, but left somebody behind who holds its output open.
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return 0, fmt.Errorf("pass on its output: %w", err)
	}
	return 0, inputError(fed)
}

// inputError is the error of the reader that a command was fed from: the command itself saw only the end of its input.
func inputError(fed *watchedReader) error {
	if err := fed.failure(); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return nil
}

// feed copies r to w and closes w, in the background: a Read that blocks must not keep a command from ending. What is
// returned knows the error of r; a command that stopped reading is no error, its status says how it went.
func feed(w io.WriteCloser, r io.Reader) *watchedReader {
	source := &watchedReader{r: r}
	if r == nil {
		_ = w.Close() // nothing was written
		return source
	}
	go func() {
		_, _ = io.Copy(w, source)
		_ = w.Close()
	}()
	return source
}
