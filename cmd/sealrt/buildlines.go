package main

import (
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
)

// lineDisplay shows a build as lines.
type lineDisplay struct {
	r       *renderer
	running map[int]*nodeLines
	sending map[string]*flow // layers, by repository and digest
}

// nodeLines is a node under way.
type nodeLines struct {
	label string
	lines lineBuffer
	flows map[string]*flow
	bytes int64 // of all flows
}

// flow is something whose bytes pass.
type flow struct {
	done     int64
	told     time.Time // when it was spoken of
	toldDone int64
}

func newLineDisplay(r *renderer) *lineDisplay {
	return &lineDisplay{r: r, running: map[int]*nodeLines{}, sending: map[string]*flow{}}
}

func (d *lineDisplay) build(e builder.Event) {
	switch e.Kind {
	case builder.NodeStarted:
		d.node(e)
		d.r.say(e.Name)
	case builder.NodeOutput:
		n := d.node(e)
		d.output(n, n.lines.add(e.Text))
	case builder.NodeProgress:
		d.progress(e, e.Item, e.Done, e.Total)
	case builder.NodeTransfer:
		d.transfer(e)
	case builder.NodeDone, builder.NodeFailed:
		d.end(e)
	case builder.BuildNote, builder.BuildWarning:
		d.r.say(noteText(e))
	}
}

// node returns what is known of the node of e.
func (d *lineDisplay) node(e builder.Event) *nodeLines {
	if d.running[e.ID] == nil {
		d.running[e.ID] = &nodeLines{label: nodeLabel(e.Name), flows: map[string]*flow{}}
	}
	return d.running[e.ID]
}

// output prints lines of a node's command. They begin with the node if several
// run.
func (d *lineDisplay) output(n *nodeLines, lines []string) {
	for _, line := range lines {
		if len(d.running) > 1 {
			line = n.label + " " + line
		}
		d.r.say(line)
	}
}

// transfer tells of a blob that a node needs, as of those of push and pull.
func (d *lineDisplay) transfer(e builder.Event) {
	d.r.artifact(e.Transfer)
	if e.Transfer.Kind == artifact.EventProgress || e.Transfer.Kind == artifact.EventStarted {
		d.progress(e, blobName(e.Transfer.Name, e.Transfer.Digest), e.Transfer.Done, e.Transfer.Size)
	}
}

// progress speaks of what takes long, every now and then.
func (d *lineDisplay) progress(e builder.Event, item string, done, total int64) {
	if e.ID == 0 {
		return // its end is told by the transfer itself
	}
	n := d.node(e)
	f := n.flows[item]
	if f == nil {
		f = &flow{told: e.Time}
		n.flows[item] = f
	}
	n.bytes += max(done-f.done, 0)
	if text := f.reached(done, total, e.Time); text != "" {
		d.r.say(n.label + "  " + item + "  " + text)
	}
}

// reached returns how far a flow has come, and how fast, "" if that was told
// just now.
func (f *flow) reached(done, total int64, now time.Time) string {
	f.done = max(done, f.done)
	passed := now.Sub(f.told)
	if passed < remindAfter || f.done == total {
		return ""
	}
	text := sizeText(f.done)
	if total > 0 {
		text += " of " + sizeText(total)
	}
	text += "  " + rateText(f.done-f.toldDone, passed)
	f.told, f.toldDone = now, f.done
	return text
}

// end tells that a node has ended.
func (d *lineDisplay) end(e builder.Event) {
	n := d.node(e)
	d.output(n, n.lines.end())
	delete(d.running, e.ID)
	text := timeText(e.Took)
	switch {
	case e.Kind == builder.NodeFailed && canceled(e.Err):
		text = "canceled after " + text
	case e.Kind == builder.NodeFailed:
		text = "failed after " + text
	case e.Cached:
		text = "cached"
	case n.bytes > 0 && e.Took >= remindAfter:
		text += "  " + sizeText(n.bytes) + "  " + rateText(n.bytes, e.Took)
	}
	d.r.say(e.Name + "  " + text)
}

// push tells of an upload as push does.
func (d *lineDisplay) push(e artifact.Event) {
	d.r.artifact(e)
	key, now := e.Ref+"@"+e.Digest.String(), d.r.now()
	switch e.Kind {
	case artifact.EventStarted:
		d.sending[key] = &flow{told: now}
	case artifact.EventProgress:
		if f := d.sending[key]; f != nil {
			if text := f.reached(e.Done, e.Size, now); text != "" {
				d.r.say(prefix(e.Ref) + blobName(e.Name, e.Digest) + "  " + text)
			}
		}
	case artifact.EventDone:
		delete(d.sending, key)
	}
}

func (d *lineDisplay) close() {}

// rateText writes a rate for people: "1.2 MiB/s".
func rateText(n int64, took time.Duration) string {
	return sizeText(int64(float64(n)/max(took.Seconds(), 1e-3))) + "/s"
}

// blobName says which blob is meant.
func blobName(name string, h v1.Hash) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s", name, shortDigest(h)))
}
