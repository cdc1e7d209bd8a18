package host

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPromptIsFoundHoweverItIsCut(t *testing.T) {
	const prompt = "[p1] password: "
	talk := "lecture [p1\n" + prompt + "story [p1] pass\n" + "rest [p1]"
	for size := 1; size <= len(talk); size++ {
		var out bytes.Buffer
		seen := 0
		w := &promptWriter{next: &out, prompt: []byte(prompt), onSeen: func(times int) { seen = times }}
		for rest := []byte(talk); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != "story [p1] pass\nrest [p1]" || seen != 1 {
			t.Errorf("in pieces of %d: seen %d, got %q", size, seen, out.String())
		}
	}
}

func TestTalkWithoutPromptIsPassedOn(t *testing.T) {
	var out bytes.Buffer
	w := &promptWriter{next: &out, prompt: []byte("[p1]"), onSeen: func(int) { t.Error("seen") }}
	_, _ = io.WriteString(w, "sudo: no such thing\n")
	if out.Len() != 0 {
		t.Errorf("passed on before the end: %q", out.String())
	}
	_ = w.flush()
	if out.String() != "sudo: no such thing\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestGateGivesNothingBeforeItIsOpenedAndNothingOnceClosed(t *testing.T) {
	shut := newGate("secret", strings.NewReader("data"))
	shut.close()
	if b, err := io.ReadAll(shut); len(b) != 0 || err != nil {
		t.Errorf("never opened: got %q %v", b, err)
	}
	g := newGate("secret", strings.NewReader("data"))
	g.open()
	g.open()
	p := make([]byte, 7)
	if _, err := io.ReadFull(g, p); err != nil || string(p) != "secret\n" {
		t.Errorf("got %q %v", p, err)
	}
	g.close() // the password was refused: the data must not become passwords
	if b, err := io.ReadAll(g); len(b) != 0 || err != nil {
		t.Errorf("closed: got %q %v", b, err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	for _, size := range []int{1, 7, 1000, tailSize, tailSize + 1, 3 * tailSize} {
		var all []byte
		w := &tailWriter{}
		for i := range 5 {
			p := bytes.Repeat([]byte{byte('a' + i)}, size)
			all = append(all, p...)
			if n, err := w.Write(p); n != size || err != nil {
				t.Fatal(n, err)
			}
		}
		if diff := cmp.Diff(string(all[max(0, len(all)-tailSize):]), w.String()); diff != "" {
			t.Errorf("writes of %d (-want +got):\n%s", size, diff)
		}
	}
}

// askingOtherwise is a sudo that knows a password is needed but asks for something in its own words.
func askingOtherwise(ctx context.Context, p process) (int, error) {
	if strings.Contains(strings.Join(p.argv, " "), " -S ") {
		_, _ = io.WriteString(p.stderr, "Verification code: ")
		<-ctx.Done()
		return 0, ctx.Err()
	}
	_, _ = io.WriteString(p.stderr, "sudo: a password is required\n")
	return 1, nil
}

func TestSudoThatAsksInItsOwnWayIsNotWaitedForForEver(t *testing.T) {
	b, err := newBecomer("sudo", "a", "ops", func() (string, error) { return "s3cret", nil }, askingOtherwise)
	if err != nil {
		t.Fatal(err)
	}
	b.patience = 20 * time.Millisecond
	err = b.run(t.Context(), Command{Argv: []string{"true"}})
	if err == nil || !strings.Contains(err.Error(), "did not answer or ask for a password") {
		t.Errorf("got %v", err)
	}
}

func TestPasswordRefusedLaterSendsNoDataAsPasswords(t *testing.T) {
	first := true
	var fed string
	b, err := newBecomer("sudo", "a", "ops", func() (string, error) { return "s3cret", nil }, func(_ context.Context, p process) (int, error) {
		line := strings.Join(p.argv, " ")
		if !strings.Contains(line, " -S ") {
			_, _ = io.WriteString(p.stderr, "sudo: a password is required\n")
			return 1, nil
		}
		_, after, _ := strings.Cut(line, "-p ")
		prompt, _, _ := strings.Cut(after, " --")
		_, _ = io.WriteString(p.stderr, prompt)
		p1 := make([]byte, 7)
		_, _ = io.ReadFull(p.stdin, p1)
		if first {
			first = false
			return 0, nil
		}
		_, _ = io.WriteString(p.stderr, "Sorry, try again.\n"+prompt)
		rest, _ := io.ReadAll(p.stdin)
		fed = string(rest)
		return 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = b.run(t.Context(), Command{Argv: []string{"cat"}, Stdin: strings.NewReader("data")})
	if err == nil || !strings.Contains(err.Error(), "did not accept the password") || fed != "" {
		t.Errorf("got %v, and sudo was fed %q", err, fed)
	}
}

func TestPasswordIsNotSentWhereNobodyAskedForIt(t *testing.T) {
	fed := make(chan byte, 64)
	b, err := newBecomer("sudo", "a", "ops", nil, func(_ context.Context, p process) (int, error) {
		go func() {
			defer close(fed)
			one := make([]byte, 1)
			for {
				if _, err := p.stdin.Read(one); err != nil {
					return
				}
				fed <- one[0]
			}
		}()
		_, _ = io.WriteString(p.stderr, "done without a password\n")
		select {
		case c := <-fed:
			t.Errorf("fed %q and more", c)
		case <-time.After(50 * time.Millisecond): // nothing is to come: there is nothing to wait for
		}
		return 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.known, b.asks, b.secret = true, true, "s3cret" // sudo asked before, and no longer does
	var errOut bytes.Buffer
	if err := b.run(t.Context(), Command{Argv: []string{"cat"}, Stdin: strings.NewReader("data"), Stderr: &errOut}); err != nil {
		t.Fatal(err)
	}
	if c, ok := <-fed; ok {
		t.Errorf("fed %q at the end", c)
	}
	if errOut.String() != "done without a password\n" {
		t.Errorf("standard error %q", errOut.String())
	}
}
