package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tonistiigi/vt100"

	"github.com/sealrt/sealrt/runtime"
)

// drawnOn returns a renderer of a terminal of a size, and what stands on it.
func drawnOn(width, height int) (*renderer, *clock, func() string) {
	var out bytes.Buffer
	c := newClock()
	r := newRenderer(&out, "tty", false)
	r.now = func() time.Time { return c.now }
	screen := func() string {
		v := vt100.NewVT100(200, width)
		_, _ = v.Write(bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte("\r\n")))
		var lines []string
		for _, l := range v.Content {
			lines = append(lines, strings.TrimRight(string(l), " "))
		}
		return strings.TrimRight(strings.Join(lines, "\n"), "\n")
	}
	r.table = newHostTable(&out, r.now)
	r.table.size = func() (int, int) { return width, height }
	r.pulse = time.NewTimer(time.Hour)
	return r, c, screen
}

func TestTableHasALineForEachHostThatChanges(t *testing.T) {
	r, c, screen := drawnOn(100, 24)
	sending := func(host string, mib int64, from string) {
		c.now = c.now.Add(time.Second)
		r.step(runtime.Event{Phase: "deliver", Host: host, Step: "load k3s:v1", State: runtime.Sending, Bytes: mib << 20, Total: 100 << 20, From: from})
	}
	r.step(runtime.Event{Phase: "deliver", Host: "a", Step: "load k3s:v1", State: runtime.Started})
	r.step(runtime.Event{Phase: "deliver", Host: "node-b", Step: "load k3s:v1", State: runtime.Started})
	sending("a", 10, "client")
	sending("a", 20, "client")
	sending("node-b", 30, "a")
	sending("a", 5, "client") // it begins again and must not go back
	if diff := cmp.Diff(`a       deliver  load k3s:v1  20.0 MiB of 100.0 MiB  3.3 MiB/s  ETA 24s  from client
node-b  deliver  load k3s:v1  30.0 MiB of 100.0 MiB  from a`, screen()); diff != "" {
		t.Error(diff)
	}
	r.step(runtime.Event{Phase: "deliver", Host: "a", Step: "load k3s:v1", State: runtime.Done, Bytes: 100 << 20, Took: 5 * time.Second})
	r.say("a sentence")
	c.now = c.now.Add(time.Second)
	r.step(runtime.Event{Phase: "join", Host: "node-b", Step: "join", State: runtime.Failed, Took: time.Second})
	if diff := cmp.Diff("a sentence\nnode-b  join  failed after 1.0s\na       deliver  waits\nnode-b  failed  join", screen()); diff != "" {
		t.Error(diff)
	}
	r.finish()
	if diff := cmp.Diff("a sentence\nnode-b  join  failed after 1.0s\na  1 step  100.0 MiB  4s\nnode-b  0 steps  5s  failed at join", screen()); diff != "" {
		t.Error(diff)
	}
}

func TestTableFitsTheTerminal(t *testing.T) {
	r, c, screen := drawnOn(30, 6)
	for i := range 20 {
		r.step(runtime.Event{Phase: "deliver", Host: fmt.Sprintf("10.0.0.%d", i), Step: "a step with a name that is long", State: runtime.Holds})
	}
	c.now = c.now.Add(time.Second)
	r.step(runtime.Event{Phase: "deliver", Host: "10.0.0.19", Step: "a step with a name that is long", State: runtime.Started})
	want := `10.0.0.19  deliver  a step wi…
10.0.0.0   deliver  waits
10.0.0.1   deliver  waits
and 17 more hosts`
	if diff := cmp.Diff(strings.ReplaceAll(want, "step wi…", "step w…"), screen()); diff != "" {
		t.Error(diff)
	}
}

func TestTableFollowsATerminalThatBecomesNarrower(t *testing.T) {
	r, c, screen := drawnOn(60, 24)
	r.say("before")
	for _, host := range []string{"10.0.0.1", "10.0.0.2"} {
		r.step(runtime.Event{Phase: "deliver", Host: host, Step: "a step with a name that is long", State: runtime.Started})
	}
	c.now = c.now.Add(time.Second)
	r.table.draw()
	// the terminal shows each of the two lines as two now, the cursor below them
	fmt.Fprint(r.w, "\x1b[2A\x1b[J10.0.0.1  deliver  a step with\n a name that is long\n10.0.0.2  deliver  a step with\n a name that is long\n")
	r.table.size = func() (int, int) { return 30, 24 }
	c.now = c.now.Add(time.Second)
	r.table.draw()
	if diff := cmp.Diff("before\n10.0.0.1  deliver  a step wi…\n10.0.0.2  deliver  a step wi…", screen()); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalWithoutUnicodeGetsNone(t *testing.T) {
	r, c, screen := drawnOn(60, 6)
	r.ascii, r.table.ascii = true, true
	r.step(runtime.Event{Phase: "deliver", Host: "10.0.0.1", Step: "a step → with a name that is long", State: runtime.Started})
	c.now = c.now.Add(time.Second)
	r.step(runtime.Event{Host: "10.0.0.1", State: runtime.Warned, Step: "a ⟨token⟩ …", Note: "x\x1b[2Jy\r\nz"})
	for _, c := range screen() {
		if c > 126 && c != '\uFFFD' {
			t.Errorf("%q in\n%s", c, screen())
		}
	}
	if !strings.Contains(screen(), "a <token> ...  x\uFFFD[2Jy\nz") {
		t.Error(screen())
	}
}

func TestLocaleSaysWhetherThereIsUnicode(t *testing.T) {
	for vars, want := range map[[3]string]bool{
		{"", "", "en_US.UTF-8"}: true, {"", "", "C.utf8"}: true, {"C", "en_US.UTF-8", "en_US.UTF-8"}: false, {"", "de_DE@euro", "en_US.UTF-8"}: false, {}: false,
	} {
		env := &environment{getenv: func(name string) string {
			return map[string]string{"LC_ALL": vars[0], "LC_CTYPE": vars[1], "LANG": vars[2]}[name]
		}}
		if env.unicode() != want {
			t.Errorf("%q: %v", vars, !want)
		}
	}
}
