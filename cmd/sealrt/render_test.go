package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// story is a transfer, a step and what a program printed.
func story(r *renderer) {
	h := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
	e := artifact.Event{Kind: artifact.EventStarted, Ref: "k3s:v1", Digest: h, Name: "layer", Size: 2 << 20}
	r.artifact(e)
	for i := range int64(4) {
		e.Kind, e.Done = artifact.EventProgress, (i+1)<<19
		r.artifact(e)
	}
	e.Kind, e.Done = artifact.EventDone, 0
	r.artifact(e)
	e.Kind = artifact.EventExists
	r.artifact(e)
	r.artifact(artifact.Event{Kind: artifact.EventNote, Name: "a sentence"})
	r.say("a line")
	r.step(runtime.Event{Phase: "install", Host: "a", Step: "service k3s", Does: "enable and start k3s", State: runtime.Started})
	r.step(runtime.Event{Phase: "install", Host: "a", Step: "service k3s", State: runtime.Done, Took: 1200 * time.Millisecond})
	r.step(runtime.Event{Host: "b", Step: "stop k3s", State: runtime.Tolerated, Err: errors.New("gone")})
	r.finish()
	r.failure("all is lost")
}

func TestRenderer(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	const blob = "k3s:v1  layer  abababababab  2.0 MiB"
	const steps = "a  service k3s  1.2s\nb  stop k3s  failed, which does not matter here: gone\n"
	tests := []struct {
		mode    string
		verbose bool
		want    string
	}{
		{"plain", false, blob + "\na sentence\na line\n" + steps + "sealrt: all is lost\n"},
		{"plain", true, blob + "\n" + blob + "  exists\na sentence\na line\na  enable and start k3s\n" + steps + "sealrt: all is lost\n"},
		{"quiet", false, "sealrt: all is lost\n"},
		{"quiet-json", false, `{"event":"error","message":"all is lost"}` + "\n"},
		{"json", false, `{"event":"started","ref":"k3s:v1","digest":"` + digest + `","name":"layer","size":2097152}
{"event":"progress","ref":"k3s:v1","digest":"` + digest + `","name":"layer","size":2097152,"done":524288}
{"event":"done","ref":"k3s:v1","digest":"` + digest + `","name":"layer","size":2097152}
{"event":"exists","ref":"k3s:v1","digest":"` + digest + `","name":"layer","size":2097152}
{"event":"note","message":"a sentence"}
{"event":"step","state":"started","phase":"install","host":"a","step":"service k3s","does":"enable and start k3s"}
{"event":"step","state":"done","phase":"install","host":"a","step":"service k3s","seconds":1.2}
{"event":"step","state":"tolerated","host":"b","step":"stop k3s","error":"gone"}
{"event":"error","message":"all is lost"}
`},
		{"tty", false, "0 blobs done, 1 under way: 0 B of 2.0 MiB\r\x1b[K" + blob + "\na sentence\na line\n" +
			"a  install  service k3s\x1b[K\n\x1b[J\x1b[1A\r\x1b[Jb  stop k3s  failed, which does not matter here: gone\na  install  waits\x1b[K\nb    waits\x1b[K\n\x1b[J" +
			"\x1b[2A\r\x1b[Ja  1 step  0s\nb  1 step  0s\nsealrt: all is lost\n"},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			var b bytes.Buffer
			r := newRenderer(&b, tt.mode, tt.verbose)
			r.now = func() time.Time { return time.Unix(1700000000, 0) }
			story(r)
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// blocked is standard input whose other end says nothing.
type blocked struct{ reading chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	close(b.reading)
	select {}
}

func TestInterruptedWhileWaitingForInput(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := blocked{make(chan struct{})}
	go func() {
		<-in.reading
		cancel()
	}()
	var stdout, stderr bytes.Buffer
	env := newEnvironment()
	env.stdin, env.stdout, env.stderr = in, &stdout, &stderr
	code := execute(ctx, env, []string{"--root", t.TempDir(), "load", "-"})
	if code != exitFailed || !strings.HasPrefix(stderr.String(), "sealrt: interrupted") || stdout.Len() > 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
}

func TestRootOfTheStore(t *testing.T) {
	tests := []struct {
		name string
		env  environment
		vars string
		want string
	}{
		{"flag first", environment{root: "/flag"}, "/variable", "/flag"},
		{"then the variable", environment{}, "/variable", "/variable"},
		{"root's", environment{}, "", "/var/lib/sealrt"},
		{"a user's", environment{uid: 1000, home: "/home/me"}, "", "/home/me/.local/share/sealrt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.env.getenv = func(string) string { return tt.vars }
			got, err := tt.env.storeRoot()
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	homeless := environment{uid: 1000, getenv: func(string) string { return "" }}
	if dir, err := homeless.storeRoot(); err == nil {
		t.Errorf("no home gives %q", dir)
	}
}

func TestLongStepsAreSpokenOfWhileTheyRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		r := newRenderer(&out, "plain", false)
		event := runtime.Event{Host: "a", Step: "kubeadm init", State: runtime.Started}
		r.step(event)
		r.step(runtime.Event{Host: "b", Step: "quick", State: runtime.Started})
		time.Sleep(time.Second)
		r.step(runtime.Event{Host: "b", Step: "quick", State: runtime.Done, Took: time.Second})
		time.Sleep(20 * time.Second)
		event.State, event.Took = runtime.Done, 21*time.Second
		r.step(event)
		r.finish()
		if want := "b  quick  1.0s\na  kubeadm init  …\na  kubeadm init  21.0s\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}
