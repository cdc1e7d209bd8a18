package host_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// both runs a test on this machine and over SSH: callers must not be able to tell.
func both(t *testing.T, test func(*testing.T, host.Host)) {
	t.Run("local", func(t *testing.T) { test(t, &host.Local{}) })
	t.Run("ssh", func(t *testing.T) { test(t, connected(t, hosttest.ServerOptions{}, nil).ssh) })
}

func TestRunTellsHowTheCommandEnded(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		tests := []struct {
			argv   []string
			code   int
			stderr string
		}{
			{[]string{"true"}, 0, ""},
			{[]string{"sh", "-c", "echo first >&2; echo last >&2; exit 7"}, 7, "first\nlast\n"},
			{[]string{"sh", "-c", "kill -TERM $$"}, 143, ""},
			{[]string{"no-such-program-here"}, 127, "no-such-program-here"},
			{[]string{"/etc/passwd"}, 126, "ermission denied"},
		}
		for _, tt := range tests {
			err := h.Run(t.Context(), host.Command{Argv: tt.argv})
			var exit *host.ExitError
			if !errors.As(err, &exit) {
				if err != nil || tt.code != 0 {
					t.Errorf("%q: got %v", tt.argv, err)
				}
				continue
			}
			if exit.Code != tt.code || !strings.Contains(exit.Stderr, tt.stderr) || exit.Host != h.Name() {
				t.Errorf("%q: got %+v", tt.argv, exit)
			}
		}
	})
}

func TestRunPassesEnvironmentAndInputAsTheyAre(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		var out, errOut bytes.Buffer
		err := h.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", `printf '%s|' "$A" "$B"; cat; echo story >&2`},
			Env: []string{"A=it's $HOME", "B="}, Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errOut})
		if err != nil || out.String() != "it's $HOME||input" || errOut.String() != "story\n" {
			t.Errorf("got %q %q %v", out.String(), errOut.String(), err)
		}
	})
}

func TestRunStreamsMuchInputAndOutput(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		in := bytes.Repeat([]byte("sealrt\n"), 1<<20)
		var out bytes.Buffer
		if err := h.Run(t.Context(), host.Command{Argv: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(in, out.Bytes()) {
			t.Errorf("got %d bytes, want %d", out.Len(), len(in))
		}
	})
}

func TestRunTakesOneWriterForBothOutputs(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		var out bytes.Buffer // not safe for two at once, which -race would tell
		err := h.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo out; echo err >&2; done"}, Stdout: &out, Stderr: &out})
		if err != nil || strings.Count(out.String(), "out\n") != 8 || strings.Count(out.String(), "err\n") != 8 {
			t.Errorf("got %q %v", out.String(), err)
		}
	})
}

func TestExitErrorKeepsTheEndOfALongStory(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		err := h.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"}})
		var exit *host.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if len(exit.Stderr) > 4<<10 || !strings.HasPrefix(exit.Stderr, "line 1") || !strings.HasSuffix(exit.Stderr, "line 1999\n") {
			t.Errorf("kept %d bytes: %.20q...", len(exit.Stderr), exit.Stderr)
		}
		if text := err.Error(); !strings.Contains(text, "exit status 1\n    line 1988\n") || !strings.HasSuffix(text, "\n    line 1999") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRunEndsTheCommandWithTheContext(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pid := pidWriter{started: make(chan string, 1)}
		go func() {
			id := <-pid.started
			cancel()
			pid.started <- id
		}()
		err := h.Run(ctx, host.Command{Argv: []string{"sh", "-c", "echo $$; exec sleep 600"}, Stdout: &pid})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if id := <-pid.started; processLives(t, id) {
			t.Errorf("process %s outlived its Run", id)
		}
		if err := h.Run(ctx, host.Command{Argv: []string{"true"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of ctx: got %v", err)
		}
		if err := h.Run(t.Context(), host.Command{Argv: []string{"true"}}); err != nil {
			t.Errorf("the host is of no use any more: %v", err)
		}
	})
}

func TestRunReportsInputThatCannotBeRead(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		in := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("bad disk")))
		err := h.Run(t.Context(), host.Command{Argv: []string{"cat"}, Stdin: in})
		if err == nil || !strings.Contains(err.Error(), "bad disk") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRunDoesNotWaitForInputThatNobodyReads(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		r, w := io.Pipe()
		defer w.Close()
		if err := h.Run(t.Context(), host.Command{Argv: []string{"true"}, Stdin: r}); err != nil {
			t.Error(err)
		}
	})
}

func TestRunRefusesWhatCannotBePassedOn(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		for _, c := range []host.Command{{}, {Argv: []string{""}}, {Argv: []string{"a\x00"}}, {Argv: []string{"a"}, Env: []string{"b"}}, {Argv: []string{"a"}, Env: []string{"-i=b"}}} {
			var exit *host.ExitError
			if err := h.Run(t.Context(), c); err == nil || errors.As(err, &exit) {
				t.Errorf("%q: got %v", c, err)
			}
		}
	})
}
