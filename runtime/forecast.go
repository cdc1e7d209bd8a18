package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/sealrt/sealrt/runtime/host"
)

// Forecast says what carrying out a plan would do to the hosts as they are. It
// holds no secret, and prints as JSON.
type Forecast struct {
	Cluster string          `json:"cluster"`
	Digest  string          `json:"digest"` // of what is to be done
	Phases  []ForecastPhase `json:"phases"`
	Hosts   []HostForecast  `json:"hosts"` // all hosts of the plan
	Steps   int             `json:"steps"`
	// FromClient are the bytes that leave the client, FromPeers those that
	// hosts get from each other.
	FromClient int64 `json:"fromClient"`
	FromPeers  int64 `json:"fromPeers"`
	Restarts   int   `json:"restarts"`

	// Pending is the plan of what is to be done; Execute carries it out.
	Pending Plan `json:"-"`
	whole   Plan
}

// ForecastPhase is a phase with something to do.
type ForecastPhase struct {
	Name   string         `json:"name"`
	Serial bool           `json:"serial,omitempty"` // one host after another
	Steps  []ForecastStep `json:"steps"`
}

// ForecastStep is a step that is to be done.
type ForecastStep struct {
	Host    string `json:"host"`
	Address string `json:"address"`
	ID      string `json:"id"`
	Hash    string `json:"hash"` // of what it does
	Does    string `json:"does"`
	Why     string `json:"why"`
}

// HostForecast is what one host is in for.
type HostForecast struct {
	Host     string      `json:"host"`
	Address  string      `json:"address"`
	Steps    int         `json:"steps"`
	Bytes    int64       `json:"bytes"`              // that are sent to it, by whomever
	Restarts []string    `json:"restarts,omitempty"` // units
	Disturbs Disturbance `json:"disturbs"`
	// Unapplied are steps that differ from what was done, and are not done
	// again since the step that they serve holds: what they would set takes
	// effect on a new host only.
	Unapplied []string `json:"unapplied,omitempty"`
	MachineID string   `json:"machineID,omitempty"`
	Ledger    string   `json:"ledger"` // digest of what was done there so far
}

// Forecast asks the hosts what of the plan is to be done, and what that means
// for them. It changes nothing.
func (e *Engine) Forecast(ctx context.Context, p Plan) (*Forecast, error) {
	p, err := p.numbered()
	if err != nil {
		return nil, err
	}
	pending, err := e.Pending(ctx, p)
	if err != nil {
		return nil, err
	}
	f := &Forecast{Cluster: e.Cluster, Pending: pending, whole: p, Phases: []ForecastPhase{}, Hosts: []HostForecast{}}
	if f.Digest, err = pending.Digest(); err != nil {
		return nil, err
	}
	if err := f.listSteps(); err != nil {
		return nil, err
	}
	members := p.Hosts()
	outlooks := make([]outlook, len(members))
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { outlooks[i], errs[i] = e.outlook(ctx, m, pending.on(m), p.on(m)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	f.add(outlooks, e.Peers)
	return f, nil
}

// Disturbs reports whether users of the cluster will notice.
func (f *Forecast) Disturbs() bool {
	return slices.ContainsFunc(f.Hosts, func(h HostForecast) bool { return !h.Disturbs.none() })
}

func (f *Forecast) listSteps() error {
	for _, phase := range f.Pending.Phases {
		out := ForecastPhase{Name: phase.Name, Serial: phase.Serial}
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				hash, err := s.hash()
				if err != nil {
					return err
				}
				out.Steps = append(out.Steps, ForecastStep{
					Host: task.Member.Name(), Address: task.Member.Address, ID: s.ID, Hash: hash, Does: s.Do.String(), Why: s.Why,
				})
			}
		}
		f.Steps += len(out.Steps)
		f.Phases = append(f.Phases, out)
	}
	return nil
}

// add sums up what the hosts are in for. What several hosts lack leaves the
// client once when they serve each other.
func (f *Forecast) add(outlooks []outlook, peers bool) {
	sent := map[string]bool{}
	for _, o := range outlooks {
		for _, a := range o.arrivals {
			o.Bytes += a.size
			if peers && a.shared && sent[a.digest] {
				f.FromPeers += a.size
				continue
			}
			sent[a.digest] = true
			f.FromClient += a.size
		}
		f.Restarts += len(o.Restarts)
		f.Hosts = append(f.Hosts, o.HostForecast)
	}
}

// outlook is what one host is in for, with what comes to it.
type outlook struct {
	HostForecast
	arrivals []arrival
}

func (e *Engine) outlook(ctx context.Context, m Member, steps, whole []Step) (outlook, error) {
	o := outlook{HostForecast: HostForecast{Host: m.Name(), Address: m.Address, Steps: len(steps)}}
	t, err := e.target(ctx, "plan", m)
	if err != nil {
		return o, err
	}
	if o.Ledger, err = t.ledger.digest(); err != nil {
		return o, err
	}
	if o.Unapplied, err = t.unapplied(steps, whole); err != nil {
		return o, err
	}
	id, err := host.ReadFile(ctx, t.Host, "/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, fmt.Errorf("host %s: %w", m.Name(), err)
	}
	o.MachineID = strings.TrimSpace(string(id))
	if o.arrivals, err = t.arrivals(ctx, steps); err != nil {
		return o, fmt.Errorf("host %s: %w", m.Name(), err)
	}
	for _, s := range steps {
		o.Disturbs = o.Disturbs.and(t.disturbance(s))
		if service, ok := s.Do.(Service); ok && strings.HasPrefix(s.Why, restarts) {
			o.Restarts = append(o.Restarts, service.Unit)
		}
	}
	return o, nil
}

// unapplied names the steps which serve others that hold, and differ from what
// was done.
func (t *target) unapplied(pending, whole []Step) ([]string, error) {
	var out []string
	for _, s := range whole {
		hash, err := s.hash()
		if err != nil {
			return nil, err
		}
		todo := slices.ContainsFunc(pending, func(p Step) bool { return p.ID == s.ID })
		if s.With != "" && !todo && t.ledger.changed(s.ID, hash) {
			out = append(out, s.ID)
		}
	}
	return out, nil
}

// disturbance is what users notice of a step. Nobody notices what is done to a
// host on which nothing was ever done.
func (t *target) disturbance(s Step) Disturbance {
	if t.ledger.empty() {
		return Disturbance{}
	}
	d := s.Disturbs
	switch a := s.Do.(type) {
	case Undo:
		d = d.and(Disturbance{Services: t.ledger.units(), Pods: true, API: t.member.Role == Master})
	case Service:
		if strings.HasPrefix(s.Why, restarts) {
			d = d.and(Disturbance{Services: []string{a.Unit}})
		} else if !t.ledger.knows(s.ID) {
			return Disturbance{} // it runs for the first time
		}
	}
	return d
}

// and is what two steps disturb together.
func (d Disturbance) and(other Disturbance) Disturbance {
	for _, u := range other.Services {
		if !slices.Contains(d.Services, u) {
			d.Services = append(slices.Clone(d.Services), u)
		}
	}
	d.Pods, d.API = d.Pods || other.Pods, d.API || other.API
	return d
}

func (d Disturbance) none() bool { return len(d.Services) == 0 && !d.Pods && !d.API }

// empty reports whether nothing was ever done on the host.
func (l *ledger) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries) == 0
}

// units are the services that steps made run.
func (l *ledger) units() []string {
	var out []string
	for _, f := range l.undone() {
		out = append(out, f.Units...)
	}
	return out
}
