package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/kubefile"
)

// task is one piece of work that the user can follow.
type task struct {
	b     *build
	id    int
	name  string
	began time.Time

	mu    sync.Mutex
	open  int  // parts that are not done
	busy  bool // something had to be done
	ended bool
}

// task begins the work on an instruction.
func (s *stage) task(place string, i kubefile.Instruction) *task {
	if s.several {
		place = s.target.String() + " " + place
	}
	if s.source != nil && len(s.File.Stages) > 1 {
		name := s.source.From.As
		if name == "" {
			name = fmt.Sprintf("stage-%d", s.index)
		}
		place = name + " " + place
	}
	return s.newTask("[" + place + "] " + shorten(firstLine(discreet(i.String()))))
}

// newTask begins a piece of work of that name.
func (b *build) newTask(name string) *task {
	b.mu.Lock()
	b.tasks++
	t := &task{b: b, id: b.tasks, name: name, began: b.Now(), open: 1}
	b.mu.Unlock()
	t.tell(Event{Kind: NodeStarted})
	return t
}

// tell sends an event about the node.
func (t *task) tell(e Event) {
	e.ID, e.Name = t.id, t.name
	t.b.tell(e)
}

// tell sends an event.
func (b *build) tell(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Time = b.Now()
	b.Observe(e)
}

// since is the time from then on. The clock is asked for one thing at a time.
func (b *build) since(then time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Now().Sub(then)
}

// note tells the user a sentence.
func (b *build) note(text string) { b.tell(Event{Kind: BuildNote, Text: text}) }

func (t *task) note(format string, args ...any) {
	t.tell(Event{Kind: BuildNote, Text: fmt.Sprintf(format, args...)})
}

// transfer passes on news about a blob.
func (t *task) transfer(e artifact.Event) {
	t.work()
	if e.Kind == artifact.EventNote {
		t.note("%s", e.Name)
		return
	}
	t.tell(Event{Kind: NodeTransfer, Transfer: e})
}

// progress tells how far the work on item is, in bytes.
func (t *task) progress(item string, done, total int64) {
	t.tell(Event{Kind: NodeProgress, Item: item, Done: done, Total: total})
}

// work remembers that not everything was there already.
func (t *task) work() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = true
}

// part adds a part that goes on when the step is done. The node is done when all parts are.
func (t *task) part() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open++
}

// done ends a part of the node.
func (t *task) done() {
	t.mu.Lock()
	t.open--
	last, cached := t.open == 0 && !t.ended, !t.busy
	t.ended = t.ended || last
	t.mu.Unlock()
	if last {
		t.tell(Event{Kind: NodeDone, Cached: cached, Took: t.b.since(t.began)})
	}
}

// fail ends the node. One that ends because another failed is canceled.
func (t *task) fail(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) && !errors.Is(err, context.Canceled) {
		err = context.Canceled
	}
	t.mu.Lock()
	first := !t.ended
	t.ended = true
	t.mu.Unlock()
	if first {
		t.tell(Event{Kind: NodeFailed, Err: err, Took: t.b.since(t.began)})
	}
}

// output returns a writer for what a command prints.
func (t *task) output() io.Writer { return taskOutput{t} }

type taskOutput struct{ t *task }

// Write implements io.Writer.
func (o taskOutput) Write(p []byte) (int, error) {
	o.t.tell(Event{Kind: NodeOutput, Text: string(p)})
	return len(p), nil
}
