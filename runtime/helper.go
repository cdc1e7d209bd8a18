package runtime

import (
	"context"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/swarm"
)

// helperStep is the ID of the step that puts sealrt on a host.
const helperStep = "sealrt"

// Helpers puts sealrt on hosts before there is a plan: the state of a cluster is
// locked by it. It leaves this machine once for each platform, the other hosts
// get it from the first, those of the plans that follow too. The caller closes
// it when the last of these has ended.
type Helpers struct {
	engine  *Engine
	cluster *Cluster
	end     func() error
}

// Helpers returns what puts sealrt on hosts of a cluster until ctx ends.
func (e *Engine) Helpers(ctx context.Context, c *Cluster) *Helpers {
	return &Helpers{engine: e, cluster: c, end: e.beginSwarm(ctx)}
}

// Put puts sealrt on a host, whole or not at all, where the cluster wants what
// sealrt keeps.
func (p *Helpers) Put(ctx context.Context, m Member) error {
	t, err := p.engine.target(ctx, "begin", m)
	if err != nil {
		return err
	}
	platform, err := t.platform(ctx)
	if err != nil {
		return err
	}
	if err := p.engine.home(ctx, p.cluster, m); err != nil {
		return err
	}
	for _, argv := range [][]string{{"mkdir", "-p", path.Dir(HelperPath)}, {"chmod", "0755", Home}} {
		if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
			return err
		}
	}
	peer := swarm.Peer{Name: m.Name(), IP: m.NodeIP, Host: t.conn, Tell: func(e swarm.Event) {
		if e.Note != "" {
			p.engine.tell(Event{Host: m.Name(), State: Warned, Note: e.Note})
		}
	}}
	return p.engine.swarm.Install(ctx, peer, HelperPath, p.engine.helper(platform))
}

// Close ends what serves the hosts.
func (p *Helpers) Close() error { return p.end() }

// helped tells the swarm which hosts of the plan have sealrt already: the others
// get it from them.
func (x *execution) helped(p Plan) {
	e := x.engine
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if _, ok := s.Do.(Helper); !ok {
					continue
				}
				_, todo := x.todo[s.key(task.Member.Address)]
				if platform, known := e.platformOf(task.Member); known && !todo && e.Hosts[task.Member.Address] != nil {
					e.swarm.Has(e.source(task.Member), e.helper(platform))
				}
			}
		}
	}
}

// platform asks the host what it is, once.
func (t *target) platform(ctx context.Context) (v1.Platform, error) {
	if p, known := t.engine.platformOf(t.member); known {
		return p, nil
	}
	p, err := HostPlatform(ctx, t.Host)
	if err != nil {
		return p, err
	}
	t.engine.mu.Lock()
	defer t.engine.mu.Unlock()
	if t.engine.platforms == nil {
		t.engine.platforms = map[string]v1.Platform{}
	}
	t.engine.platforms[t.member.Address] = p
	return p, nil
}

func (e *Engine) platformOf(m Member) (p v1.Platform, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, known = e.platforms[m.Address]
	return p, known
}
