package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// clock is what a story's time is.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Unix(1700000000, 0)} }

// told tells a renderer of a build, and returns what that says. An event's Time
// is how long after the last it comes, in seconds since 1970.
func told(t *testing.T, mode string, err error, events ...builder.Event) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := newClock()
	r := newRenderer(&out, mode, false)
	r.now = func() time.Time { return c.now }
	p := newBuildProgress(t.Context(), r)
	for _, e := range events {
		if !e.Time.IsZero() {
			c.now = c.now.Add(e.Time.Sub(time.Unix(0, 0)))
		}
		e.Time = c.now
		p.observe(e)
	}
	err = p.end(err)
	r.finish()
	return out.String(), err
}

func seconds(n float64) time.Time { return time.Unix(0, int64(n*1e9)) }

const (
	copyNode = "[linux/amd64 1/2] COPY bin bin"
	makeNode = "[linux/amd64 2/2] RUN make"
)

// building is a story of two nodes that run at once.
func buildingStory() []builder.Event {
	h := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
	blob := artifact.Event{Kind: artifact.EventStarted, Ref: "alpine", Digest: h, Name: "layer", Size: 40 << 20}
	half, done := blob, blob
	half.Kind, half.Done = artifact.EventProgress, 20<<20
	done.Kind, done.Done = artifact.EventDone, 40<<20
	return []builder.Event{
		{Kind: builder.BuildNote, Text: "a sentence"},
		{Kind: builder.NodeStarted, ID: 1, Name: copyNode},
		{Kind: builder.NodeOutput, ID: 1, Name: copyNode, Text: "alone\n"},
		{Kind: builder.NodeStarted, ID: 2, Name: makeNode},
		{Kind: builder.NodeTransfer, ID: 2, Name: makeNode, Transfer: blob},
		{Kind: builder.NodeTransfer, ID: 2, Name: makeNode, Transfer: half, Time: seconds(5)},
		{Kind: builder.NodeTransfer, ID: 2, Name: makeNode, Transfer: done, Time: seconds(1)},
		{Kind: builder.NodeOutput, ID: 2, Name: makeNode, Text: "10%\r20%\r\nhalf "},
		{Kind: builder.NodeProgress, ID: 1, Name: copyNode, Item: "write", Done: 1 << 20, Total: 100 << 20},
		{Kind: builder.NodeProgress, ID: 1, Name: copyNode, Item: "write", Done: 61 << 20, Total: 100 << 20, Time: seconds(6)},
		{Kind: builder.NodeProgress, ID: 1, Name: copyNode, Item: "write", Done: 100 << 20, Total: 100 << 20, Time: seconds(1)},
		{Kind: builder.NodeDone, ID: 1, Name: copyNode, Took: 13 * time.Second},
		{Kind: builder.BuildWarning, ID: 2, Name: makeNode, Text: "no checksum"},
		{Kind: builder.NodeOutput, ID: 2, Name: makeNode, Text: "a line"},
		{Kind: builder.NodeDone, ID: 2, Name: makeNode, Took: 13200 * time.Millisecond},
		{Kind: builder.NodeStarted, ID: 3, Name: "[linux/amd64] image"},
		{Kind: builder.NodeDone, ID: 3, Name: "[linux/amd64] image", Cached: true},
	}
}

func TestBuildAsLines(t *testing.T) {
	got, err := told(t, "plain", nil, buildingStory()...)
	want := `a sentence
[linux/amd64 1/2] COPY bin bin
alone
[linux/amd64 2/2] RUN make
[linux/amd64 2/2]  layer abababababab  20.0 MiB of 40.0 MiB  4.0 MiB/s
alpine  layer  abababababab  40.0 MiB
[linux/amd64 2/2] 20%
[linux/amd64 1/2]  write  61.0 MiB of 100.0 MiB  10.2 MiB/s
[linux/amd64 1/2] COPY bin bin  13.0s  100.0 MiB  7.7 MiB/s
[linux/amd64 2/2]  warning: no checksum
half a line
[linux/amd64 2/2] RUN make  13.2s  20.0 MiB  1.5 MiB/s
[linux/amd64] image
[linux/amd64] image  cached
13.0s in all; the slowest steps:
   13.2s  [linux/amd64 2/2] RUN make
   13.0s  [linux/amd64 1/2] COPY bin bin
`
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestBuildAsJSON(t *testing.T) {
	got, err := told(t, "json", nil, buildingStory()...)
	var lines []string
	for line := range strings.Lines(got) {
		for second := range 14 {
			line = strings.ReplaceAll(line, fmt.Sprintf(`,"time":"2023-11-14T22:13:%02dZ"`, 20+second), fmt.Sprintf(" @%d", second))
		}
		lines = append(lines, strings.ReplaceAll(line, strings.Repeat("ab", 32), "ab"))
	}
	want := `{"event":"note" @0,"message":"a sentence"}
{"event":"node","state":"started","node":1,"name":"[linux/amd64 1/2] COPY bin bin" @0}
{"event":"output","node":1,"name":"[linux/amd64 1/2] COPY bin bin" @0,"line":"alone"}
{"event":"node","state":"started","node":2,"name":"[linux/amd64 2/2] RUN make" @0}
{"event":"started","ref":"alpine","digest":"sha256:ab","name":"layer","size":41943040,"node":2}
{"event":"progress","ref":"alpine","digest":"sha256:ab","name":"layer","size":41943040,"done":20971520,"node":2}
{"event":"done","ref":"alpine","digest":"sha256:ab","name":"layer","size":41943040,"done":41943040,"node":2}
{"event":"output","node":2,"name":"[linux/amd64 2/2] RUN make" @6,"line":"20%"}
{"event":"node","state":"progress","node":1,"name":"[linux/amd64 1/2] COPY bin bin" @6,"item":"write","done":1048576,"total":104857600}
{"event":"node","state":"progress","node":1,"name":"[linux/amd64 1/2] COPY bin bin" @12,"item":"write","done":63963136,"total":104857600}
{"event":"node","state":"progress","node":1,"name":"[linux/amd64 1/2] COPY bin bin" @13,"item":"write","done":104857600,"total":104857600}
{"event":"node","state":"done","node":1,"name":"[linux/amd64 1/2] COPY bin bin" @13,"seconds":13}
{"event":"warning","node":2,"name":"[linux/amd64 2/2] RUN make" @13,"message":"no checksum"}
{"event":"output","node":2,"name":"[linux/amd64 2/2] RUN make" @13,"line":"half a line"}
{"event":"node","state":"done","node":2,"name":"[linux/amd64 2/2] RUN make" @13,"seconds":13.2}
{"event":"node","state":"started","node":3,"name":"[linux/amd64] image" @13}
{"event":"node","state":"done","node":3,"name":"[linux/amd64] image" @13,"cached":true}
{"event":"slowest","seconds":13,"nodes":[{"node":2,"name":"[linux/amd64 2/2] RUN make","seconds":13.2},{"node":1,"name":"[linux/amd64 1/2] COPY bin bin","seconds":13}]}
`
	if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestProgressIsNotToldAllTheTime(t *testing.T) {
	for _, mode := range []string{"plain", "json"} {
		events := []builder.Event{{Kind: builder.NodeStarted, ID: 1, Name: copyNode}}
		for i := range int64(2000) {
			events = append(events, builder.Event{Kind: builder.NodeProgress, ID: 1, Name: copyNode, Item: "write", Done: i << 10, Time: seconds(0.01)})
		}
		out, _ := told(t, mode, nil, events...)
		if n := strings.Count(out, "write"); n < 3 || n > 41 {
			t.Errorf("%s: told %d times in 20 s", mode, n)
		}
	}
}

func TestFailedBuild(t *testing.T) {
	failure := fmt.Errorf("Kubefile:2:1: %w", &sandbox.ExitError{Code: 3})
	story := []builder.Event{
		{Kind: builder.NodeStarted, ID: 1, Name: copyNode},
		{Kind: builder.NodeStarted, ID: 2, Name: makeNode},
		{Kind: builder.NodeOutput, ID: 1, Name: copyNode, Text: "of no interest\n"},
		{Kind: builder.NodeOutput, ID: 2, Name: makeNode, Text: "no such luck\n", Time: seconds(60)},
		{Kind: builder.NodeFailed, ID: 1, Name: copyNode, Err: fmt.Errorf("copy: %w", context.Canceled), Took: time.Minute},
		{Kind: builder.NodeFailed, ID: 2, Name: makeNode, Err: failure, Took: time.Minute},
	}
	tests := []struct{ mode, want, wantErr string }{
		{"plain", `[linux/amd64 1/2] COPY bin bin
[linux/amd64 2/2] RUN make
[linux/amd64 1/2] of no interest
[linux/amd64 2/2] no such luck
[linux/amd64 1/2] COPY bin bin  canceled after 60.0s
[linux/amd64 2/2] RUN make  failed after 60.0s
`, failure.Error()},
		{"quiet", "", failure.Error() + "; its last output was\nno such luck"},
		{"quiet-json", "", failure.Error() + "; its last output was\nno such luck"},
	}
	for _, tt := range tests {
		got, err := told(t, tt.mode, failure, story...)
		if got != tt.want || err == nil || err.Error() != tt.wantErr {
			t.Errorf("%s: got %q, %v", tt.mode, got, err)
		}
	}
	if got, err := told(t, "quiet", errors.New("disk full"), story...); got != "" || err.Error() != "disk full" {
		t.Errorf("an error that is none of a command: got %q, %v", got, err)
	}
	if got, _ := told(t, "json", failure, story...); !strings.Contains(got, `"state":"canceled","node":1`) || !strings.Contains(got, `"state":"failed","node":2`) {
		t.Error(got)
	}
}

func TestLastOutputIsBounded(t *testing.T) {
	var l lastOutput
	for range 100 {
		l.add(strings.Repeat("x", 1000))
	}
	l.add(strings.Repeat("y", 5*maxLastOutput) + "end")
	if len(l.text) != maxLastOutput || !bytes.HasSuffix(l.text, []byte("yend")) {
		t.Errorf("%d bytes are kept: %q", len(l.text), l.text)
	}
}

func TestSlowestStepsOfALongBuild(t *testing.T) {
	step := func(id int, took time.Duration) builder.Event {
		return builder.Event{Kind: builder.NodeDone, ID: id, Name: fmt.Sprintf("[%d/5] RUN", id), Took: took, Time: time.Unix(0, 0).Add(took)}
	}
	const long = "101.5s in all; the slowest steps:\n   60.0s  [3/5] RUN\n   30.0s  [1/5] RUN\n   10.0s  [5/5] RUN\n"
	out, _ := told(t, "plain", nil, step(1, 30*time.Second), step(2, time.Second/2), step(3, time.Minute), step(4, time.Second), step(5, 10*time.Second))
	if !strings.HasSuffix(out, long) {
		t.Errorf("got %q", out)
	}
	for name, events := range map[string][]builder.Event{
		"a short build":     {step(1, 2*time.Second)},
		"short steps alone": {step(1, time.Second/2), {Kind: builder.BuildNote, Time: seconds(60)}},
	} {
		if out, _ := told(t, "plain", nil, events...); strings.Contains(out, "slowest") {
			t.Errorf("%s: got %q", name, out)
		}
	}
	if out, _ := told(t, "quiet", nil, step(1, time.Minute)); out != "" {
		t.Errorf("quiet: got %q", out)
	}
	if out, _ := told(t, "plain", errors.New("x"), step(1, time.Minute)); strings.Contains(out, "slowest") {
		t.Errorf("a failed build: got %q", out)
	}
}

func TestUploadsDuringABuildAreTold(t *testing.T) {
	h := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("cd", 32)}
	for mode, want := range map[string]string{
		"plain": "r/k3s:1  layer cdcdcdcdcdcd  50.0 MiB of 100.0 MiB  5.0 MiB/s\nr/k3s:1  layer  cdcdcdcdcdcd  100.0 MiB\n",
		"quiet": "",
	} {
		var out bytes.Buffer
		c := newClock()
		r := newRenderer(&out, mode, false)
		r.now = func() time.Time { return c.now }
		p := newBuildProgress(t.Context(), r)
		e := artifact.Event{Kind: artifact.EventStarted, Ref: "r/k3s:1", Digest: h, Name: "layer", Size: 100 << 20}
		p.upload(e)
		c.now = c.now.Add(10 * time.Second)
		e.Kind, e.Done = artifact.EventProgress, 50<<20
		p.upload(e)
		e.Kind, e.Done = artifact.EventDone, 100<<20
		p.upload(e)
		if err := p.end(nil); err != nil || out.String() != want {
			t.Errorf("%s: got %q, %v", mode, out.String(), err)
		}
	}
}
