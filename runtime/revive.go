package runtime

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Revive starts those services of ours that do not run on a host where a plan was
// broken off: it may have stopped them to start them again. It reports whether it
// started any. The caller holds the cluster.
func (e *Engine) Revive(ctx context.Context, m Member) (bool, error) {
	t, err := e.target(ctx, "begin", m)
	if err != nil || !t.ledger.brokenOff() {
		return false, err
	}
	started := false
	for _, unit := range t.ledger.units() {
		if strings.HasSuffix(unit, ".mount") {
			continue
		}
		lies, err := t.stopped(ctx, unit)
		if err != nil {
			return started, err
		}
		if !lies {
			continue
		}
		if err := t.Run(ctx, host.Command{Argv: []string{"systemctl", "start", unit}}); err != nil {
			return started, fmt.Errorf("host %s: %w", m.Name(), err)
		}
		started = true
	}
	return started, nil
}

// stopped reports whether a service that starts at boot does not run.
func (t *target) stopped(ctx context.Context, unit string) (bool, error) {
	enabled, err := t.says(ctx, host.Command{Argv: []string{"systemctl", "is-enabled", "--quiet", unit}})
	if err != nil || !enabled {
		return false, err
	}
	runs, err := t.says(ctx, host.Command{Argv: []string{"systemctl", "is-active", "--quiet", unit}})
	return !runs, err
}

// brokenOff reports whether a step was begun and never ended.
func (l *ledger) brokenOff() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for step := range l.begun {
		if _, done := l.done[step]; !done {
			return true
		}
	}
	return false
}
