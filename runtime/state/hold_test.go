package state_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// TestMain is the keeper on a master too, and a client that saves for ever.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SEALRT_TEST_KEEP"); dir != "" {
		if err := (state.Keeper{Dir: dir}).Keep(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv("SEALRT_TEST_SAVE"); dir != "" {
		fmt.Fprintln(os.Stderr, saver(dir, os.Stdout))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// master is a machine that keeps the state in a directory.
type master struct {
	name string
	dir  string

	mu       sync.Mutex
	broken   error // what every command meets
	running  map[int]context.CancelCauseFunc
	ended    sync.WaitGroup // what was running
	n        int
	messages int // from clients
}

func newMaster(t *testing.T, name string) *master {
	return &master{name: name, dir: filepath.Join(t.TempDir(), "state"), running: map[int]context.CancelCauseFunc{}}
}

func (m *master) Name() string { return m.name }
func (m *master) Close() error { return nil }

func (m *master) Run(ctx context.Context, c host.Command) error {
	m.mu.Lock()
	if m.broken != nil {
		defer m.mu.Unlock()
		return m.broken
	}
	ctx, cancel := context.WithCancelCause(ctx)
	m.n++
	n := m.n
	m.running[n] = cancel
	m.ended.Add(1)
	m.mu.Unlock()
	defer m.ended.Done()
	defer func() { m.mu.Lock(); delete(m.running, n); m.mu.Unlock() }()
	in := &counting{r: c.Stdin, m: m}
	err := state.Keeper{Dir: m.dir}.Keep(ctx, in, c.Stdout)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// fail breaks what runs, and all that comes until it is nil.
func (m *master) fail(err error) {
	m.mu.Lock()
	m.broken = err
	for _, cancel := range m.running {
		if err != nil {
			cancel(err)
		}
	}
	m.mu.Unlock()
	if err != nil {
		m.ended.Wait()
	}
}

func (m *master) read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

type counting struct {
	r io.Reader
	m *master
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 && p[n-1] == '\n' {
		c.m.mu.Lock()
		c.m.messages++
		c.m.mu.Unlock()
	}
	return n, err
}

// client is one user's machine.
type client struct {
	t      *testing.T
	home   string
	folder *state.Folder
	told   []string
	mu     sync.Mutex
}

func newClient(t *testing.T) *client {
	home := t.TempDir()
	f, err := state.Open(home, "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &client{t: t, home: home, folder: f}
}

func (c *client) options(masters ...*master) state.Options {
	o := state.Options{
		Cluster: "one", Folder: c.folder, Argv: []string{"keep"}, Grace: 10 * time.Millisecond,
		Holder: state.Holder{ID: c.home, Host: "laptop", User: "me", PID: 7, Operation: "run", Since: time.Unix(0, 0)},
		Tell:   func(s string) { c.mu.Lock(); c.told = append(c.told, s); c.mu.Unlock() },
	}
	for _, m := range masters {
		o.Masters = append(o.Masters, state.Master{Name: m.name, Host: m})
	}
	return o
}

func (c *client) take(masters ...*master) *state.Hold {
	c.t.Helper()
	h, err := state.Take(c.t.Context(), c.options(masters...))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { h.Close() })
	return h
}

func (c *client) toldOf(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(strings.Join(c.told, "\n"), what)
}

// document is a cluster with an endpoint that tells versions apart.
func document(endpoint string) *clusterfile.Document {
	return &clusterfile.Document{File: clusterfile.File{
		APIVersion: clusterfile.APIVersion, Kind: clusterfile.Kind, Metadata: clusterfile.Metadata{Name: "one"},
		Spec: clusterfile.Spec{Endpoint: endpoint, Hosts: []clusterfile.Host{{Address: clusterfile.Strings{"m1"}, Role: "master"}}},
	}}
}

func save(t *testing.T, h *state.Hold, endpoint string, files state.Files) {
	t.Helper()
	if err := h.Save(t.Context(), document(endpoint), files); err != nil {
		t.Fatal(err)
	}
}

func (c *client) revision() int64 {
	c.t.Helper()
	d, err := c.folder.Load()
	if err != nil {
		c.t.Fatal(err)
	}
	return d.Metadata.Revision
}

func TestAllSidesHaveWhatIsSavedAndRecorded(t *testing.T) {
	c, m1, m2 := newClient(t), newMaster(t, "m1"), newMaster(t, "m2")
	h := c.take(m1, m2)
	save(t, h, "a:1", state.Files{state.Images: []byte("[]"), "secrets/ca.key": []byte("key")})
	save(t, h, "a:1", nil) // nothing changes
	var work sync.WaitGroup
	for i := range 50 {
		work.Go(func() {
			if err := h.Record(t.Context(), fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	for _, name := range []string{state.Clusterfile, state.Images, "secrets/ca.key", state.Journal} {
		own, err := os.ReadFile(c.folder.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := m1.read(t, name), m2.read(t, name); a != string(own) || b != string(own) {
			t.Errorf("%s: the client has %q, masters %q and %q", name, own, a, b)
		}
		if info, err := os.Stat(filepath.Join(m1.dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if n := strings.Count(m1.read(t, state.Journal), "\n"); n != 50 {
		t.Errorf("%d lines in the journal", n)
	}
	if c.revision() != 1 {
		t.Errorf("revision %d", c.revision())
	}
	save(t, h, "b:1", state.Files{"secrets/ca.key": nil})
	if _, err := os.Stat(filepath.Join(m1.dir, "secrets", "ca.key")); err == nil || c.revision() != 2 {
		t.Errorf("revision %d, %v", c.revision(), err)
	}
	if err := h.Record(t.Context(), []byte("two\nlines")); err == nil {
		t.Error("two lines were taken as one")
	}
}

func TestLinesThatComeTogetherShareTheWay(t *testing.T) {
	c, m := newClient(t), newMaster(t, "m")
	h := c.take(m)
	m.mu.Lock() // nothing gets through
	before := m.messages
	var work sync.WaitGroup
	for i := range 200 {
		work.Go(func() {
			if err := h.Record(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Error(err)
			}
		})
	}
	m.mu.Unlock()
	work.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.messages - before; n >= 150 {
		t.Errorf("200 lines took %d messages", n)
	}
}

func TestASecondClientLearnsWhoWorksOnTheCluster(t *testing.T) {
	a, b, m := newClient(t), newClient(t), newMaster(t, "m")
	h := a.take(m)
	_, err := state.Take(t.Context(), b.options(m))
	var busy *state.BusyError
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), "me@laptop does `sealrt run` since 1970-01-01T00:00:00Z, process 7") {
		t.Fatalf("%v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	b.take(m)
}

func TestTheNewerStateIsTakenByWhoIsBehind(t *testing.T) {
	a, b, m1, m2 := newClient(t), newClient(t), newMaster(t, "m1"), newMaster(t, "m2")
	h := a.take(m1, m2)
	save(t, h, "a:1", state.Files{"secrets/x": []byte("1")})
	h.Record(t.Context(), []byte("by a"))
	h.Close()

	h = b.take(m1, m2) // had nothing
	if !h.Refreshed() || !b.toldOf("had no state of the cluster one: revision 1 was taken from master m1") {
		t.Errorf("%v", b.told)
	}
	m2.fail(errors.New("cut"))
	save(t, h, "b:1", state.Files{"secrets/x": nil})
	h.Record(t.Context(), []byte("by b"))
	h.Close()
	if !b.toldOf("master m2 no longer keeps the journal: cut") {
		t.Errorf("%v", b.told)
	}

	m2.fail(nil)
	h = a.take(m2, m1) // m2 and the client are behind
	if !h.Refreshed() || a.revision() != 2 || !strings.Contains(m2.read(t, state.Clusterfile), "b:1") {
		t.Errorf("revision %d, %v, %s", a.revision(), a.told, m2.read(t, state.Clusterfile))
	}
	if _, err := os.Stat(a.folder.Path("secrets/x")); err == nil {
		t.Error("a secret that is gone is still there")
	}
	for _, text := range []string{m1.read(t, state.Journal), m2.read(t, state.Journal)} {
		if text != "by a\nby b\n" {
			t.Errorf("journal %q", text)
		}
	}
}

func TestTwoStatesOfOneRevisionAreAConflict(t *testing.T) {
	a, b, m1, m2 := newClient(t), newClient(t), newMaster(t, "m1"), newMaster(t, "m2")
	h := a.take(m1)
	save(t, h, "a:1", nil)
	h.Close()
	h = b.take(m2)
	save(t, h, "b:1", nil)
	h.Close()
	_, err := state.Take(t.Context(), a.options(m1, m2))
	var conflict *state.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatal(err)
	}
	want := `cluster one: two states have the revision 1 and differ, that of this machine (-) and that of m2 (+):
  Clusterfile: -   endpoint: a:1
  Clusterfile: +   endpoint: b:1
choose one: ` + "`sealrt recover --cluster one --from m2 --force` takes that host's, `sealrt recover --cluster one --keep-local` keeps this machine's"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	o := a.options(m1, m2)
	o.KeepLocal = true
	h, err = state.Take(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	if text := m2.read(t, state.Clusterfile); !strings.Contains(text, "a:1") || a.revision() != 2 {
		t.Errorf("revision %d, %s", a.revision(), text)
	}
}

func TestMostMastersAreEnough(t *testing.T) {
	down := errors.New("exit status 1")
	for _, test := range []struct {
		name             string
		unreached, fails int // of three masters
		want             string
	}{
		{"all", 0, 0, ""},
		{"one does not answer", 1, 0, ""},
		{"two do not answer", 2, 0, ""},
		{"none answers", 3, 0, "no master can be reached"},
		{"one cannot be locked", 0, 1, ""},
		{"two cannot be locked", 0, 2, "1 of 3 masters are locked, which is not enough"},
		{"one does not answer, one cannot be locked", 1, 1, "1 of 3 masters are locked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t)
			masters := []*master{newMaster(t, "m1"), newMaster(t, "m2"), newMaster(t, "m3")}
			for i := range test.fails {
				masters[2-i].fail(down)
			}
			o := c.options(masters...)
			for i := range test.unreached {
				o.Masters[i].Host = nil
			}
			h, err := state.Take(t.Context(), o)
			if err == nil {
				h.Close()
			}
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
			if err == nil && (test.unreached+test.fails > 0) != (len(c.told) > 0) {
				t.Errorf("told %v", c.told)
			}
		})
	}
}

func TestWorkStopsWhenNoMasterKeepsTheLock(t *testing.T) {
	c, m := newClient(t), newMaster(t, "m")
	h := c.take(m)
	m.fail(errors.New("power cut"))
	if err := h.Record(t.Context(), []byte("x")); !errors.Is(err, state.ErrLost) {
		t.Errorf("%v", err)
	}
	m.fail(nil)
	if err := h.Record(t.Context(), []byte("y")); err != nil {
		t.Errorf("the master is back: %v", err)
	}
	if got := m.read(t, state.Journal); got != "x\ny\n" {
		t.Errorf("journal %q", got)
	}
}

func TestWorkStopsWhenSomebodyElseTookTheMaster(t *testing.T) {
	a, b, m := newClient(t), newClient(t), newMaster(t, "m")
	h := a.take(m)
	m.fail(errors.New("cut"))
	m.fail(nil)
	b.take(m)
	if err := h.Record(t.Context(), []byte("x")); !errors.Is(err, state.ErrLost) || !strings.Contains(err.Error(), "another sealrt is working on it") {
		t.Errorf("%v", err)
	}
}

func TestWorkStopsWhenSomebodyElseWorkedMeanwhile(t *testing.T) {
	for name, meanwhile := range map[string]func(b *state.Hold){
		"who changed it":    func(b *state.Hold) { save(t, b, "b:1", nil) },
		"who only wrote":    func(b *state.Hold) { _ = b.Record(t.Context(), []byte("b")) },
		"who did not write": func(*state.Hold) {},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, m := newClient(t), newClient(t), newMaster(t, "m")
			h := a.take(m)
			save(t, h, "a:1", nil)
			m.fail(errors.New("cut"))
			m.fail(nil)
			other := b.take(m)
			meanwhile(other)
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			before := m.read(t, state.Clusterfile) + m.read(t, state.Journal)
			if err := h.Record(t.Context(), []byte("x")); !errors.Is(err, state.ErrLost) || !strings.Contains(err.Error(), "somebody else worked on it") {
				t.Errorf("%v", err)
			}
			if after := m.read(t, state.Clusterfile) + m.read(t, state.Journal); after != before {
				t.Errorf("what the other did is overwritten:\n%s\n%s", before, after)
			}
		})
	}
}

func TestAMasterThatComesBackHasWhatIsNotKeptAnyMoreRemoved(t *testing.T) {
	c, m1, m2 := newClient(t), newMaster(t, "m1"), newMaster(t, "m2")
	h := c.take(m1, m2)
	save(t, h, "a:1", state.Files{"secrets/old": []byte("x")})
	m2.fail(errors.New("cut"))
	save(t, h, "a:2", state.Files{"secrets/old": nil})
	m1.fail(errors.New("cut"))
	m1.fail(nil)
	m2.fail(nil)
	if err := h.Record(t.Context(), []byte("x")); err != nil { // both are taken again
		t.Fatal(err)
	}
	if got := m2.read(t, state.Journal); got != "x\n" {
		t.Fatalf("it was not taken again: journal %q", got)
	}
	if _, err := os.Stat(filepath.Join(m2.dir, "secrets", "old")); err == nil {
		t.Error("it is still there")
	}
}

func TestSealrtIsBroughtWhereItIsMissing(t *testing.T) {
	for _, code := range []int{2, 126, 127} {
		c, m := newClient(t), newMaster(t, "m")
		m.fail(&host.ExitError{Code: code, Argv: []string{"keep"}})
		_, err := state.Take(t.Context(), c.options(m))
		if err == nil || !strings.Contains(err.Error(), "no sealrt is there") {
			t.Errorf("%v", err)
		}
		o := c.options(m)
		o.Deliver = func(context.Context, state.Master) error { m.fail(nil); return nil }
		h, err := state.Take(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
	}
}

func TestASilentClientIsLetGo(t *testing.T) {
	dir := t.TempDir()
	in, feed := io.Pipe()
	defer feed.Close()
	ended := make(chan error)
	go func() {
		ended <- state.Keeper{Dir: dir, Patience: 50 * time.Millisecond}.Keep(context.Background(), in, io.Discard)
	}()
	go io.WriteString(feed, `{"op":"hold","protocol":2,"cluster":"one","holder":{"id":"x"}}`+"\n")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "no word from the client for 50ms") {
		t.Errorf("%v", err)
	}
	c := newClient(t)
	m := newMaster(t, "m")
	m.dir = dir
	c.take(m)
}

func TestAClientThatTakesNoAnswerIsLetGo(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	err := state.Keeper{Dir: t.TempDir(), Patience: 50 * time.Millisecond}.Keep(t.Context(), strings.NewReader(`{"op":"hold","protocol":2,"cluster":"one","holder":{"id":"x"}}`+"\n"), w)
	if err == nil || !strings.Contains(err.Error(), "took no answer") {
		t.Errorf("%v", err)
	}
}

// keeper starts a keeper process, and returns it once it holds the lock.
func keeper(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SEALRT_TEST_KEEP="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	io.WriteString(in, `{"op":"hold","protocol":2,"cluster":"one","holder":{"id":"x","user":"dead","host":"gone"}}`+"\n")
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestADeadKeeperKeepsNothing(t *testing.T) {
	m, c := newMaster(t, "m"), newClient(t)
	process := keeper(t, m.dir)
	var busy *state.BusyError
	if _, err := state.Take(t.Context(), c.options(m)); !errors.As(err, &busy) || busy.Holder.User != "dead" {
		t.Fatalf("%v", err)
	}
	process.Process.Kill()
	process.Wait()
	c.take(m)
}

func TestTheSameHoldTakesOverFromItsLostConnection(t *testing.T) {
	m, c := newMaster(t, "m"), newClient(t)
	process := keeper(t, m.dir)
	o := c.options(m)
	o.Holder.ID = "x"
	ended := make(chan struct{})
	go func() { process.Wait(); close(ended) }()
	h, err := state.Take(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	<-ended
}

func TestAHostOfAnotherClusterIsNotTouched(t *testing.T) {
	a, m := newClient(t), newMaster(t, "m")
	h := a.take(m)
	save(t, h, "a:1", nil)
	h.Close()
	o := a.options(m)
	o.Cluster = "two"
	if _, err := state.Take(t.Context(), o); err == nil || !strings.Contains(err.Error(), "this host is a master of the cluster one, not of two") {
		t.Errorf("%v", err)
	}
}
