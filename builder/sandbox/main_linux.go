package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Main is the sandbox's own half of the program. A program that calls Run calls it first thing in main, and exits
// with code when handled is true; handled is false when the program was started in the ordinary way.
func Main() (handled bool, code int) {
	switch os.Args[0] {
	case setupName:
		return true, enter()
	case initName:
		return true, supervise(os.Args[1:])
	case helperName:
		return true, help(os.Args[1:])
	}
	return false, 0
}

// enter makes the mounts, gives up privileges and becomes the init process. It returns only when that did not work.
func enter() int {
	runtime.LockOSThread() // privileges belong to a thread; exec keeps those of the calling one
	// what the caller was started with, such as a pipe with a password, ends with the exec
	if err := unix.CloseRange(reportFD+1, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return tell(fmt.Errorf("sandbox: close inherited files (Linux 5.11 or newer): %w", err), false)
	}
	lifeline := os.NewFile(lifelineFD, "lifeline")
	defer runtime.KeepAlive(lifeline) // or the collector closes it under the init process
	var req request
	if err := json.NewDecoder(lifeline).Decode(&req); err != nil {
		return tell(fmt.Errorf("sandbox: read the request: %w", err), false)
	}
	syscall.Umask(0o022)
	env, who, err := prepare(req)
	if err != nil {
		return tell(err, req.Unprivileged)
	}
	spec, _ := json.Marshal(who) // numbers and a string marshal
	argv := append([]string{initName, string(spec)}, req.Argv...)
	err = syscall.Exec("/proc/self/exe", argv, env)
	if errors.Is(err, syscall.ENOENT) { // its loader is missed, which is not in the tree
		err = fmt.Errorf("%w: this program needs libraries of the machine; build it with CGO_ENABLED=0", err)
	}
	return tell(fmt.Errorf("sandbox: become init: %w", err), false)
}

// prepare does everything between the clone and the exec.
func prepare(req request) (env []string, who identity, err error) {
	if err := syscall.Setgroups([]int{0}); err != nil && !req.Unprivileged { // a user namespace with one id keeps them
		return nil, who, fmt.Errorf("sandbox: leave the caller's groups: %w", err)
	}
	if err := unix.Sethostname([]byte(Hostname)); err != nil {
		return nil, who, fmt.Errorf("sandbox: set the host name: %w", err)
	}
	if req.Isolated {
		if err := loopbackUp(); err != nil {
			return nil, who, fmt.Errorf("sandbox: %w", err)
		}
	}
	inTree, err := buildRoot(req)
	if err != nil {
		return nil, who, fmt.Errorf("sandbox: %w", err)
	}
	if who, err = lookUpUser(req.User, "/etc"); err != nil {
		return nil, who, told{err}
	}
	if who, err = who.mapped(); err != nil {
		return nil, who, told{fmt.Errorf("USER %s: %w", req.User, err)}
	}
	if err := os.Chdir(workingDir(req.Dir, inTree)); err != nil {
		return nil, who, fmt.Errorf("WORKDIR %s: %w", req.Dir, errors.Unwrap(err))
	}
	if err := dropPrivileges(); err != nil {
		return nil, who, fmt.Errorf("sandbox: %w", err)
	}
	return environ(req.Env, who.Home, inTree, req.CAFile != ""), who, nil
}

// tell sends a report to the caller of Run and returns an exit code.
func tell(err error, unprivileged bool) int {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENODEV)
	data, _ := json.Marshal(report{Text: err.Error(), Refused: unprivileged && denied}) // strings and bools marshal
	if _, err := os.NewFile(reportFD, "report").Write(data); err != nil {
		return 126
	}
	return 125
}

// told is an error that speaks for itself, whatever it came from: not a refusal of this machine.
type told struct{ err error }

func (t told) Error() string { return t.err.Error() }

// supervise is process 1: it starts the command, collects whatever ends, and ends with the command. The kernel then
// kills what is left in the namespace.
func supervise(args []string) int {
	syscall.CloseOnExec(lifelineFD)
	syscall.CloseOnExec(reportFD)
	// the command, as the same user, reaches neither the memory and files of this process nor its executable, which is
	// the builder's own
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return tell(fmt.Errorf("sandbox: hide the first process: %w", err), false)
	}
	var who identity
	if err := json.Unmarshal([]byte(args[0]), &who); err != nil {
		return tell(fmt.Errorf("sandbox: read the user: %w", err), false)
	}
	argv := args[1:]
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it ends with the namespace, whose first process this is
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: who.credential()}
	if err := cmd.Start(); err != nil {
		return tell(startFailure(argv[0], err), false)
	}
	go endWithCaller()
	if err := syscall.Close(reportFD); err != nil {
		return 126
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 126
		case pid != cmd.Process.Pid:
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

// credential returns what makes a process one of who; nil when this process is already. The group of the user is among
// the others too, as container runtimes have it, so that no permission that is denied to the group is got around. Pipes
// of the caller become the user's, so that it can open /dev/stdout.
func (who identity) credential() *syscall.Credential {
	others := slices.DeleteFunc(slices.Clone(who.Groups), func(gid int) bool { return gid == who.GID })
	if who.UID == 0 && who.GID == 0 && len(others) == 0 {
		return nil
	}
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := f.Stat(); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			_ = f.Chown(who.UID, who.GID) // writing to it works all the same
		}
	}
	c := &syscall.Credential{Uid: uint32(who.UID), Gid: uint32(who.GID), Groups: []uint32{uint32(who.GID)}}
	for _, g := range others {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// startFailure says what is missing when the command cannot be started.
func startFailure(name string, err error) error {
	if name != ScriptFile {
		return fmt.Errorf("start %q: %w", name, err)
	}
	interpreter := "its interpreter"
	if f, openErr := os.Open(name); openErr == nil {
		line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n') // what there is of it
		interpreter = strings.TrimSpace(strings.TrimPrefix(line, "#!"))
		f.Close()
	}
	return fmt.Errorf("start the script with %q: %w", interpreter, errors.Unwrap(err))
}

// endWithCaller backs the parent death signal, which a caller that died very early never arms: the end of the
// lifeline ends every process of the namespace but this one, which then follows its command.
func endWithCaller() {
	_, _ = io.Copy(io.Discard, os.NewFile(lifelineFD, "lifeline")) // ends with the caller, whatever it says
	_ = unix.Kill(-1, unix.SIGKILL)                                // no process left is as good
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}
