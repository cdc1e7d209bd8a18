package runtime

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/sealrt/sealrt/runtime/host"
)

// A ledger is the record that each host keeps of what was done to it: one JSON
// line when a step begins and one when it is done. It lies on the host, so a
// wiped host is never believed to be installed, and another client can go on
// where one was lost.
type ledger struct {
	cluster string            // name of the cluster that the host belongs to, or ""
	begun   map[string]string // step ID -> hash
	done    map[string]string // step ID -> hash
	entries []entry           // in the order written
	torn    bool              // the last line was cut off: a new one begins on a line of its own
}

// entry is one line of the ledger.
type entry struct {
	Cluster   string     `json:"cluster"`
	Step      string     `json:"step"`
	Hash      string     `json:"hash"`
	State     string     `json:"state"` // begun | done
	Footprint *footprint `json:"footprint,omitempty"`
}

const (
	stateBegun = "begun"
	stateDone  = "done"
)

// readLedger returns the host's ledger, an empty one where the host has none.
// A last line that was cut off by a power failure is ignored: its step is then
// not done.
func readLedger(ctx context.Context, h host.Host) (*ledger, error) {
	l := &ledger{begun: map[string]string{}, done: map[string]string{}}
	raw, err := host.ReadFile(ctx, h, ledgerPath)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ledgerPath, err)
	}
	l.torn = len(raw) > 0 && raw[len(raw)-1] != '\n'
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			l.take(e)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", ledgerPath, err)
	}
	return l, nil
}

func (l *ledger) take(e entry) {
	l.cluster = e.Cluster
	l.entries = append(l.entries, e)
	switch e.State {
	case stateBegun:
		l.begun[e.Step] = e.Hash
		delete(l.done, e.Step)
	case stateDone:
		l.done[e.Step] = e.Hash
	}
}

// holds reports whether the step was done in just this form.
func (l *ledger) holds(step, hash string) bool { return l.done[step] == hash }

// broken reports whether the step was begun and never ended.
func (l *ledger) broken(step string) bool {
	_, done := l.done[step]
	return l.knows(step) && !done
}

// knows reports whether the step was ever begun.
func (l *ledger) knows(step string) bool {
	_, begun := l.begun[step]
	return begun
}

// owns reports whether an earlier step of ours made the path.
func (l *ledger) owns(path string) bool {
	for _, e := range l.entries {
		if e.Footprint == nil {
			continue
		}
		for _, list := range [][]string{e.Footprint.Paths, e.Footprint.Trees} {
			for _, p := range list {
				if p == path {
					return true
				}
			}
		}
	}
	return false
}

// write appends one entry to the ledger on the host and to this one.
func (l *ledger) write(ctx context.Context, h host.Host, e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	line = append(line, '\n')
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	// on the disk before the step begins: after a power failure nothing is on
	// the host that the ledger does not know
	cmd := host.Command{
		Argv:  []string{"dd", "of=" + ledgerPath, "oflag=append", "conv=notrunc,fsync", "status=none"},
		Stdin: bytes.NewReader(line),
	}
	if err := h.Run(ctx, cmd); err != nil {
		return fmt.Errorf("write %s: %w", ledgerPath, err)
	}
	l.torn = false
	l.take(e)
	return nil
}

// undone returns everything that steps left on the host, the last first and
// each once.
func (l *ledger) undone() []footprint {
	var out []footprint
	seen := map[string]bool{}
	fresh := func(list []string) []string {
		var keep []string
		for i := len(list) - 1; i >= 0; i-- {
			if !seen[list[i]] {
				seen[list[i]] = true
				keep = append(keep, list[i])
			}
		}
		return keep
	}
	for i := len(l.entries) - 1; i >= 0; i-- {
		f := l.entries[i].Footprint
		if f == nil {
			continue
		}
		g := footprint{Paths: fresh(f.Paths), Dirs: fresh(f.Dirs), Trees: fresh(f.Trees), Units: fresh(f.Units)}
		for _, b := range f.Blocks {
			if key := b.Path + "\x00" + b.Name; !seen[key] {
				seen[key] = true
				g.Blocks = append(g.Blocks, b)
			}
		}
		if !g.empty() {
			out = append(out, g)
		}
	}
	return out
}
