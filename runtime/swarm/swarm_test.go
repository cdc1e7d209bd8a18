package swarm

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachBlobLeavesTheClientOnceForTenHosts(t *testing.T) {
	b := newBed(t, 10, Options{})
	s := newBundle(700_000, 300_000, 100_000, 5000, 0)
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != s.size() {
		t.Errorf("%d bytes left the client for a set of %d", b.Sent(), s.size())
	}
	for h, n := range s.opens {
		if n != 1 {
			t.Errorf("%s was read %d times", h, n)
		}
	}
	for _, m := range b.hosts {
		if n := m.notes(); len(n) > 0 {
			t.Errorf("%s: %q", m.name, n)
		}
	}
}

func TestSecondBringSendsNothing(t *testing.T) {
	b := newBed(t, 3, Options{})
	s := newBundle(100_000, 2000)
	b.mustBring(t, s, b.hosts...)
	sent, received := b.Sent(), b.hosts[0].ran("receive")
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != sent || b.hosts[0].ran("receive") != received {
		t.Errorf("the second time %d bytes were sent", b.Sent()-sent)
	}
}

func TestOnlyTheRestOfASetIsSent(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(100_000, 60_000, 2000)
	for _, m := range b.hosts {
		m.blobs[s.list[0].Digest] = s.data[s.list[0].Digest]
	}
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != 62_000 {
		t.Errorf("%d bytes were sent", b.Sent())
	}
}

func TestOneHostAloneNeitherServesNorFetches(t *testing.T) {
	b := newBed(t, 1, Options{})
	b.mustBring(t, newBundle(1000), b.hosts...)
	if m := b.hosts[0]; m.ran("serve")+m.ran("fetch") > 0 {
		t.Errorf("it ran %q", m.calls)
	}
}

func TestALateHostGetsAllFromOthers(t *testing.T) {
	b := newBed(t, 2, Options{})
	s, more := newBundle(50_000, 3000), newBundle(1000, 20_000, 7)
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, more, b.hosts[0]) // after it was told what may be served
	sent := b.Sent()
	b.mustBring(t, s, b.hosts[1])
	b.mustBring(t, more, b.hosts[1])
	if b.Sent() != sent {
		t.Errorf("%d bytes more left the client", b.Sent()-sent)
	}
}

func TestSSHOnlySendsToEachHost(t *testing.T) {
	b := newBed(t, 3, Options{SSHOnly: true})
	s := newBundle(10_000, 500)
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != 3*s.size() {
		t.Errorf("%d bytes were sent", b.Sent())
	}
	for _, m := range b.hosts {
		if m.ran("serve")+m.ran("fetch") > 0 || len(m.notes()) > 0 {
			t.Errorf("%s ran %q and said %q", m.name, m.calls, m.notes())
		}
	}
}

func TestStreamsFromTheClientAreBounded(t *testing.T) {
	b := newBed(t, 12, Options{SSHOnly: true, Streams: 2})
	s := newBundle(300_000, 200_000, 10)
	b.mustBring(t, s, b.hosts...)
	if s.most > 2 || s.open != 0 {
		t.Errorf("at most %d blobs left the client at a time, %d readers are still open", s.most, s.open)
	}
}

func TestBlobThatIsThereTwiceTravelsOnce(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(1000)
	s.list = append(s.list, s.list[0])
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != 1000 {
		t.Errorf("%d bytes were sent", b.Sent())
	}
}

func TestHostsReachEachOtherOverIPv6(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 on loopback: %v", err)
	}
	l.Close()
	b := newBed(t, 3, Options{})
	for _, m := range b.hosts {
		m.ip = "::1"
	}
	s := newBundle(10_000, 3000)
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != s.size() {
		t.Errorf("%d bytes were sent", b.Sent())
	}
}

func TestAHostThatOffersServesWithoutGettingAnything(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(5000, 400)
	b.hosts[0].blobs[s.list[0].Digest] = s.data[s.list[0].Digest]
	if err := b.Offer(t.Context(), b.hosts[0].peer(), s); err != nil {
		t.Fatal(err)
	}
	b.mustBring(t, s, b.hosts[1])
	if b.Sent() != 400 || b.hosts[0].ran("receive") > 0 {
		t.Errorf("%d bytes were sent, and host1 ran %q", b.Sent(), b.hosts[0].calls)
	}
}

// cutAfter lets so many bytes through, once, and ends as a connection does.
type cutAfter struct {
	r    io.Reader
	left int64
}

func (c *cutAfter) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

func TestWhatBreaksOffGoesOnAtTheByte(t *testing.T) {
	b := newBed(t, 1, Options{})
	s := newBundle(1_000_000)
	var cuts atomic.Int32
	b.hosts[0].intake = func(r io.Reader) io.Reader {
		if cuts.Add(1) <= 5 { // more often than attempts without progress
			return &cutAfter{r, 150_000}
		}
		return r
	}
	b.mustBring(t, s, b.hosts...)
	if cuts.Load() != 6 {
		t.Errorf("%d connections", cuts.Load())
	}
	// what was on the wire when it broke is sent again, no more
	if over := b.Sent() - s.size(); over < 0 || over > 5*300_000 {
		t.Errorf("%d bytes more than the blob were sent", over)
	}
	if s.opens[s.list[0].Digest] != 6 {
		t.Errorf("it was opened %d times", s.opens[s.list[0].Digest])
	}
}

func TestKilledClientGoesOnWhereItStopped(t *testing.T) {
	b := newBed(t, 1, Options{})
	s := newBundle(400_000)
	ctx, kill := context.WithCancel(t.Context())
	b.hosts[0].intake = func(r io.Reader) io.Reader {
		return readerFunc(func(p []byte) (int, error) {
			n, err := r.Read(p)
			if s.readSoFar() > 200_000 {
				kill()
				err = io.EOF
			}
			return n, err
		})
	}
	if err := b.bring(ctx, s, b.hosts...)[0]; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.hosts[0].intake = nil
	kept := int64(len(b.hosts[0].parts[s.list[0].Digest]))
	next := newBed(t, 0, Options{})
	next.mustBring(t, s, b.hosts...)
	if kept == 0 || next.Sent() != s.size()-kept {
		t.Errorf("%d bytes were kept and %d of %d sent", kept, next.Sent(), s.size())
	}
}

func TestBlobGoesOnAtTheHostThatHasMostOfIt(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(50_000, 40_000)
	some, most := b.hosts[0], b.hosts[1]
	for i, kept := range []int{45_000, 30_000} {
		d := s.list[i].Digest
		some.parts[d], most.parts[d] = s.data[d][:1000], s.data[d][:kept]
	}
	first, second, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	some.latency = func(verb string) { // both are asked at once, and this one answers first
		if verb == "missing" {
			close(first)
			<-second
			time.AfterFunc(10*time.Millisecond, func() { close(answered) })
		}
	}
	most.latency = func(verb string) {
		if verb == "missing" {
			close(second)
			<-first
			<-answered
		}
	}
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != 15_000 {
		t.Errorf("%d bytes were sent, the rest is 15000", b.Sent())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (s *bundle) readSoFar() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

func TestTransferThatNeverGetsOnIsAnError(t *testing.T) {
	b := newBed(t, 1, Options{})
	b.hosts[0].intake = func(r io.Reader) io.Reader { return &cutAfter{r, 10} }
	err := b.bring(t.Context(), newBundle(1000), b.hosts...)[0]
	if err == nil || b.hosts[0].ran("receive") != attempts {
		t.Errorf("after %d attempts: %v", b.hosts[0].ran("receive"), err)
	}
}

func TestSilentHostIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2, Options{Stall: 2 * time.Second})
	silent := make(chan struct{})
	b.hosts[0].intake = func(io.Reader) io.Reader {
		return readerFunc(func([]byte) (int, error) { <-silent; return 0, io.EOF })
	}
	defer close(silent)
	s := newBundle(3_000_000)
	errs := b.bring(t.Context(), s, b.hosts[0])
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "no sign of life for 2s: check the network") || b.hosts[0].ran("receive") != 1 {
		t.Errorf("error is %v", errs[0])
	}
	b.mustBring(t, s, b.hosts[1]) // the others go on
}

func TestFullDiskIsToldAndNotTriedAgain(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(1000, 500)
	b.hosts[1].fails = syscall.ENOSPC
	b.mustBring(t, s, b.hosts[0])
	sent := b.Sent()
	err := b.bring(t.Context(), s, b.hosts[1])[0]
	if err == nil || !strings.Contains(err.Error(), "the host cannot keep it") || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error is %v", err)
	}
	if b.Sent() != sent {
		t.Error("the client sent what the host cannot keep")
	}
	alone := newBed(t, 0, Options{})
	if err = alone.bring(t.Context(), s, b.hosts[1])[0]; err == nil || !strings.Contains(err.Error(), "no space left") || b.hosts[1].ran("receive") != 1 {
		t.Errorf("after %d attempts: %v", b.hosts[1].ran("receive"), err)
	}
}

func TestDamagedImageOnTheClientIsToldAsSuch(t *testing.T) {
	b := newBed(t, 1, Options{})
	s := newBundle(1000)
	s.data[s.list[0].Digest][7] ^= 1
	err := b.bring(t.Context(), s, b.hosts...)[0]
	if err == nil || !strings.Contains(err.Error(), "verify-store") || b.hosts[0].has(s) {
		t.Errorf("error is %v", err)
	}
}

// askedFirst makes a host the one that others ask first: it serves already, and
// has served the least.
func (b *bed) askedFirst(t *testing.T, m *machine) {
	t.Helper()
	var me *peer
	_, err := b.next(t.Context(), func() verdict {
		if me = b.peers[m.name]; me.serving == ready {
			me.served = -1
			return take
		}
		b.wish(me)
		return wait
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeadPeerIsReplacedAtTheByte(t *testing.T) {
	b := newBed(t, 3, Options{})
	s := newBundle(2_000_000)
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts[1])
	b.askedFirst(t, b.hosts[1])
	sent, served := b.Sent(), b.hosts[0].servedBytes()
	b.hosts[1].spoil(s.list[0].Digest, func(b []byte) []byte { return b[:1_200_000] })
	b.mustBring(t, s, b.hosts[2])
	if b.Sent() != sent {
		t.Errorf("the client sent %d bytes", b.Sent()-sent)
	}
	if n := b.hosts[0].servedBytes() - served; n != 800_000 {
		t.Errorf("the other host sent %d bytes of the 800000 that were left", n)
	}
}

func TestLyingPeerIsRefusedAndAnotherAsked(t *testing.T) {
	b := newBed(t, 3, Options{})
	s := newBundle(200_000)
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts[1])
	b.askedFirst(t, b.hosts[1])
	sent := b.Sent()
	b.hosts[1].spoil(s.list[0].Digest, func(b []byte) []byte { b[7] ^= 1; return b })
	b.mustBring(t, s, b.hosts[2])
	if b.Sent() != sent {
		t.Errorf("the client sent %d bytes though an honest host has them", b.Sent()-sent)
	}
	if n := b.hosts[1].notes(); len(n) != 1 || !strings.Contains(n[0], "damaged blob, which host3 refused") {
		t.Errorf("the story says %q", n)
	}
}

func TestLieInTheFirstHalfIsNotBlamedOnWhoSendsTheSecond(t *testing.T) {
	b := newBed(t, 3, Options{})
	s := newBundle(200_000)
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts[1])
	b.askedFirst(t, b.hosts[1])
	sent := b.Sent()
	b.hosts[1].spoil(s.list[0].Digest, func(b []byte) []byte { b[7] ^= 1; return b[:150_000] })
	b.mustBring(t, s, b.hosts[2])
	if b.Sent() != sent || len(b.hosts[0].notes()) > 0 {
		t.Errorf("the client sent %d bytes, and of host1 the story says %q", b.Sent()-sent, b.hosts[0].notes())
	}
}

func TestEveryPeerLiesAndTheClientSends(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(5000)
	b.mustBring(t, s, b.hosts[0])
	b.hosts[0].blobs[s.list[0].Digest] = make([]byte, 5000)
	sent := b.Sent()
	b.mustBring(t, s, b.hosts[1])
	if b.Sent()-sent != s.size() {
		t.Errorf("the client sent %d bytes", b.Sent()-sent)
	}
	if n := b.hosts[0].notes(); len(n) != 1 || !strings.Contains(n[0], "damaged blob") {
		t.Errorf("the story says %q", n)
	}
}

func TestBlockedPortFallsBackToTheClientWithOneWarning(t *testing.T) {
	b := newBed(t, 4, Options{})
	s := newBundle(5000, 4000, 3000)
	port := closedPort(t)
	for _, m := range b.hosts {
		m.deaf = port
	}
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts...)
	if b.Sent() != 4*s.size() {
		t.Errorf("%d bytes were sent of %d", b.Sent(), 4*s.size())
	}
	for _, m := range b.hosts[1:] {
		n := m.notes()
		if len(n) != 1 || !strings.Contains(n[0], "does not answer it") || !strings.Contains(n[0], "connection refused") || !strings.Contains(n[0], "blobs.port") {
			t.Errorf("%s was warned: %q", m.name, n)
		}
	}
}

func TestHostThatReachesNobodyDoesNotTryThemAll(t *testing.T) {
	b := newBed(t, 5, Options{})
	s := newBundle(5000)
	ports := map[int]bool{}
	for len(ports) < 4 {
		ports[closedPort(t)] = true
	}
	for i, port := range slices.Collect(maps.Keys(ports)) {
		m := b.hosts[i]
		m.deaf = port
		m.blobs[s.list[0].Digest] = s.data[s.list[0].Digest]
		if err := b.Offer(t.Context(), m.peer(), s); err != nil {
			t.Fatal(err)
		}
	}
	b.mustBring(t, s, b.hosts[4])
	me := b.peers[b.hosts[4].name]
	if b.Sent() != s.size() || !me.alone || len(me.cut) > enough {
		t.Errorf("%d bytes were sent; alone is %v after %d hosts", b.Sent(), me.alone, len(me.cut))
	}
}

func TestHostThatCannotServeIsTold(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(5000)
	b.hosts[0].refuse["serve"] = errors.New("bind: address already in use")
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts[1])
	if n := b.hosts[0].notes(); b.Sent() != 2*s.size() || len(n) != 1 || !strings.Contains(n[0], "address already in use") {
		t.Errorf("%d bytes were sent, the story says %q", b.Sent(), n)
	}
}

func TestHostWhoseFetchingFailsGetsAllFromTheClient(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(5000, 100)
	b.hosts[1].refuse["fetch"] = errors.New("no such command")
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts[1])
	if n := b.hosts[1].notes(); b.Sent() != 2*s.size() || len(n) != 1 || !strings.Contains(n[0], "no such command") {
		t.Errorf("%d bytes were sent, the story says %q", b.Sent(), n)
	}
}

func TestFiftyHostsTakeAboutTheRoundsOfOne(t *testing.T) {
	// a round is a command that had to end, or answer, before another began
	rounds := func(n int) int {
		b := newBed(t, n, Options{})
		var mu sync.Mutex
		most := 0
		for _, m := range b.hosts {
			count := 0
			m.latency = func(string) {
				mu.Lock()
				defer mu.Unlock()
				count++
				most = max(most, count)
			}
		}
		b.mustBring(t, newBundle(9000, 8000, 7000, 6000, 500, 400), b.hosts...)
		return most
	}
	// on any host: missing, receive; of many hosts also serve and fetch
	if one, fifty := rounds(1), rounds(50); one != 2 || fifty > 4 {
		t.Errorf("one host runs %d commands, each of fifty at most %d", one, fifty)
	}
}

func TestHostsThatNeverBeginToServeAreNotWaitedForOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(n int) time.Duration {
			b := helperBed(t, n)
			for _, m := range b.hosts {
				m.hangs = true
				m.latency = func(string) { time.Sleep(200 * time.Millisecond) }
			}
			var opens atomic.Int32
			start := time.Now()
			b.install(t, helperFor(&opens), b.hosts...)
			b.mustBring(t, newBundle(9000, 8000, 7000, 500), b.hosts...)
			warned := 0
			for _, m := range b.hosts {
				warned += len(m.notes())
			}
			if n > enough && warned != 1 {
				t.Errorf("the story warns %d times", warned)
			}
			return time.Since(start)
		}
		one, fifty := took(1), took(50)
		t.Logf("one host %s, fifty %s", one, fifty)
		if fifty > one+enough*lateTime+10*time.Second {
			t.Errorf("fifty hosts take %s, one takes %s", fifty, one)
		}
	})
}

func TestAHostThatIsLateIsUsedOnceItServes(t *testing.T) {
	b := newBed(t, 4, Options{})
	s := newBundle(5000)
	b.mustBring(t, s, b.hosts[0])
	b.askedFirst(t, b.hosts[0]) // it serves
	b.mu.Lock()
	b.hope = hope{late: enough}
	if !b.hopeless() {
		t.Error("there is hope though nobody ever served")
	}
	b.hope.ready = true
	b.mu.Unlock()
	sent := b.Sent()
	b.mustBring(t, s, b.hosts[1])
	if b.Sent() != sent {
		t.Errorf("the client sent %d bytes though a host serves them", b.Sent()-sent)
	}
}

func TestProgressIsToldWithItsSource(t *testing.T) {
	b := newBed(t, 2, Options{})
	s := newBundle(100_000)
	b.mustBring(t, s, b.hosts[0])
	b.mustBring(t, s, b.hosts[1])
	for i, from := range []string{FromClient, "host1"} {
		m := b.hosts[i]
		m.mu.Lock()
		last := m.events[len(m.events)-1]
		m.mu.Unlock()
		if last != (Event{Bytes: 100_000, Total: 100_000, From: from}) {
			t.Errorf("%s: the last event is %+v", m.name, last)
		}
	}
}
