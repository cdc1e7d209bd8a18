package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// exitCode returns the status of a command that ran and failed.
func exitCode(err error) (code int, exited bool) {
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return exit.Code, true
	}
	return 0, false
}

func (a Claim) apply(context.Context, *target) error { return nil }
func (Mark) apply(context.Context, *target) error    { return nil }

func (a Write) apply(ctx context.Context, t *target) error {
	if err := t.Run(ctx, host.Command{Argv: []string{"mkdir", "-p", path.Dir(a.Path)}}); err != nil {
		return err
	}
	return host.Put(ctx, t.Host, a.Path, a.Mode, strings.NewReader(t.engine.fill(a.Data)))
}

func (a Exec) apply(ctx context.Context, t *target) error {
	argv := make([]string, len(a.Argv))
	for i, w := range a.Argv {
		argv[i] = t.engine.fill(w)
	}
	out := lastOutput{all: a.Capture != ""}
	limited := t.limited(t.engine.Limits.command(a.Timeout))
	c := host.Command{Argv: argv, Env: a.Env, Stdout: &out}
	work := func() error {
		if a.Stdin != "" { // what was read is not there a second time
			c.Stdin = strings.NewReader(t.engine.fill(a.Stdin))
		}
		return limited.work(ctx, c)
	}
	err := work()
	if a.Retry {
		err = t.retry(ctx, err, func() error {
			out.text = nil
			return work()
		})
	}
	if a.Tell {
		t.said = out.lastLine()
	}
	if err != nil && a.Empties != nil && ctx.Err() == nil && !lost(err) {
		return fmt.Errorf("%w%s", err, a.Empties.explain(ctx, t))
	}
	if a.Capture == "" && err != nil {
		return out.explain(err, a.Tell || len(a.Makes) > 0)
	}
	if err == nil && len(a.Makes) > 0 {
		err = a.madeAll(ctx, t)
	}
	if a.Capture != "" && err == nil {
		t.engine.capture(a.Capture, strings.TrimSpace(string(out.text)))
	}
	return err
}

// pause is the time between two attempts of Await.
const pause = 500 * time.Millisecond

func (a Await) apply(ctx context.Context, t *target) error {
	return t.await(ctx, a.Timeout, func(ctx context.Context) error {
		return t.Run(ctx, host.Command{Argv: a.Argv, Env: a.Env})
	})
}

// await repeats what asks a host until it succeeds, or until the time is over.
func (t *target) await(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	over := &LimitError{After: t.engine.Limits.ready(limit), Setting: "ready"}
	ctx, cancel := context.WithTimeoutCause(ctx, over.After, over)
	defer cancel()
	var last error
	for {
		err := ask(ctx)
		if err == nil || lost(err) {
			return err
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), over) {
				return errors.Join(ctx.Err(), last)
			}
			if last == nil {
				return over
			}
			return fmt.Errorf("still %w; the last answer was: %w", over, last)
		case <-time.After(pause):
		}
	}
}

func (a Service) apply(ctx context.Context, t *target) error {
	same, err := a.recorded(t)
	if err != nil {
		return err
	}
	commands := [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", a.Unit}}
	switch {
	case a.Running && same:
		commands = append(commands, []string{"systemctl", "start", a.Unit})
	case a.Running:
		commands = append(commands, []string{"systemctl", "restart", a.Unit})
	}
	for _, argv := range commands {
		if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
			return fmt.Errorf("%w (what the service says: journalctl -u %s)", err, a.Unit)
		}
	}
	return nil
}

// ServiceID is the ID of the step that runs a unit.
func ServiceID(unit string) string { return "service " + unit }

// ServiceStep returns the step that makes a unit run, or only start at boot.
// config is the text of everything that the unit reads when it starts.
func ServiceStep(unit string, running bool, config ...string) Step {
	sum := sha256.Sum256([]byte(strings.Join(config, "\x00")))
	return Step{ID: ServiceID(unit), Do: Service{Unit: unit, Running: running, Revision: hex.EncodeToString(sum[:8])}}
}

// missing returns the names that the host's container runtime does not know.
func (a Present) missing(ctx context.Context, t *target) ([]string, error) {
	out, err := host.Output(ctx, t.Host, a.Argv...)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		have[strings.TrimSpace(line)] = true
	}
	return slices.DeleteFunc(slices.Clone(a.Names), func(n string) bool { return have[n] }), nil
}

func (a Present) apply(ctx context.Context, t *target) error {
	var lacks error
	fewest, since := len(a.Names)+1, time.Now()
	// the node of a host whose container runtime starts again may be Ready from before
	err := t.await(ctx, 0, func(ctx context.Context) error {
		missing, err := a.missing(ctx, t)
		lacks = nil
		switch {
		case err != nil || len(missing) == 0:
			return err
		case len(missing) < fewest:
			fewest, since = len(missing), time.Now()
		}
		lacks = fmt.Errorf("container images are missing after the import: %s", strings.Join(missing, ", "))
		if time.Since(since) < a.Patience {
			return lacks
		}
		return nil
	})
	return cmp.Or(err, lacks)
}

// flush brings what was written to a file system to its disk: a power failure
// must not take back what the ledger calls done.
func (t *target) flush(ctx context.Context, dir string) error {
	return t.Run(ctx, host.Command{Argv: []string{"sync", "-f", dir}})
}
