package runtime_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// busy is a host on which one program fails so many times before it does not.
type busy struct {
	*hosttest.Host
	program string

	mu    sync.Mutex
	fails []error
	tries int
}

func (b *busy) Run(ctx context.Context, c host.Command) error {
	if c.Argv[0] != b.program {
		return b.Host.Run(ctx, c)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if len(b.fails) == 0 {
		return nil
	}
	err := b.fails[0]
	b.fails = b.fails[1:]
	return err
}

func TestCommandThatMayBeRepeatedIsTriedAgainForAWhile(t *testing.T) {
	no := &host.ExitError{Code: 1, Stderr: "the server is currently unable to handle the request"}
	step := func(retry bool) runtime.Step {
		return runtime.Step{ID: "apply", Do: runtime.Exec{Argv: []string{"kubectl", "apply"}, Retry: retry}}
	}
	for name, c := range map[string]struct {
		step  runtime.Step
		fails []error
		tries int
		want  string
		most  time.Duration
	}{
		"busy twice":        {step(true), []error{no, no}, 3, "", 2 * time.Second},
		"lost, then busy":   {step(true), []error{host.ErrLost, no}, 3, "", 3 * time.Second},
		"wrong for good":    {step(true), []error{no, no, no, no, no, no, no, no, no}, 6, "unable to handle", 30 * time.Second},
		"not to be retried": {step(false), []error{no}, 1, "unable to handle", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &busy{Host: newHost("10.0.0.1"), program: "kubectl", fails: c.fails}
				var told []string
				e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{memberA.Address: h}, Observe: func(ev runtime.Event) {
					if ev.State == runtime.Warned {
						told = append(told, ev.Note)
					}
				}}
				start := time.Now()
				err := e.Run(t.Context(), onA(c.step))
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("error is %v, want %q", err, c.want)
				}
				if took := time.Since(start); h.tries != c.tries || took > c.most {
					t.Errorf("%d tries in %s", h.tries, took)
				}
				if n := strings.Count(strings.Join(told, "\n"), "is tried again in "); c.step.Do.(runtime.Exec).Retry && n == 0 {
					t.Error("nobody was told")
				}
			})
		})
	}
}

func TestWaitingForAnotherTryEndsWithTheContext(t *testing.T) {
	no := &host.ExitError{Code: 1}
	h := &busy{Host: newHost("10.0.0.1"), program: "kubectl", fails: []error{no, no, no}}
	ctx, cancel := context.WithCancel(t.Context())
	e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{memberA.Address: h}, Observe: func(ev runtime.Event) {
		if ev.State == runtime.Warned {
			cancel()
		}
	}}
	err := e.Run(ctx, onA(runtime.Step{ID: "apply", Do: runtime.Exec{Argv: []string{"kubectl"}, Retry: true}}))
	if !errors.As(err, new(*runtime.RunError)) || h.tries != 1 {
		t.Errorf("%v after %d tries", err, h.tries)
	}
}
