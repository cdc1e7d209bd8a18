package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
)

// buildDisplay shows a build to somebody. Its methods are called one at a time.
type buildDisplay interface {
	// build shows a piece of news; its Time is set.
	build(e builder.Event)
	// push shows an upload that goes on meanwhile.
	push(e artifact.Event)
	// close ends the display; what it kept for later is told now.
	close()
}

// buildProgress follows a build: it passes the news on to what displays them,
// and remembers which nodes took how long, and what commands said at last.
type buildProgress struct {
	r     *renderer
	began time.Time

	mu      sync.Mutex
	display buildDisplay // nil: nobody listens
	took    []nodeTime
	said    map[int]*lastOutput // by node, while nobody listens
	failed  *lastOutput         // of the node that failed first
}

// newBuildProgress begins to follow a build, which ctx ends.
func newBuildProgress(ctx context.Context, r *renderer) *buildProgress {
	p := &buildProgress{r: r, began: r.now(), said: map[int]*lastOutput{}}
	switch r.mode {
	case "json":
		p.display = newJSONDisplay(r)
	case "plain":
		p.display = newLineDisplay(r)
	case "tty":
		if d, err := newTerminalDisplay(ctx, r); err == nil {
			p.display = d
		} else {
			p.display = newLineDisplay(r) // asked for, and there is none
		}
	}
	return p
}

// observe is told of a build.
func (p *buildProgress) observe(e builder.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = p.r.now()
	}
	switch e.Kind {
	case builder.NodeOutput:
		p.hear(e)
	case builder.NodeDone:
		delete(p.said, e.ID)
		p.took = append(p.took, nodeTime{e.ID, e.Name, e.Took})
	case builder.NodeFailed:
		if p.failed == nil && !canceled(e.Err) {
			p.failed = p.said[e.ID]
		}
		delete(p.said, e.ID)
	}
	if p.display != nil {
		p.display.build(e)
	}
}

// hear keeps what a command says if it is not shown.
func (p *buildProgress) hear(e builder.Event) {
	if p.display != nil {
		return
	}
	if p.said[e.ID] == nil {
		p.said[e.ID] = &lastOutput{}
	}
	p.said[e.ID].add(e.Text)
}

// upload is told of layers that are sent while others are made.
func (p *buildProgress) upload(e artifact.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.display != nil {
		p.display.push(e)
	}
}

// end closes the display. It returns the error of the build, with what the
// command said that failed if nobody has seen that; after a build without
// error it names the slowest nodes.
func (p *buildProgress) end(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.display != nil {
		p.display.close()
	}
	if err != nil {
		if p.failed != nil {
			return p.failed.explain(err)
		}
		return err
	}
	tellSlowest(p.r, p.took, p.r.now().Sub(p.began))
	return nil
}

// canceled reports whether an error says no more than that others failed, or
// that the user gave up.
func canceled(err error) bool { return errors.Is(err, context.Canceled) }

// nodeLabel returns the part of a node's name that tells it from others:
// "[linux/amd64 tools 2/5]" of "[linux/amd64 tools 2/5] RUN make".
func nodeLabel(name string) string {
	if end := strings.Index(name, "]"); strings.HasPrefix(name, "[") && end > 0 {
		return name[:end+1]
	}
	return name
}

// noteText returns the line about a note or warning.
func noteText(e builder.Event) string {
	text := e.Text
	if e.Kind == builder.BuildWarning {
		text = "warning: " + text
	}
	return prefix(nodeLabel(e.Name)) + text
}
