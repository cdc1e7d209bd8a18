package runtime

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Journal keeps lines of JSON, in the order in which they come from one caller.
// What a host has to do next is decided by the host's own ledger; the journal
// tells people, and tools, what happened.
type Journal interface {
	// Record returns when the line, one or several that each end with a line
	// feed, is kept. It is called by several goroutines at once.
	Record(ctx context.Context, line []byte) error
}

// Operation is one run of a plan.
type Operation struct {
	ID      string `json:"id"`      // unique among the operations of a cluster
	Command string `json:"command"` // what the user called: run, apply, reset, ...
	Client  string `json:"client"`  // who called it, and where: user@machine
}

// Outcome says what became of a step, or of a whole operation.
type Outcome string

// The outcomes. What begun and has no other line after it was interrupted.
const (
	OutcomeBegun     Outcome = "begun"
	OutcomeDone      Outcome = "done"
	OutcomeFailed    Outcome = "failed"
	OutcomeTolerated Outcome = "tolerated"
)

// JournalEntry is one line of the journal: about a step when it names a host,
// about the operation otherwise.
type JournalEntry struct {
	Operation string    `json:"operation"`
	Time      time.Time `json:"time"`
	Client    string    `json:"client,omitempty"`
	Cluster   string    `json:"cluster,omitempty"`
	Command   string    `json:"command,omitempty"` // of operations
	Plan      string    `json:"plan,omitempty"`    // of operations: the digest of what was to be done
	Steps     int       `json:"steps,omitempty"`   // of operations: how many
	Phase     string    `json:"phase,omitempty"`
	Host      string    `json:"host,omitempty"`
	Step      string    `json:"step,omitempty"`
	Hash      string    `json:"hash,omitempty"`
	State     Outcome   `json:"state"`
	Error     string    `json:"error,omitempty"`
	Seconds   float64   `json:"seconds,omitempty"` // that it took
}

// record writes entries to the journal, all at once.
func (e *Engine) record(ctx context.Context, entries ...JournalEntry) error {
	if e.Journal == nil || len(entries) == 0 {
		return nil
	}
	var text bytes.Buffer
	for _, j := range entries {
		j.Operation, j.Client, j.Time = e.Operation.ID, e.Operation.Client, time.Now().UTC()
		j.Error = e.conceal(j.Error)
		line, err := json.Marshal(j)
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		text.Write(append(line, '\n'))
	}
	if err := e.Journal.Record(ctx, text.Bytes()); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// recordEnd writes the last line of an operation, also of one that was
// interrupted.
func (e *Engine) recordEnd(ctx context.Context, j JournalEntry, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	j.State = OutcomeDone
	if failed != nil {
		j.State, j.Error = OutcomeFailed, failed.Error()
	}
	return e.record(ctx, j)
}

// lastWords is what the end of an operation that was interrupted may take.
const lastWords = 5 * time.Second

// LastOperation is the end of a journal.
type LastOperation struct {
	Operation
	Began  time.Time      `json:"began"`
	Ended  time.Time      `json:"ended,omitzero"` // zero: it runs still, or was killed
	State  Outcome        `json:"state"`
	Error  string         `json:"error,omitempty"`
	Done   int            `json:"done"`             // steps
	Failed []JournalEntry `json:"failed,omitempty"` // steps that failed
	Open   []JournalEntry `json:"open,omitempty"`   // steps that were begun, and of whose end nothing is known
}

// ReadLastOperation reads a journal and returns what it says of its last
// operation; ok is false when there is none. Lines that were cut off by a power
// failure are passed over.
func ReadLastOperation(r io.Reader) (last LastOperation, ok bool, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var j JournalEntry
		if json.Unmarshal(line, &j) == nil && j.Operation != "" {
			if j.Operation != last.ID {
				last, ok = LastOperation{Operation: Operation{ID: j.Operation, Client: j.Client}, Began: j.Time, State: OutcomeBegun}, true
			}
			last.take(j)
		}
		if errors.Is(err, io.EOF) {
			return last, ok, nil
		}
		if err != nil {
			return last, ok, fmt.Errorf("read the journal: %w", err)
		}
	}
}

func (l *LastOperation) take(j JournalEntry) {
	if j.Host == "" {
		l.Command = j.Command
		if j.State != OutcomeBegun {
			l.State, l.Ended, l.Error = j.State, j.Time, j.Error
		}
		return
	}
	if j.State == OutcomeBegun {
		l.Open = append(l.Open, j)
		return
	}
	for i, o := range l.Open {
		if o.Host == j.Host && o.Step == j.Step {
			l.Open = append(l.Open[:i], l.Open[i+1:]...)
			break
		}
	}
	if j.State == OutcomeFailed {
		l.Failed = append(l.Failed, j)
		return
	}
	l.Done++
}

// How much of a journal is kept when it is folded.
const (
	journalWhole = 1 << 20 // bytes of operations that are kept whole, at least one
	journalEnds  = 1000    // lines about operations before those
)

// FoldJournal returns the lines of a journal that are kept when it has grown: the
// last operations with all their steps, and of those before only how they began
// and ended.
func FoldJournal(lines [][]byte) [][]byte {
	of := make([]JournalEntry, len(lines))
	size := map[string]int{}
	for i, line := range lines {
		if json.Unmarshal(line, &of[i]) == nil {
			size[of[i].Operation] += len(line)
		}
	}
	whole, sum := map[string]bool{}, 0
	for i := len(lines) - 1; i >= 0; i-- {
		op := of[i].Operation
		if op == "" || whole[op] {
			continue
		}
		if sum += size[op]; sum > journalWhole && len(whole) > 0 {
			break
		}
		whole[op] = true
	}
	var ends, last [][]byte
	for i, line := range lines {
		switch {
		case whole[of[i].Operation]:
			last = append(last, line)
		case of[i].Operation != "" && of[i].Host == "":
			ends = append(ends, line)
		}
	}
	return append(ends[max(0, len(ends)-journalEnds):], last...)
}
