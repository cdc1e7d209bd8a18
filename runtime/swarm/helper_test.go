package swarm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const target = "/var/lib/sealrt/bin/sealrt"

// program is a helper that compresses to a third, as sealrt does.
func program() []byte { return bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), 10_000) }

func helperFor(opens *atomic.Int32) Helper {
	return Helper{Platform: "linux/amd64", Open: func() (io.ReadCloser, error) {
		opens.Add(1)
		return io.NopCloser(bytes.NewReader(program())), nil
	}}
}

// helperBed is a bed whose hosts serve the program that they run.
func helperBed(t *testing.T, hosts int) *bed {
	file := tempFile(t, program())
	return newBed(t, hosts, Options{TempDir: t.TempDir(), Command: func(verb string) []string {
		if verb == "serve" {
			return []string{file, verb}
		}
		return []string{verb}
	}})
}

func (b *bed) install(t *testing.T, h Helper, hosts ...*machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, m := range hosts {
		wg.Go(func() { errs[i] = b.Install(ctx, m.peer(), target, h) })
	}
	wg.Wait()
	for i, m := range hosts {
		if errs[i] != nil {
			t.Fatalf("%s: %v", m.name, errs[i])
		}
		if got, _ := m.file(target); !bytes.Equal(got, program()) {
			t.Fatalf("%s has a helper of %d bytes", m.name, len(got))
		}
		if _, left := m.file(fresh(target)); left {
			t.Errorf("%s has an unfinished helper", m.name)
		}
	}
}

func TestHelperLeavesTheClientOnceAndCompressed(t *testing.T) {
	b := helperBed(t, 8)
	var opens atomic.Int32
	b.install(t, helperFor(&opens), b.hosts...)
	if b.Sent() == 0 || b.Sent() > int64(len(program()))/3 {
		t.Errorf("%d bytes left the client for a helper of %d", b.Sent(), len(program()))
	}
	if opens.Load() != 2 {
		t.Errorf("it was read %d times: once to hash and once to compress", opens.Load())
	}
	sent := b.Sent()
	b.install(t, helperFor(&opens), b.hosts...)
	if b.Sent() != sent {
		t.Error("it was sent to hosts that have it")
	}
}

func TestHelperWithoutGzipAndCurl(t *testing.T) {
	b := helperBed(t, 2)
	for _, m := range b.hosts {
		m.without = []string{"gzip", "curl", "wget"}
	}
	var opens atomic.Int32
	b.install(t, helperFor(&opens), b.hosts...)
	if want := int64(2 * len(program())); b.Sent() != want {
		t.Errorf("%d bytes were sent, not %d", b.Sent(), want)
	}
}

func TestHelperThatArrivesDamagedGetsNoName(t *testing.T) {
	b := helperBed(t, 1)
	var opens atomic.Int32
	h := helperFor(&opens)
	whole := h.Open
	h.Open = func() (io.ReadCloser, error) {
		r, err := whole()
		if opens.Load() > 1 { // what is sent is not what was hashed
			return io.NopCloser(io.LimitReader(r, 1000)), err
		}
		return r, err
	}
	err := b.Install(t.Context(), b.hosts[0].peer(), target, h)
	if !errors.Is(err, errSum) {
		t.Errorf("error is %v", err)
	}
	for _, name := range []string{target, fresh(target)} {
		if _, there := b.hosts[0].file(name); there {
			t.Errorf("%s is there", name)
		}
	}
}

func TestInterruptedUploadLeavesNothingUnderTheName(t *testing.T) {
	b := helperBed(t, 1)
	b.hosts[0].refuse["dd"] = errors.New("connection lost")
	var opens atomic.Int32
	if err := b.Install(t.Context(), b.hosts[0].peer(), target, helperFor(&opens)); err == nil || !strings.Contains(err.Error(), "connection lost") {
		t.Errorf("error is %v", err)
	}
	if _, there := b.hosts[0].file(target); there {
		t.Error("the helper is there")
	}
	delete(b.hosts[0].refuse, "dd")
	b.install(t, helperFor(&opens), b.hosts...)
}

func TestInterruptedUploadGoesOnAtItsByte(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func([]byte) []byte // what is there of it
		again bool                // all of it is sent
	}{
		"as it broke off":               {func(b []byte) []byte { return b }, false},
		"cut by a power failure":        {func(b []byte) []byte { return make([]byte, len(b)) }, true},
		"longer than the whole":         {func([]byte) []byte { return make([]byte, 1<<20) }, true},
		"of another version, no packed": {func([]byte) []byte { return []byte("another") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var opens atomic.Int32
			whole := helperBed(t, 1)
			whole.install(t, helperFor(&opens), whole.hosts...)
			b := helperBed(t, 1)
			m := b.hosts[0]
			m.cut = whole.Sent() / 2
			if err := b.Install(t.Context(), m.peer(), target, helperFor(&opens)); !errors.Is(err, errCut) {
				t.Fatalf("error is %v", err)
			}
			zipped := fresh(target) + ".gz"
			part, _ := m.file(zipped)
			m.write(zipped, c.spoil(part))
			next := newBed(t, 0, Options{TempDir: t.TempDir(), Command: b.o.Command})
			next.install(t, helperFor(&opens), m)
			rest := whole.Sent() - whole.Sent()/2
			if sent := next.Sent(); !c.again && sent != rest || c.again && sent < whole.Sent() {
				t.Errorf("%d bytes were sent of %d, the rest is %d", sent, whole.Sent(), rest)
			}
			if _, left := m.file(zipped); left {
				t.Error("the packed helper is still there")
			}
		})
	}
}

func TestHostThatHasTheHelperIsASource(t *testing.T) {
	b := helperBed(t, 3)
	var opens atomic.Int32
	b.hosts[0].write(target, program())
	b.Has(b.hosts[0].peer(), helperFor(&opens))
	b.install(t, helperFor(&opens), b.hosts...)
	if b.Sent() != 0 {
		t.Errorf("%d bytes were sent though a host has it", b.Sent())
	}
}

func TestHelperOfAHostThatDoesNotAnswerComesFromTheClient(t *testing.T) {
	b := helperBed(t, 2)
	b.hosts[0].deaf = closedPort(t)
	var opens atomic.Int32
	b.install(t, helperFor(&opens), b.hosts[0])
	once := b.Sent()
	b.install(t, helperFor(&opens), b.hosts[1])
	if n := b.hosts[1].notes(); b.Sent() != 2*once || len(n) != 1 || !strings.Contains(n[0], "instead of from host1") {
		t.Errorf("%d bytes were sent, once is %d; the story says %q", b.Sent(), once, n)
	}
}
