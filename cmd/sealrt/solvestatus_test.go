package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
)

// statusText writes s down.
func statusText(s *client.SolveStatus, began time.Time) string {
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return fmt.Sprint(t.Sub(began).Seconds())
	}
	var words []string
	for _, v := range s.Vertexes {
		words = append(words, fmt.Sprintf("vertex %s %q %s..%s cached=%t %s", v.Digest, v.Name, at(v.Started), at(v.Completed), v.Cached, v.Error))
	}
	for _, i := range s.Statuses {
		words = append(words, fmt.Sprintf("item %s of %s %d/%d %s..%s", i.ID, i.Vertex, i.Current, i.Total, at(i.Started), at(i.Completed)))
	}
	for _, l := range s.Logs {
		words = append(words, fmt.Sprintf("log %s %q", l.Vertex, l.Data))
	}
	for _, w := range s.Warnings {
		words = append(words, fmt.Sprintf("warning %s %q", w.Vertex, w.Short))
	}
	return strings.TrimSpace(strings.Join(words, "\n"))
}

func TestBuildInTheWordsOfBuildKit(t *testing.T) {
	began := newClock().now
	h := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
	blob := artifact.Event{Kind: artifact.EventStarted, Ref: "alpine", Digest: h, Name: "layer", Size: 40}
	done := blob
	done.Kind, done.Done = artifact.EventDone, 0
	steps := []struct {
		event builder.Event
		after float64
		want  string
	}{
		{builder.Event{Kind: builder.NodeStarted, ID: 1, Name: "a"}, 0, `vertex node:1 "a" 0..- cached=false`},
		{builder.Event{Kind: builder.NodeOutput, ID: 1, Name: "a", Text: "hi"}, 1, `log node:1 "hi"`},
		{builder.Event{Kind: builder.NodeTransfer, ID: 1, Name: "a", Transfer: blob}, 2, `item layer abababababab of node:1 0/40 2..-`},
		{builder.Event{Kind: builder.NodeTransfer, ID: 1, Name: "a", Transfer: done}, 3, `item layer abababababab of node:1 40/40 2..3`},
		{builder.Event{Kind: builder.NodeProgress, ID: 1, Name: "a", Item: "write", Done: 1, Total: 9}, 3, `item write of node:1 1/9 3..-`},
		{builder.Event{Kind: builder.NodeProgress, ID: 1, Name: "a", Item: "read", Done: 9, Total: 9}, 4, `item read of node:1 9/9 4..4`},
		{builder.Event{Kind: builder.BuildWarning, ID: 1, Name: "a", Text: "careful"}, 4, `warning node:1 "careful"`},
		{builder.Event{Kind: builder.BuildNote, ID: 7, Name: "g", Text: "of a node that never starts"}, 4, ``},
		{builder.Event{Kind: builder.BuildWarning, Text: "of the build"}, 4, ``},
		{builder.Event{Kind: builder.NodeDone, ID: 1, Name: "a", Took: 5 * time.Second}, 5,
			"vertex node:1 \"a\" 0..5 cached=false \nitem write of node:1 1/9 3..5"},
		{builder.Event{Kind: builder.NodeDone, ID: 2, Name: "never started", Took: time.Second, Cached: true}, 6,
			"vertex node:2 \"never started\" 5..- cached=false \nvertex node:2 \"never started\" 5..6 cached=true"},
		{builder.Event{Kind: builder.NodeStarted, ID: 3, Name: "c"}, 6, `vertex node:3 "c" 6..- cached=false`},
		{builder.Event{Kind: builder.NodeFailed, ID: 3, Name: "c", Took: time.Second, Err: errors.New("exit 9")}, 7, `vertex node:3 "c" 6..7 cached=false exit 9`},
		{builder.Event{Kind: builder.NodeFailed, ID: 4, Name: "d", Err: fmt.Errorf("run: %w", context.Canceled)}, 7,
			"vertex node:4 \"d\" 7..- cached=false \nvertex node:4 \"d\" 7..7 cached=false context canceled"},
	}
	tr := newSolveTranslation()
	var kept []*client.SolveStatus
	var texts []string
	for i, s := range steps {
		s.event.Time = began.Add(time.Duration(s.after * float64(time.Second)))
		got := ""
		if status := tr.build(s.event); status != nil {
			got = statusText(status, began)
			kept, texts = append(kept, status), append(texts, got)
		}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("event %d: %s", i, diff)
		}
	}
	for i, status := range kept { // by the display, which reads them while more is told
		if diff := cmp.Diff(texts[i], statusText(status, began)); diff != "" {
			t.Errorf("what was told has changed: %s", diff)
		}
	}
	blob.Ref = "r/k3s:1"
	if got, want := statusText(tr.push(blob, began), began), "vertex push:r/k3s:1 \"push r/k3s:1\" 0..- cached=false \nitem layer abababababab of push:r/k3s:1 0/40 0..-"; got != want {
		t.Errorf("an upload is %q", got)
	}
	if got, want := statusText(tr.finish(began.Add(time.Second)), began), "vertex push:r/k3s:1 \"push r/k3s:1\" 0..1 cached=false \nitem layer abababababab of push:r/k3s:1 0/40 0..1"; got != want {
		t.Errorf("its end is %q", got)
	}
}

func TestManyItemsOfANodeAreShownAsOne(t *testing.T) {
	began := newClock().now
	tr := newSolveTranslation()
	tell := func(i int, done int64) string {
		return statusText(tr.build(builder.Event{Kind: builder.NodeProgress, ID: 1, Name: "a", Item: fmt.Sprint("item ", i), Done: done, Total: 10, Time: began}), began)
	}
	for i := range maxItems {
		if got, want := tell(i, 10), fmt.Sprintf("item item %d of node:1 10/10 0..0", i); !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, tt := range []struct {
		item int
		done int64
		want string
	}{{100, 1, "1/10"}, {101, 2, "3/20"}, {100, 10, "12/20"}, {101, 10, "20/20"}, {102, 0, "20/30"}} {
		if got, want := tell(tt.item, tt.done), "item others of node:1 "+tt.want+" 0..-"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	done := tr.build(builder.Event{Kind: builder.NodeDone, ID: 1, Name: "a", Time: began.Add(time.Second)})
	if got := statusText(done, began); !strings.HasSuffix(got, "item others of node:1 20/30 0..1") {
		t.Errorf("at the end: %q", got)
	}
}
