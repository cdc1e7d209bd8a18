package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
)

// environment is what surrounds one command: streams, variables, and what the
// flags that many commands have in common say.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	home           string // of the user
	uid            int

	root         string // flag --root
	progressMode string // flag --progress
	quiet        bool
	verbose      bool
	running      bool     // the command line was understood
	verb         string   // what the user called, once it is running
	answers      *answers // to questions about secrets; nil: each is asked again

	keeper []string // what keeps the state on masters, instead of the helper there; for tests

	access registry.Options // flags of registryFlags
	retry  int
	jobs   int

	out    *renderer // made when it is first asked for
	store  *store.Store
	opened []io.Closer // archives that the command reads
	client *registry.Client
}

// newEnvironment returns that of this process.
func newEnvironment() *environment {
	env := &environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, uid: os.Geteuid(), retry: 4}
	if home, err := os.UserHomeDir(); err == nil {
		env.home = home
	} else if u, err := user.Current(); err == nil {
		env.home = u.HomeDir
	}
	return env
}

// close ends what the command left open.
func (e *environment) close() error {
	e.render().finish()
	var err error
	for _, c := range e.opened {
		err = errors.Join(err, c.Close())
	}
	if e.store == nil {
		return err
	}
	return errors.Join(err, e.store.Close())
}

// globalFlags defines the flags that every command has.
func (e *environment) globalFlags(flags *pflag.FlagSet) {
	flags.StringVar(&e.root, "root", "", "store images in `DIR` (SEALRT_ROOT; otherwise /var/lib/sealrt as root, ~/.local/share/sealrt)")
	flags.Var(newChoice(&e.progressMode, "auto", "auto", "tty", "plain", "json"), "progress", "how the story is told on stderr: auto, tty, plain or json")
	flags.BoolVarP(&e.quiet, "quiet", "q", false, "tell no story, only errors")
	flags.BoolVarP(&e.verbose, "verbose", "v", false, "tell more")
}

// registryFlags defines the flags of commands that talk to registries.
func (e *environment) registryFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&e.access.PlainHTTP, "plain-http", false, "speak plain HTTP to registries")
	flags.BoolVar(&e.access.Insecure, "insecure", false, "do not verify the certificates of registries")
	flags.StringVar(&e.access.CAFile, "ca-file", "", "trust the PEM certificates in `FILE` too")
	flags.StringVar(&e.access.AuthFile, "authfile", "", "read credentials from `FILE` (REGISTRY_AUTH_FILE)")
	flags.IntVar(&e.jobs, "jobs", 4, "blobs transferred at a time")
	flags.IntVar(&e.retry, "retry", 4, "how often a failed request is repeated")
}

// check refuses values of common flags that cannot be meant.
func (e *environment) check() error {
	if e.jobs < 0 || e.retry < 0 {
		return usageError{errors.New("--jobs and --retry cannot be negative")}
	}
	return nil
}

// storeRoot returns the directory of the store.
func (e *environment) storeRoot() (string, error) {
	for _, dir := range []string{e.root, e.getenv("SEALRT_ROOT")} {
		if dir != "" {
			return dir, nil
		}
	}
	if e.uid == 0 {
		return "/var/lib/sealrt", nil
	}
	if e.home == "" {
		return "", errors.New("there is no home directory for the store: set --root or SEALRT_ROOT")
	}
	return filepath.Join(e.home, ".local", "share", "sealrt"), nil
}

// openStore returns the store, which is closed when the command ends.
func (e *environment) openStore() (*store.Store, error) {
	if e.store != nil {
		return e.store, nil
	}
	dir, err := e.storeRoot()
	if err != nil {
		return nil, err
	}
	e.store, err = store.Open(dir)
	if err != nil {
		return nil, err
	}
	if r := e.store.Recovered(); r.Checked > 0 {
		e.note("this machine went down while the store was written to: %d blobs were read again, %d were damaged and removed", r.Checked, r.Removed)
	}
	return e.store, nil
}

// heldStore is openStore, and until the command ends no other process removes
// what this one reads.
func (e *environment) heldStore(ctx context.Context) (*store.Store, error) {
	store, err := e.openStore()
	if err != nil {
		return nil, err
	}
	_, err = store.Hold(ctx) // closing the store ends it
	return store, err
}

// registry returns the client of all registries, as flags and variables say.
func (e *environment) registry() *registry.Client {
	if e.client != nil {
		return e.client
	}
	o := e.access
	o.Jobs, o.Retries = e.jobs, e.retry
	if o.Retries == 0 {
		o.Retries = -1
	}
	if o.AuthFile == "" {
		o.AuthFile = e.getenv("REGISTRY_AUTH_FILE")
	}
	o.DockerConfig = filepath.Join(e.home, ".docker", "config.json")
	if dir := e.getenv("DOCKER_CONFIG"); dir != "" {
		o.DockerConfig = filepath.Join(dir, "config.json")
	}
	o.RegistriesConf = e.getenv("CONTAINERS_REGISTRIES_CONF")
	o.CertDirs = registry.DefaultCertDirs[:]
	if e.home != "" && e.uid != 0 { // root's are the system's
		o.CertDirs = append([]string{filepath.Join(e.home, ".config", "containers", "certs.d")}, o.CertDirs...)
	}
	o.Observe = e.progress()
	o.UserAgent = "sealrt/" + programVersion().Version
	e.client = registry.New(o)
	return e.client
}

// copyOptions says how images are moved.
func (e *environment) copyOptions() artifact.CopyOptions {
	return artifact.CopyOptions{Jobs: e.jobs, Observe: e.progress(), Attached: true}
}

// clusters returns the directory that keeps what is known of clusters.
func (e *environment) clusters() string { return filepath.Join(e.home, ".sealrt", "clusters") }

// created returns SOURCE_DATE_EPOCH, the zero time if it is not set.
// See https://reproducible-builds.org/specs/source-date-epoch/.
func (e *environment) created() (time.Time, error) {
	text := e.getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: set it to seconds since 1970, or unset it", text)
	}
	return time.Unix(n, 0).UTC(), nil
}

// interactive reports whether somebody can answer questions.
func (e *environment) interactive() bool { return isTerminal(e.stdin) && isTerminal(e.stderr) }

// isTerminal reports whether a stream of this process is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// render returns what tells the story.
func (e *environment) render() *renderer {
	if e.out == nil {
		e.out = newRenderer(e.stderr, e.mode(), e.verbose)
		e.out.ascii = isTerminal(e.stderr) && !e.unicode()
	}
	return e.out
}

// unicode reports whether the user's locale is one of UTF-8 (POSIX.1-2024, 8.2).
func (e *environment) unicode() bool {
	locale := cmp.Or(e.getenv("LC_ALL"), e.getenv("LC_CTYPE"), e.getenv("LANG"))
	locale = strings.ReplaceAll(strings.ToLower(locale), "-", "")
	return strings.Contains(locale, "utf8")
}

// mode decides how the story is told.
func (e *environment) mode() string {
	switch {
	case e.quiet && e.progressMode != "json":
		return "quiet"
	case e.quiet:
		return "quiet-json"
	case e.progressMode != "" && e.progressMode != "auto":
		return e.progressMode
	case isTerminal(e.stderr) && e.getenv("TERM") != "dumb":
		return "tty"
	}
	return "plain"
}

// progress returns the observer of transfers.
func (e *environment) progress() func(artifact.Event) { return e.render().artifact }

// story returns the observer of a plan.
func (e *environment) story() func(runtime.Event) { return e.render().step }

// note tells the user a sentence that is no error.
func (e *environment) note(format string, args ...any) {
	e.render().artifact(artifact.Event{Kind: artifact.EventNote, Name: fmt.Sprintf(format, args...)})
}

// tell prints an error.
func (e *environment) tell(message string) { e.render().failure(message) }
