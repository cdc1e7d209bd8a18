package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names (argv[0]) under which the executable is run again.
const (
	setupName = "sealrt-sandbox"      // makes the mounts, then becomes initName
	initName  = "sealrt-sandbox-init" // process 1 of the sandbox: starts the command and collects processes

	helperName = "sealrt-sandbox-helper" // works on files of other ids
)

// File descriptors that setupName and initName find open.
const (
	lifelineFD = 3 // carries the request, and ends when the caller does
	reportFD   = 4 // takes a report when the command could not be started
)

// report is what went wrong before the command ran.
type report struct {
	Text    string
	Refused bool
}

func run(ctx context.Context, c Config) error {
	// The kernel sends the parent death signal when the thread that forked ends, so keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	unprivileged := !hasSysAdmin()
	lifelineEnd, lifeline, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer lifeline.Close()
	reports, reportEnd, err := os.Pipe()
	if err != nil {
		lifelineEnd.Close()
		return fmt.Errorf("sandbox: %w", err)
	}
	defer reports.Close()
	cmd, err := start(func() *exec.Cmd {
		cmd := command(ctx, c)
		cmd.ExtraFiles = []*os.File{lifelineEnd, reportEnd}
		return cmd
	}, unprivileged)
	lifelineEnd.Close()
	reportEnd.Close()
	if err != nil {
		if ctx.Err() != nil {
			return stopped(ctx)
		}
		return startError(err, unprivileged)
	}
	sendErr := json.NewEncoder(lifeline).Encode(c.request(unprivileged))
	said, readErr := io.ReadAll(io.LimitReader(reports, 64<<10))
	waitErr := cmd.Wait()
	err = outcome(ctx, said, errors.Join(sendErr, readErr), waitErr)
	if err == nil && unprivileged {
		if err := openUpper(c.Upper); err != nil {
			return fmt.Errorf("sandbox: read what the command made: %w", err)
		}
	}
	return err
}

func command(ctx context.Context, c Config) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{setupName}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: cloneFlags(c.Network),
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	return cmd
}

func cloneFlags(n Network) uintptr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if _, err := os.Stat("/proc/self/ns/cgroup"); err == nil {
		flags |= unix.CLONE_NEWCGROUP
	}
	if n == NetworkNone {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// stopped is the error of a command that its caller gave up, by a deadline say.
func stopped(ctx context.Context) error {
	return fmt.Errorf("the command was stopped: %w", context.Cause(ctx))
}

func startError(err error, unprivileged bool) error {
	if unprivileged {
		return refused(err.Error())
	}
	return fmt.Errorf("sandbox: start: %w", err)
}

func refused(cause string) error {
	return fmt.Errorf("%w: %s: build as root, allow unprivileged user namespaces "+
		"(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0), "+
		"or build elsewhere with --builder", ErrRefused, cause)
}

// outcome turns what the sandbox's first process said and how it ended into Run's error.
func outcome(ctx context.Context, said []byte, pipeErr, waitErr error) error {
	if waitErr != nil && ctx.Err() != nil {
		return stopped(ctx)
	}
	if len(said) > 0 {
		var r report
		if err := json.Unmarshal(said, &r); err != nil {
			return fmt.Errorf("sandbox: report %q: %w", said, err)
		}
		if r.Refused {
			return refused(r.Text)
		}
		return errors.New(r.Text)
	}
	var exit *exec.ExitError
	if errors.As(waitErr, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return &ExitError{Code: 128 + int(status.Signal())}
		}
		return &ExitError{Code: exit.ExitCode()}
	}
	if waitErr != nil {
		return fmt.Errorf("sandbox: %w", waitErr)
	}
	if pipeErr != nil {
		return fmt.Errorf("sandbox: %w", pipeErr)
	}
	return nil
}
