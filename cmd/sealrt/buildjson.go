package main

import (
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
)

// nodeJSON is a builder.Event as --progress=json prints it.
type nodeJSON struct {
	Event   string  `json:"event"`             // "node", "output", "note" or "warning"
	State   string  `json:"state,omitempty"`   // of a node: started, progress, done, failed or canceled
	Node    int     `json:"node,omitempty"`    // number; none: the build as a whole
	Name    string  `json:"name,omitempty"`    // of the node
	Time    string  `json:"time,omitempty"`    // RFC 3339
	Seconds float64 `json:"seconds,omitempty"` // that the node took
	Cached  bool    `json:"cached,omitempty"`  // nothing had to be done
	Item    string  `json:"item,omitempty"`    // whose bytes pass
	Done    int64   `json:"done,omitempty"`    // bytes
	Total   int64   `json:"total,omitempty"`   // bytes; none: unknown
	Line    string  `json:"line,omitempty"`    // of output
	Message string  `json:"message,omitempty"` // of a note or warning
	Error   string  `json:"error,omitempty"`
}

// nodeTransferJSON is a transfer that a node needs.
type nodeTransferJSON struct {
	transferJSON
	Node int `json:"node,omitempty"`
}

// slowestJSON names the slowest nodes.
type slowestJSON struct {
	Event   string         `json:"event"`   // "slowest"
	Seconds float64        `json:"seconds"` // of the build
	Nodes   []slowNodeJSON `json:"nodes"`   // the slowest first
}

type slowNodeJSON struct {
	Node    int     `json:"node"`
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

func slowestEvent(nodes []nodeTime, whole time.Duration) slowestJSON {
	j := slowestJSON{Event: "slowest", Seconds: whole.Seconds()}
	for _, n := range nodes {
		j.Nodes = append(j.Nodes, slowNodeJSON{n.id, n.name, n.took.Seconds()})
	}
	return j
}

func nodeEvent(e builder.Event) nodeJSON {
	j := nodeJSON{Event: "node", Node: e.ID, Name: e.Name, Time: timeJSON(e.Time), Item: e.Item, Done: e.Done, Total: e.Total}
	switch e.Kind {
	case builder.NodeStarted:
		j.State = "started"
	case builder.NodeProgress:
		j.State = "progress"
	case builder.NodeDone:
		j.State, j.Seconds, j.Cached = "done", e.Took.Seconds(), e.Cached
	case builder.NodeFailed:
		j.State, j.Seconds = "failed", e.Took.Seconds()
		if canceled(e.Err) {
			j.State = "canceled"
		}
		if e.Err != nil {
			j.Error = e.Err.Error()
		}
	case builder.BuildNote:
		j.Event, j.Message = "note", e.Text
	case builder.BuildWarning:
		j.Event, j.Message = "warning", e.Text
	}
	return j
}

func timeJSON(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// jsonDisplay shows a build to programs, as lines of JSON.
type jsonDisplay struct {
	r    *renderer
	told map[jsonItem]time.Time
	said map[int]*lineBuffer // by node
}

// jsonItem is something whose bytes pass, which is not told of all the time.
type jsonItem struct {
	node int
	item string
}

func newJSONDisplay(r *renderer) *jsonDisplay {
	return &jsonDisplay{r: r, told: map[jsonItem]time.Time{}, said: map[int]*lineBuffer{}}
}

func (d *jsonDisplay) build(e builder.Event) {
	switch e.Kind {
	case builder.NodeProgress:
		if d.due(jsonItem{e.ID, e.Item}, e.Time) || e.Total > 0 && e.Done == e.Total {
			d.r.tell(nodeEvent(e))
		}
	case builder.NodeTransfer:
		d.transfer(e.ID, e.Transfer, e.Time)
	case builder.NodeOutput:
		if d.said[e.ID] == nil {
			d.said[e.ID] = &lineBuffer{}
		}
		d.output(e, d.said[e.ID].add(e.Text))
	case builder.NodeDone, builder.NodeFailed:
		if b := d.said[e.ID]; b != nil {
			d.output(e, b.end())
		}
		delete(d.said, e.ID)
		d.r.tell(nodeEvent(e))
	default:
		d.r.tell(nodeEvent(e))
	}
}

// output tells lines of a node's command.
func (d *jsonDisplay) output(e builder.Event, lines []string) {
	for _, line := range lines {
		d.r.tell(nodeJSON{Event: "output", Node: e.ID, Name: e.Name, Time: timeJSON(e.Time), Line: line})
	}
}

func (d *jsonDisplay) push(e artifact.Event) { d.transfer(0, e, d.r.now()) }

func (d *jsonDisplay) transfer(node int, e artifact.Event, now time.Time) {
	if e.Kind != artifact.EventProgress || d.due(jsonItem{node, e.Ref + "@" + e.Digest.String()}, now) {
		d.r.tell(nodeTransferJSON{jsonEvent(e), node})
	}
}

// due reports whether the progress of something is to be told again.
func (d *jsonDisplay) due(i jsonItem, now time.Time) bool {
	if last, ok := d.told[i]; ok && now.Sub(last) < repeatEvery {
		return false
	}
	d.told[i] = now
	return true
}

func (d *jsonDisplay) close() {}
