package builder

import (
	"time"

	"github.com/sealrt/sealrt/artifact"
)

// EventKind says what an Event tells.
type EventKind uint8

const (
	NodeStarted  EventKind = iota // work on a node begins
	NodeOutput                    // Text is what the node's command printed: any bytes, not whole lines
	NodeProgress                  // Done of Total bytes of Item have passed; Total 0 is unknown
	NodeTransfer                  // Transfer tells of a blob that the node needs
	NodeDone                      // the node is done; Cached says that nothing had to be done for it
	NodeFailed                    // Err says why
	BuildNote                     // Text is a sentence for the user, about the build or, with an ID, about a node
	BuildWarning                  // the same, and the user should do something about it
)

// String returns the word for k as JSON output has it.
func (k EventKind) String() string {
	names := [...]string{"started", "output", "progress", "transfer", "done", "failed", "note", "warning"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Event is one piece of news about a build. Fields that do not apply are zero.
type Event struct {
	Kind     EventKind
	ID       int    // of the node, from 1; 0 is the build as a whole
	Name     string // of the node: "[linux/amd64 tools 2/5] RUN make"
	Time     time.Time
	Took     time.Duration // NodeDone, NodeFailed: since NodeStarted
	Cached   bool
	Text     string
	Item     string
	Done     int64
	Total    int64
	Transfer artifact.Event
	Err      error
}
