package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/moby/buildkit/util/bklog"

	"github.com/sealrt/sealrt/builder/sandbox"
)

// Exit codes. A command that was run for the user may have others.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(sealrt()) }

// sealrt is the program, less its end. Build sandboxes start the executable
// again, so that comes first.
func sealrt() int {
	if handled, code := sandbox.Main(); handled {
		return code
	}
	limitMemory()
	silenceLibraries()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ) // a file that may not grow (ulimit -f) is an error of the write
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	return execute(ctx, newEnvironment(), os.Args[1:])
}

// What the program may take of memory before the collector of garbage works
// harder, in bytes. It is no limit to what can be done.
const (
	memory        = 64 << 20
	memoryPerCore = 16 << 20
)

// limitMemory keeps garbage from doubling what lists of very many files take.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory + memoryPerCore*int64(runtime.GOMAXPROCS(0)))
	}
}

// silenceLibraries keeps libraries from writing to stderr by themselves, amid
// a display or JSON. What matters of it comes back as an error.
func silenceLibraries() {
	log.SetOutput(io.Discard)
	bklog.L.Logger.SetOutput(io.Discard) // the standard logger of BuildKit's and Podman's packages
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, env *environment, args []string) int {
	root := newRoot(env)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	interrupted := ctx.Err() != nil
	if closeErr := env.close(); err == nil {
		err = closeErr
	}
	if err == nil {
		return exitDone
	}
	var usage usageError
	var exit exitError
	switch {
	case errors.As(err, &usage), !env.running:
		env.tell(err.Error() + "\n" + cmd.CommandPath() + " -h shows how it is used")
		return exitUsage
	case interrupted:
		env.tell("interrupted; what was finished is kept, run the same command again to go on")
		return exitFailed
	case errors.As(err, &exit):
		env.tell(err.Error())
		return int(exit)
	}
	env.tell(err.Error())
	return exitFailed
}

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// Unwrap returns the cause.
func (e usageError) Unwrap() error { return e.error }
