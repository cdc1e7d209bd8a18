package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Network says which network a command sees.
type Network string

const (
	// NetworkHost is the network of the builder's machine; the zero value means the same.
	NetworkHost Network = "host"
	// NetworkNone is a network with nothing but a loopback interface.
	NetworkNone Network = "none"
)

// TreeDir is where a tree without a shell is mounted in the build sandbox.
const TreeDir = "/rootfs"

// ErrRefused means that this machine does not allow sandboxes (no root, and no user namespaces or no overlay in
// them). Errors that wrap it say what to do.
var ErrRefused = errors.New("this machine refuses the build sandbox")

// ErrUnsupported means that the operating system has no sandbox at all.
var ErrUnsupported = errors.New("RUN needs Linux")

// Config is one command and the tree that it works on. All paths are absolute.
type Config struct {
	Argv []string // the command; looked up in PATH of the sandbox when it has no slash
	// Script, when not empty, is the command instead: it begins with "#!" and its interpreter, and Argv are its
	// arguments. Only the sandbox sees it, as a file.
	Script []byte
	Env    []string // K=V; wins over the sandbox's own variables, but for PATH, which the sandbox's directories surround

	Lowers []string // directories of the tree so far, top first; may be empty
	Upper  string   // an existing, empty directory: receives what changed, in the form of an overlayfs upper directory
	Work   string   // an existing, empty directory on the same file system as Upper; its content is worthless afterwards, and the caller calls Remove for it

	Mounts []Mount // in this order: one may lie in another
	// User is who runs the command: "user" or "user:group", by name or number, as USER of a Dockerfile has it. Names are
	// looked up in the tree when it has a shell; the build sandbox knows root and nobody. Empty is root. Others than root
	// have no capabilities; without root they need subordinate ids.
	User string

	Dir      string   // working directory within the tree; empty is its root
	Network  Network  // empty is NetworkHost
	AddHosts []string // host:ip, added to /etc/hosts
	CAFile   string   // PEM file that well-known tools trust in addition to the machine's authorities; may be empty

	Stdout, Stderr io.Writer // nil discards
}

// ExitError is a command that ran and said no.
type ExitError struct {
	Code int // exit code, 128+n when signal n ended the command
}

// Error returns "exit code 7".
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Run runs the command and waits for it. Once ctx ends, the command and all that it started are killed; no process
// and no mount is left when Run returns, and the error wraps the cause of ctx. The error is an *ExitError when the
// command ran and failed, and wraps ErrRefused or ErrUnsupported when there can be no sandbox here.
//
// Without root, the owners and permissions of what is in Upper then are not those that the command saw: see View.
func Run(ctx context.Context, c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	return run(ctx, c)
}

func (c Config) check() error {
	switch {
	case len(c.Script) == 0 && (len(c.Argv) == 0 || c.Argv[0] == ""):
		return errors.New("sandbox: no command")
	case len(c.Script) > 0 && !strings.HasPrefix(string(c.Script), "#!"):
		return errors.New("sandbox: the script does not begin with #! and an interpreter")
	}
	for _, m := range c.Mounts {
		if err := m.check(); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
	}
	if c.Network != "" && c.Network != NetworkHost && c.Network != NetworkNone {
		return fmt.Errorf("sandbox: unknown network %q: use host or none", c.Network)
	}
	for _, dir := range append([]string{c.Upper, c.Work}, c.Lowers...) {
		if !path.IsAbs(dir) {
			return fmt.Errorf("sandbox: directory %q is not absolute", dir)
		}
	}
	_, err := hostLines(c.AddHosts)
	return err
}

// request is what the sandbox's first process needs to know: a Config without the writers.
type request struct {
	Argv, Env    []string
	Script       []byte
	Mounts       []Mount
	User         string
	Lowers       []string
	Upper, Work  string
	Dir          string
	Isolated     bool // no network
	HostLines    string
	CAFile       string
	Unprivileged bool // in a user namespace
}

func (c Config) request(unprivileged bool) request {
	lines, _ := hostLines(c.AddHosts) // checked by check
	argv := c.Argv
	if len(c.Script) > 0 {
		argv = append([]string{ScriptFile}, argv...)
	}
	return request{
		Argv: argv, Env: c.Env, Script: c.Script, Mounts: c.Mounts, User: c.User, Lowers: c.Lowers, Upper: c.Upper, Work: c.Work,
		Dir: path.Clean("/" + strings.TrimPrefix(c.Dir, "/")), Isolated: c.Network == NetworkNone,
		HostLines: lines, CAFile: c.CAFile, Unprivileged: unprivileged,
	}
}
