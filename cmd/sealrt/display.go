package main

import (
	"context"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
)

// terminalDisplay shows a build on a terminal as BuildKit does. It draws the
// whole picture again and again, so that nothing else may be printed before it
// ends: notes and warnings come after it.
type terminalDisplay struct {
	r     *renderer
	t     *solveTranslation
	later []func()
	start func() // drawing, at the first news
	news  chan *client.SolveStatus
	ended chan struct{} // closed when nothing is drawn any more
	drawn bool
}

// newTerminalDisplay returns the display; it is an error if the story is not
// told on a terminal. An end of ctx ends the drawing at once, with the cursor
// where it belongs: whoever presses Ctrl-C a second time ends the process.
func newTerminalDisplay(ctx context.Context, r *renderer) (*terminalDisplay, error) {
	ui, err := progressui.NewDisplay(r.w, progressui.TtyMode)
	if err != nil {
		return nil, err
	}
	d := &terminalDisplay{r: r, t: newSolveTranslation(), news: make(chan *client.SolveStatus), ended: make(chan struct{})}
	d.start = sync.OnceFunc(func() {
		d.drawn = true
		go func() {
			defer close(d.ended)
			_, _ = ui.UpdateFrom(ctx, d.news) // its error is that of ctx, its warnings are told in full later
		}()
	})
	return d, nil
}

func (d *terminalDisplay) build(e builder.Event) {
	d.show(d.t.build(e))
	switch e.Kind {
	case builder.BuildNote, builder.BuildWarning:
		d.later = append(d.later, func() { d.r.say(noteText(e)) })
	case builder.NodeTransfer:
		d.keep(e.Transfer)
	}
}

func (d *terminalDisplay) push(e artifact.Event) { d.show(d.t.push(e, d.r.now())) }

// keep keeps what a transfer says in words.
func (d *terminalDisplay) keep(e artifact.Event) {
	switch e.Kind {
	case artifact.EventNote, artifact.EventSkipped, artifact.EventTagged:
		d.later = append(d.later, func() { d.r.artifact(e) })
	}
}

// show passes s to what draws, unless that has ended.
func (d *terminalDisplay) show(s *client.SolveStatus) {
	if s == nil {
		return
	}
	d.start()
	select {
	case d.news <- s:
	case <-d.ended:
	}
}

func (d *terminalDisplay) close() {
	if d.drawn {
		d.show(d.t.finish(d.r.now()))
		close(d.news)
		<-d.ended
	}
	for _, tell := range d.later {
		tell()
	}
}
