package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// scriptFlags say how a program of an image is run on a host.
type scriptFlags struct {
	log, dir, kubeconfig string
	secrets              bool
}

// newScript makes the command that hosts run for hooks and for the commands of
// app images.
func newScript(env *environment) *cobra.Command {
	var f scriptFlags
	cmd := &cobra.Command{
		Use:     "script [flags] -- PROGRAM [ARG...]",
		Short:   "Run a program of an image and keep all that it says",
		Long:    "Run a program of an image in a directory, and keep all that it says in a file. Its output is passed on and its exit code obeyed.",
		Example: "  sealrt host script --log /var/log/hook.log --dir / -- ./hook",
		Args:    needArgs("a program", 1, -1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	cmd.Flags().StringVar(&f.log, "log", "", "add what the program says to `FILE`")
	cmd.Flags().StringVar(&f.dir, "dir", "", "run it in `DIR`")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "set KUBECONFIG to `FILE`, if that exists")
	cmd.Flags().BoolVar(&f.secrets, "secret-env", false, "read further variables from standard input, NAME=VALUE, each ended by NUL, and take their values out of what the program says")
	return cmd
}

func (f scriptFlags) run(ctx context.Context, env *environment, argv []string) (err error) {
	if err := os.MkdirAll(filepath.Dir(f.log), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(f.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if _, err := fmt.Fprintf(log, "--- %s %s\n", time.Now().UTC().Format(time.RFC3339), strings.Join(argv, " ")); err != nil {
		return err
	}
	// what it leaves running is its own: sealrt's mark is not on it
	vars := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SEALRT_WORK=") })
	if _, err := os.Stat(f.kubeconfig); f.kubeconfig != "" && err == nil {
		vars = append(vars, "KUBECONFIG="+f.kubeconfig)
	}
	secret, values, err := f.secret(env.stdin)
	if err != nil {
		return err
	}
	vars = append(vars, secret...)
	out, errs := &masked{w: io.MultiWriter(env.stdout, log), values: values}, &masked{w: io.MultiWriter(env.stderr, log), values: values}
	ended := errors.Join(runProgram(ctx, f.dir, vars, argv, out, errs), out.flush(), errs.flush())
	if ended == nil {
		return nil
	}
	if _, err := fmt.Fprintf(log, "--- %v\n", ended); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w (all that it said is in %s on the host)", argv[0], ended, f.log)
}

// secret reads the variables that nobody is to see, and returns their values too,
// the longest first.
func (f scriptFlags) secret(r io.Reader) (vars, values []string, err error) {
	if !f.secrets {
		return nil, nil, nil
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxSecret))
	if err != nil {
		return nil, nil, fmt.Errorf("read the secret variables: %w", err)
	}
	for kv := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\x00"), "\x00") {
		_, value, _ := strings.Cut(kv, "=")
		vars, values = append(vars, kv), append(values, value)
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return vars, slices.DeleteFunc(values, func(v string) bool { return v == "" }), nil
}

// masked writes lines with asterisks in the place of values. It is written to by
// one goroutine.
type masked struct {
	w      io.Writer
	values []string
	rest   []byte // of a line that has not ended
}

// Write implements io.Writer.
func (m *masked) Write(p []byte) (int, error) {
	if len(m.values) == 0 {
		return m.w.Write(p)
	}
	m.rest = append(m.rest, p...)
	end := bytes.LastIndexByte(m.rest, '\n') + 1
	if end == 0 && len(m.rest) < maxLogLine {
		return len(p), nil
	}
	if end == 0 {
		end = len(m.rest)
	}
	lines := m.rest[:end]
	m.rest = bytes.Clone(m.rest[end:])
	return len(p), m.write(lines)
}

func (m *masked) write(text []byte) error {
	for _, v := range m.values {
		text = bytes.ReplaceAll(text, []byte(v), []byte("***"))
	}
	_, err := m.w.Write(text)
	return err
}

func (m *masked) flush() error {
	rest := m.rest
	m.rest = nil
	if len(rest) == 0 {
		return nil
	}
	return m.write(rest)
}

// grace is the time that a program has to end when it is asked to.
const grace = 10 * time.Second

// runProgram runs a program and returns the error of its end, an exitError for a
// status that is not 0. When ctx ends, it and what it started are asked to end.
func runProgram(ctx context.Context, dir string, env, argv []string, stdout, stderr io.Writer) error {
	program, err := lookIn(env, argv[0])
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, program, argv[1:]...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, env, stdout, stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = grace
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exitError(exit.ExitCode())
	case errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		return nil // it ended well, and left somebody behind who holds its output
	}
	return err
}

// lookIn finds a program by the PATH of an environment, which need not be this
// process's.
func lookIn(env []string, name string) (string, error) {
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	list := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = v
		}
	}
	for _, dir := range filepath.SplitList(list) {
		file := filepath.Join(dir, name)
		if fi, err := os.Stat(file); filepath.IsAbs(file) && err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: no such program in bin/ of the image, nor in PATH, %s", name, list)
}
