package state

import (
	"fmt"
	"time"
)

// protocol counts the changes of what client and keeper say to each other.
const protocol = 2

// How often a client says that it lives, and how long a keeper waits for it.
const (
	beat     = 10 * time.Second
	Patience = 60 * time.Second
)

// Holder is who works on a cluster.
type Holder struct {
	ID        string    `json:"id"`   // of one hold; it may reach a host twice, after a broken connection
	Host      string    `json:"host"` // of the client
	User      string    `json:"user"`
	PID       int       `json:"pid"`
	Since     time.Time `json:"since"`
	Operation string    `json:"operation"`        // the verb
	Keeper    int       `json:"keeper,omitempty"` // process on the master that holds the lock
}

// String tells who it is and what is being done. The zero value is somebody who
// has not said so yet.
func (h Holder) String() string {
	if h.PID == 0 {
		return "who it is, it has not said yet"
	}
	return fmt.Sprintf("%s@%s does `sealrt %s` since %s, process %d", h.User, h.Host, h.Operation, h.Since.UTC().Format(time.RFC3339), h.PID)
}

// What a client asks of a keeper.
const (
	opHold    = "hold"    // take the lock; the first request
	opShow    = "show"    // answer the whole state, without the lock; the first request and the last
	opBeat    = "beat"    // the client lives
	opRecord  = "record"  // lines into the journal
	opSave    = "save"    // files into the state
	opRead    = "read"    // answer the whole state
	opJournal = "journal" // these lines are the journal
)

// request is a line from the client.
type request struct {
	Op       string   `json:"op"`
	Seq      int64    `json:"seq"`
	Protocol int      `json:"protocol,omitempty"`
	Cluster  string   `json:"cluster,omitempty"`
	Holder   *Holder  `json:"holder,omitempty"`
	Lines    [][]byte `json:"lines,omitempty"`
	Files    Files    `json:"files,omitempty"`
}

// answer is a line from the keeper, to the request with the same number.
type answer struct {
	Seq      int64         `json:"seq"`
	Protocol int           `json:"protocol,omitempty"`
	Error    string        `json:"error,omitempty"`
	Busy     *Holder       `json:"busy,omitempty"`  // who holds the lock
	Heard    time.Duration `json:"heard,omitempty"` // how long ago that one was heard of
	Last     string        `json:"last,omitempty"`  // ID of who held it before this client
	Status   *Status       `json:"status,omitempty"`
	Snapshot *Snapshot     `json:"snapshot,omitempty"`
}
