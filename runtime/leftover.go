package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// workMark is the variable that the commands of steps have in their
// environment: the cluster's name. A client that was killed leaves its last
// command running on the host, and the next one finds it by the mark.
const workMark = "SEALRT_WORK"

func (e *Engine) mark() string { return workMark + "=" + e.Cluster }

// work runs a command that may outlive the client. Services that it starts by
// way of systemd do not have the mark.
func (t *target) work(ctx context.Context, c host.Command) error {
	c.Env = append(slices.Clone(c.Env), t.engine.mark())
	return t.Run(ctx, c)
}

// limited is the target with another limit for each command; 0 is none.
func (t *target) limited(limit time.Duration) *target {
	other := *t
	other.Host = line{Host: t.conn, limit: limit, patient: t.patient}
	return &other
}

// endLeftovers ends, on all hosts that the plan changes, what an earlier client
// left running there: it would work against the steps that now come.
func (e *Engine) endLeftovers(ctx context.Context, p Plan) error {
	members := p.Hosts()
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			t, err := e.target(ctx, "begin", m)
			if err == nil {
				err = t.again(ctx, func() error { return host.EndMarked(ctx, t.Host, e.mark()) })
			}
			if err != nil {
				errs[i] = fmt.Errorf("host %s: end what an interrupted sealrt left running: %w", m.Name(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// broken reports whether a step of a host was begun and never ended. The
// host's ledger has been read.
func (e *Engine) broken(s StepRef) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.ledgers[s.Address]
	return l != nil && l.broken(s.ID)
}
