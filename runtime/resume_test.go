package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

var memberC = runtime.Member{Address: "10.0.0.3", Role: runtime.Node, Hostname: "c", NodeIP: "10.0.0.3"}

// How far the command came at which a machine dies.
const (
	diesBefore = iota // it was never begun
	diesHalfway
	diesAfter // it has done all it should, and nobody heard of it
	waysToDie
)

// mortal is a host in memory that dies at a command.
type mortal struct {
	*hosttest.Host
	at, way int           // of the commands, from 1; 0: never
	with    func()        // dies too
	back    func(int) int // how many of the next commands find it away; nil: all

	mu    sync.Mutex
	count int
	away  int
	dead  bool
}

func (m *mortal) Run(ctx context.Context, c host.Command) error {
	m.mu.Lock()
	if m.away > 0 {
		m.away--
		m.mu.Unlock()
		return fmt.Errorf("no route: %w", host.ErrUnreached)
	}
	m.count++
	dead, dies := m.dead, m.count == m.at
	m.mu.Unlock()
	switch {
	case dead:
		return fmt.Errorf("no route: %w", host.ErrUnreached)
	case !dies:
		return m.Host.Run(ctx, c)
	}
	if m.way == diesHalfway && c.Stdin != nil {
		all, err := io.ReadAll(c.Stdin)
		if err != nil {
			return err
		}
		c.Stdin = bytes.NewReader(all[:len(all)/2])
	}
	if m.way != diesBefore {
		_ = m.Host.Run(ctx, c) // nobody hears of it
	}
	m.mu.Lock()
	m.dead = m.back == nil
	if m.back != nil {
		m.away = m.back(m.count)
	}
	m.mu.Unlock()
	if m.with != nil {
		m.with()
	}
	return fmt.Errorf("power cut: %w", host.ErrLost)
}

// trio is a cluster of a master and two nodes.
type trio struct {
	hosts   map[string]*hosttest.Host
	started map[string]int // steps that were begun by the last engine, by host and ID
	mu      sync.Mutex
}

func newTrio() *trio {
	x := &trio{hosts: map[string]*hosttest.Host{}}
	for _, m := range []runtime.Member{memberA, memberB, memberC} {
		h := newHost(m.Address)
		h.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
		h.Respond([]string{"token", "create"}, "s3cr3t\n", 0)
		x.hosts[m.Address] = h
	}
	return x
}

// engine is a client; mortals are the hosts that it finds otherwise than they
// are.
func (x *trio) engine(mortals ...*mortal) *runtime.Engine {
	x.started = map[string]int{}
	hosts := map[string]host.Host{}
	for address, h := range x.hosts {
		hosts[address] = h
	}
	for _, m := range mortals {
		hosts[m.Name()] = m
	}
	return &runtime.Engine{
		Cluster: "test", Hosts: hosts,
		Helper: func(string, string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("program")), nil },
		Limits: runtime.Limits{Return: -1},
		Blobs:  clusterfile.Blobs{SSHOnly: true}, // these hosts read the input of a server to its end
		Observe: func(e runtime.Event) {
			if e.State == runtime.Started {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.started[e.Host+" "+e.Step]++
			}
		},
	}
}

// wholePlan has a step of each kind that does not need an image.
func wholePlan() runtime.Plan {
	all := []runtime.Member{memberA, memberB, memberC}
	plan := runtime.Plan{Phases: []runtime.Phase{{Name: "deliver"}, {Name: "prepare"}}}
	for _, m := range all {
		plan.Phases[0].Tasks = append(plan.Phases[0].Tasks, runtime.Task{Member: m, Steps: []runtime.Step{{ID: "sealrt", Do: runtime.Helper{}}}})
		plan.Phases[1].Tasks = append(plan.Phases[1].Tasks, runtime.Task{Member: m, Steps: []runtime.Step{
			{ID: "claim", Do: runtime.Claim{Paths: []string{"/var/lib/software"}}},
			write("/etc/deep/er/one", "one"), write("/etc/deep/two", "two"),
			{ID: "block", Do: runtime.Block{Path: "/etc/hosts", Name: "test", Text: "10.0.0.1 api"}},
			exec("modules", "load-modules"),
			write("/etc/systemd/system/daemon.service", "[Service]"),
			runtime.ServiceStep("daemon", true, "config"),
			{ID: "look", Do: runtime.Await{Argv: []string{"look"}, Timeout: 60e9}},
		}})
	}
	once := func(id string, argv ...string) runtime.Step {
		return runtime.Step{ID: id, Do: runtime.Exec{Argv: argv, Recover: []runtime.Action{runtime.Exec{Argv: []string{"clean", id}}}}}
	}
	join := []runtime.Step{
		{ID: "config", With: "join", Do: runtime.Write{Path: "/etc/join", Data: "token: " + secret.String(), Mode: 0o600, Secret: true}},
		once("join", "join", "cluster"),
		{ID: "forget", With: "join", Do: runtime.Remove{Paths: []string{"/etc/join"}}},
	}
	on := func(name string, m runtime.Member, steps ...runtime.Step) runtime.Phase {
		return runtime.Phase{Name: name, Tasks: []runtime.Task{{Member: m, Steps: steps}}}
	}
	plan.Phases = append(plan.Phases,
		on("init", memberA, once("init", "init", "cluster"), exec("objects", "apply", "objects")),
		on("grant", memberA, runtime.Step{ID: "token", Do: runtime.Exec{Argv: []string{"token", "create"}, Capture: secret}}),
		runtime.Phase{Name: "join nodes", Tasks: []runtime.Task{{Member: memberB, Steps: join}, {Member: memberC, Steps: join}}},
		runtime.Phase{Name: "ready", Tasks: []runtime.Task{
			{Member: memberA, Steps: []runtime.Step{{ID: "ready b", About: memberB.Address, Do: runtime.Await{Argv: []string{"ready", "b"}, Timeout: 60e9}}}},
			{Member: memberA, Steps: []runtime.Step{{ID: "ready c", About: memberC.Address, Do: runtime.Await{Argv: []string{"ready", "c"}, Timeout: 60e9}}}},
		}},
		on("apps", memberA, exec("app", "install", "app")),
	)
	return plan
}

// content is what is on the hosts, but for the ledger.
func (x *trio) content(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for address, h := range x.hosts {
		for _, f := range h.Files() {
			data, mode, err := h.File(f)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(f, "/ledger.jsonl") {
				all[address+" "+f] = fmt.Sprintf("%v %s", mode, data)
			}
		}
	}
	return all
}

// held returns the steps that the hosts' ledgers call done, but for those that
// ask the host each time.
func (x *trio) held() map[string]bool {
	held := map[string]bool{}
	for address, h := range x.hosts {
		raw, _, _ := h.File("/var/lib/sealrt/ledger.jsonl")
		for line := range strings.Lines(string(raw)) {
			var e struct{ Step, State string }
			if json.Unmarshal([]byte(line), &e) == nil {
				held[address+" "+e.Step] = e.State == "done"
			}
		}
	}
	maps.DeleteFunc(held, func(key string, done bool) bool { return !done || strings.HasSuffix(key, " service daemon") })
	return held
}

// checkResumed runs the plan once more and holds the hosts against what an
// undisturbed run leaves.
func (x *trio) checkResumed(t *testing.T, how string, want map[string]string) {
	t.Helper()
	held := x.held()
	if err := x.engine().Run(t.Context(), wholePlan()); err != nil {
		t.Errorf("%s: the second run: %v", how, err)
		return
	}
	for step := range held {
		if x.started[step] > 0 && !strings.HasSuffix(step, " config") { // which serves a step that is repeated
			t.Errorf("%s: %s held, and was done again", how, step)
		}
	}
	if diff := cmp.Diff(want, x.content(t)); diff != "" {
		t.Errorf("%s: %s", how, diff)
	}
	if err := x.engine().Run(t.Context(), wholePlan()); err != nil || len(x.started) > 0 {
		t.Errorf("%s: the third run: %v, %v", how, err, x.started)
	}
}

// undisturbed returns what a run leaves, and how many commands each host ran.
func undisturbed(t *testing.T) (map[string]string, map[string]int) {
	t.Helper()
	x := newTrio()
	if err := x.engine().Run(t.Context(), wholePlan()); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for address, h := range x.hosts {
		count[address] = len(h.Calls())
	}
	return x.content(t), count
}

func TestKilledAtAnyCommandTheSameRunCompletes(t *testing.T) {
	want, commands := undisturbed(t)
	for address, n := range commands {
		for at := 1; at <= n; at++ {
			for way := range waysToDie {
				for _, client := range []bool{false, true} {
					x := newTrio()
					ctx, cancel := context.WithCancel(t.Context())
					m := &mortal{Host: x.hosts[address], at: at, way: way}
					if client {
						m.with = cancel
					}
					err := x.engine(m).Run(ctx, wholePlan())
					cancel()
					how := fmt.Sprintf("host %s dies at command %d, way %d, the client %v", address, at, way, client)
					if err == nil {
						t.Errorf("%s: no error", how)
					}
					x.checkResumed(t, how, want)
				}
			}
		}
	}
}

func TestHostThatComesBackIsWaitedFor(t *testing.T) {
	want, commands := undisturbed(t)
	for address, n := range commands {
		for at := 1; at <= n; at++ {
			for way := range waysToDie {
				synctest.Test(t, func(t *testing.T) {
					x := newTrio()
					m := &mortal{Host: x.hosts[address], at: at, way: way, back: func(int) int { return 4 }}
					e := x.engine(m)
					e.Limits.Return = 0
					how := fmt.Sprintf("host %s is away after command %d, way %d", address, at, way)
					err := e.Run(t.Context(), wholePlan())
					var step *runtime.StepError
					if err != nil && !(errors.As(err, &step) && errors.Is(err, host.ErrLost)) {
						t.Errorf("%s: %v", how, err)
					}
					if err != nil {
						x.checkResumed(t, how, want)
					} else if diff := cmp.Diff(want, x.content(t)); diff != "" {
						t.Errorf("%s: %s", how, diff)
					}
				})
			}
		}
	}
}
