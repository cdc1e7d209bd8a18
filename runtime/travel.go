package runtime

import (
	"cmp"
	"context"
	"io"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/swarm"
)

// newSwarm makes what brings blobs to hosts.
func (e *Engine) newSwarm(ctx context.Context) *swarm.Swarm {
	return swarm.New(ctx, swarm.Options{
		Command: func(verb string) []string {
			return []string{HelperPath, "host", verb, "--root", StoreDir, "-q"}
		},
		Port:    cmp.Or(e.Blobs.Port, BlobsPort),
		PerHost: e.Blobs.PerHost,
		SSHOnly: e.Blobs.SSHOnly,
	})
}

// beginSwarm makes what brings blobs to the hosts of a run, unless there is one:
// two would want the same port of a host. What it returns ends what was made.
func (e *Engine) beginSwarm(ctx context.Context) (end func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.swarm != nil {
		return func() error { return nil }
	}
	s := e.newSwarm(ctx)
	e.swarm = s
	return func() error {
		err := s.Close()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sent += s.Sent()
		e.swarm = nil
		return err
	}
}

// Sent returns how many bytes of images and helpers have left this machine.
func (e *Engine) Sent() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.swarm != nil {
		return e.sent + e.swarm.Sent()
	}
	return e.sent
}

// helper is the sealrt executable for a platform.
func (e *Engine) helper(p v1.Platform) swarm.Helper {
	return swarm.Helper{Platform: p.String(), Open: func() (io.ReadCloser, error) { return e.Helper(p.OS, p.Architecture) }}
}

// peer is the host as the swarm knows it. Its commands have no limit: a host
// serves others until the run ends, a transfer takes as long as the wire needs,
// and the swarm gives up what shows no sign of life. count, called at the end of the
// step, adds what came to the step's bytes.
func (t *target) peer() (p swarm.Peer, count func()) {
	var came atomic.Int64
	told := Event{Phase: t.phase, Host: t.member.Name(), Step: t.step.ID, Does: t.step.Do.String()}
	p = swarm.Peer{Name: t.member.Name(), IP: t.member.NodeIP, Host: worker{t.limited(0)}, Tell: func(e swarm.Event) {
		ev := told
		ev.State, ev.Bytes, ev.Total, ev.From = Sending, e.Bytes, e.Total, e.From
		if e.Note != "" {
			ev.State, ev.Note = Warned, e.Note
		} else {
			came.Store(e.Bytes)
		}
		t.engine.tell(ev)
	}}
	return p, func() { *t.sent += came.Load() }
}

// source is a member that may have what others need, and is asked for nothing
// else.
func (e *Engine) source(m Member) swarm.Peer {
	t := &target{Host: e.Hosts[m.Address], engine: e, member: m}
	return swarm.Peer{Name: m.Name(), IP: m.NodeIP, Host: worker{t}}
}

// worker runs a host's commands with the mark of those that may outlive the
// client.
type worker struct{ t *target }

func (w worker) Run(ctx context.Context, c host.Command) error { return w.t.work(ctx, c) }
