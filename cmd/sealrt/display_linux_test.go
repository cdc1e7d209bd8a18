package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/builder"
)

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
)

// terminal is a terminal of 100 columns and what was written to it.
type terminal struct {
	*os.File
	shown chan string
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here; TestBuildInTheWordsOfBuildKit looks at what would be shown: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(side.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	term := &terminal{side, make(chan string, 1)}
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, master) // its end is an EIO, once the other side is closed
		term.shown <- strings.ReplaceAll(b.String(), "\r\n", "\n")
	}()
	t.Cleanup(func() {
		side.Close()
		master.Close()
	})
	return term
}

// read returns what was written to the terminal, which is closed.
func (t *terminal) read() string {
	t.Close()
	return <-t.shown
}

// onTerminal tells a story on a terminal and returns what is there, and the
// terminal's settings before and after.
func onTerminal(t *testing.T, ctx context.Context, err error, tell func(p *buildProgress, at time.Time)) (string, error) {
	t.Helper()
	term := newTerminal(t)
	before, termErr := unix.IoctlGetTermios(int(term.Fd()), unix.TCGETS)
	if termErr != nil {
		t.Fatal(termErr)
	}
	r := newRenderer(term, "tty", false)
	p := newBuildProgress(ctx, r)
	if _, ok := p.display.(*terminalDisplay); !ok {
		t.Fatalf("the display is %T", p.display)
	}
	tell(p, r.now())
	err = p.end(err)
	r.finish()
	after, termErr := unix.IoctlGetTermios(int(term.Fd()), unix.TCGETS)
	if termErr != nil {
		t.Fatal(termErr)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the terminal's settings have changed: %s", diff)
	}
	out := term.read()
	if strings.LastIndex(out, hideCursor) > strings.LastIndex(out, showCursor) {
		t.Errorf("the cursor stays hidden: %q", out)
	}
	return out, err
}

func TestBuildOnATerminal(t *testing.T) {
	out, err := onTerminal(t, t.Context(), nil, func(p *buildProgress, at time.Time) {
		p.observe(builder.Event{Kind: builder.BuildNote, Text: "of the build", Time: at})
		p.observe(builder.Event{Kind: builder.NodeStarted, ID: 1, Name: makeNode, Time: at})
		p.observe(builder.Event{Kind: builder.BuildWarning, ID: 1, Name: makeNode, Text: "no checksum", Time: at})
		p.observe(builder.Event{Kind: builder.BuildNote, ID: 1, Name: makeNode, Text: "nothing changed", Time: at})
		p.observe(builder.Event{Kind: builder.NodeDone, ID: 1, Name: makeNode, Time: at, Took: time.Minute})
		p.began = at.Add(-time.Minute)
	})
	if err != nil || !strings.Contains(out, "FINISHED") || !strings.Contains(out, "=> "+makeNode) {
		t.Errorf("got %v, %q", err, out)
	}
	_, last, _ := strings.Cut(out, "FINISHED")
	_, last, _ = strings.Cut(last, showCursor)
	want := "of the build\n[linux/amd64 2/2]  warning: no checksum\n[linux/amd64 2/2]  nothing changed\n"
	if !strings.HasPrefix(last, want) || !strings.Contains(last, "the slowest steps:\n   60.0s  "+makeNode) {
		t.Errorf("after the display comes %q", last)
	}
}

func TestFailedBuildOnATerminal(t *testing.T) {
	failure := errors.New("exit code 9")
	out, err := onTerminal(t, t.Context(), failure, func(p *buildProgress, at time.Time) {
		p.observe(builder.Event{Kind: builder.NodeStarted, ID: 1, Name: copyNode, Time: at})
		p.observe(builder.Event{Kind: builder.NodeStarted, ID: 2, Name: makeNode, Time: at})
		p.observe(builder.Event{Kind: builder.NodeOutput, ID: 2, Name: makeNode, Text: "no such luck\n", Time: at})
		p.observe(builder.Event{Kind: builder.NodeFailed, ID: 1, Name: copyNode, Err: context.Canceled, Time: at})
		p.observe(builder.Event{Kind: builder.NodeFailed, ID: 2, Name: makeNode, Err: failure, Time: at})
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	_, last, found := strings.Cut(out, "------\n > "+makeNode+":\n")
	if !found || !strings.Contains(last, "no such luck") || !strings.Contains(out, "CANCELED "+copyNode) {
		t.Errorf("got %q", out)
	}
}

func TestInterruptedBuildLeavesTheTerminalAsItWas(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	out, err := onTerminal(t, ctx, context.Canceled, func(p *buildProgress, at time.Time) {
		p.observe(builder.Event{Kind: builder.NodeStarted, ID: 1, Name: makeNode, Time: at})
		interrupt()
		<-p.display.(*terminalDisplay).ended // at once, while the build is still going down
		p.observe(builder.Event{Kind: builder.BuildWarning, ID: 1, Name: makeNode, Text: "something is left", Time: at})
		p.observe(builder.Event{Kind: builder.NodeFailed, ID: 1, Name: makeNode, Err: context.Canceled, Time: at})
	})
	if !errors.Is(err, context.Canceled) || !strings.HasSuffix(out, "[linux/amd64 2/2]  warning: something is left\n") {
		t.Errorf("got %v, %q", err, out)
	}
}

func TestTerminalWhereNoneIsHasLines(t *testing.T) {
	out, err := told(t, "tty", nil, builder.Event{Kind: builder.NodeStarted, ID: 1, Name: makeNode})
	if err != nil || out != makeNode+"\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
