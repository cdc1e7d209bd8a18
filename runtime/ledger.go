package runtime

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/sealrt/sealrt/runtime/host"
)

// A ledger is the record that each host keeps of what was done to it: one JSON
// line when a step begins and one when it is done. It lies on the host, so a
// wiped host is never believed to be installed, and another client can go on
// where one was lost.
//
// Its methods may be called concurrently: several tasks may work on one host.
type ledger struct {
	mu      sync.Mutex
	cluster string            // name of the cluster that the host belongs to, or ""
	begun   map[string]string // step ID -> hash
	done    map[string]string // step ID -> hash
	entries []entry           // in the order written
	torn    bool              // the last line was cut off: a new one begins on a line of its own
	damaged []int             // numbers of lines that nobody wrote so
}

// entry is one line of the ledger.
type entry struct {
	Cluster   string     `json:"cluster"`
	Step      string     `json:"step"`
	Hash      string     `json:"hash"`
	State     string     `json:"state"` // begun | done | drifted
	Footprint *footprint `json:"footprint,omitempty"`
	// Made is what a step that is done made, to be compared with what is there.
	Made map[string]string `json:"made,omitempty"`
}

const (
	stateBegun = "begun"
	stateDone  = "done"
	// what the step made is not there any more, or was changed
	stateDrifted = "drifted"
)

// readLedger returns the host's ledger, an empty one where the host has none.
// A line that was cut off by a power failure is ignored: its step is then not
// done.
func readLedger(ctx context.Context, h host.Host) (*ledger, error) {
	l := &ledger{begun: map[string]string{}, done: map[string]string{}}
	raw, err := host.ReadFile(ctx, h, LedgerPath)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", LedgerPath, err)
	}
	l.torn = len(raw) > 0 && raw[len(raw)-1] != '\n'
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			l.take(e)
		} else if !cutOff(lines.Bytes()) {
			l.damaged = append(l.damaged, n)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", LedgerPath, err)
	}
	return l, nil
}

// cutOff reports whether a line is the beginning of one of ours, which a power
// failure kept from being whole. File systems may have zeros in the place of
// what did not reach the disk.
func cutOff(line []byte) bool {
	begin := bytes.TrimRight(line, "\x00")
	dec := json.NewDecoder(bytes.NewReader(begin))
	for {
		switch _, err := dec.Token(); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return true
		case err != nil:
			return false
		}
	}
}

// take adds an entry; the lock is held, or nobody else knows the ledger yet.
func (l *ledger) take(e entry) {
	l.cluster = e.Cluster
	l.entries = append(l.entries, e)
	switch e.State {
	case stateBegun:
		l.begun[e.Step] = e.Hash
		delete(l.done, e.Step)
		l.overwrite(e)
	case stateDone:
		l.done[e.Step] = e.Hash
	case stateDrifted:
		delete(l.done, e.Step)
	}
}

// overwrite has the steps done no more whose files a command writes over.
func (l *ledger) overwrite(by entry) {
	if by.Footprint == nil || !by.Footprint.Over {
		return
	}
	for _, e := range l.entries {
		if e.Step != by.Step && e.Footprint != nil && slices.ContainsFunc(e.Footprint.Paths, func(p string) bool { return slices.Contains(by.Footprint.Paths, p) }) {
			delete(l.done, e.Step)
		}
	}
}

// holds reports whether the step was done in just this form.
func (l *ledger) holds(step, hash string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[step] == hash
}

// changed reports whether the step was done in another form.
func (l *ledger) changed(step, hash string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	done, ok := l.done[step]
	return ok && done != hash
}

// broken reports whether the step was begun and never ended.
func (l *ledger) broken(step string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, begun := l.begun[step]
	_, done := l.done[step]
	return begun && !done
}

// knows reports whether the step was ever begun.
func (l *ledger) knows(step string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, begun := l.begun[step]
	return begun
}

// owns reports whether an earlier step of ours made the path.
func (l *ledger) owns(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// write appends entries, all in one go, to the ledger on the host and to this
// one.
func (l *ledger) write(ctx context.Context, h host.Host, entries ...entry) error {
	if len(entries) == 0 {
		return nil
	}
	var lines bytes.Buffer
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		lines.Write(append(line, '\n'))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text := lines.Bytes()
	if l.torn {
		text = append([]byte{'\n'}, text...)
	}
	// on the disk before the step begins: after a power failure nothing is on
	// the host that the ledger does not know
	cmd := host.Command{
		Argv:  []string{"dd", "of=" + LedgerPath, "oflag=append", "conv=notrunc,fsync", "status=none"},
		Stdin: bytes.NewReader(text),
	}
	if err := h.Run(ctx, cmd); err != nil {
		l.torn = true // who knows how far it came
		return fmt.Errorf("write %s: %w", LedgerPath, err)
	}
	l.torn = false
	for _, e := range entries {
		l.take(e)
	}
	return nil
}

// digest identifies what the ledger says: the same for as long as nothing was
// recorded on the host.
func (l *ledger) digest() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	raw, err := json.Marshal(l.entries)
	if err != nil {
		return "", fmt.Errorf("ledger: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// incomplete is an error where things may have been made that the ledger, which
// was read, does not tell of: then nobody can undo them.
func (t *target) incomplete(ctx context.Context) error {
	if len(t.ledger.damaged) > 0 {
		return fmt.Errorf("%s is damaged in line %d: what the step made that it tells of may still be here: remove that line, and what the cluster still has here", LedgerPath, t.ledger.damaged[0])
	}
	if len(t.ledger.entries) > 0 {
		return nil
	}
	if there, err := t.exists(ctx, rootfsDir); err != nil || !there {
		return err
	}
	return fmt.Errorf("%s is gone, and images of a cluster are here: what the cluster made cannot be told from what is yours: bring the file back, or remove by hand what is not yours, and %s last", LedgerPath, rootfsDir)
}

// undone returns everything that steps left on the host, the last first and
// each once.
func (l *ledger) undone() []footprint {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []footprint
	seen := map[string]bool{}
	// a directory that is a tree of another step is both: it goes when it is
	// empty, and with all that is in it
	fresh := func(kind string, list []string) []string {
		var keep []string
		for i := len(list) - 1; i >= 0; i-- {
			if key := kind + list[i]; !seen[key] {
				seen[key] = true
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
		g := footprint{
			Paths: fresh("path ", f.Paths), Dirs: fresh("dir ", f.Dirs), Trees: fresh("tree ", f.Trees), Units: fresh("unit ", f.Units),
			Sysctls: f.Sysctls, Modules: fresh("module ", f.Modules), Moved: f.Moved,
		}
		for _, b := range f.Blocks {
			if key := "block\x00" + b.Path + "\x00" + b.Name; !seen[key] {
				seen[key] = true
				g.Blocks = append(g.Blocks, b)
			}
		}
		for _, link := range f.Links {
			if key := "link\x00" + link.Path + "\x00" + link.To; !seen[key] {
				seen[key] = true
				g.Links = append(g.Links, link)
			}
		}
		for _, argv := range f.Inverse {
			if key := strings.Join(argv, "\x00"); !seen[key] {
				seen[key] = true
				g.Inverse = append(g.Inverse, argv)
			}
		}
		if !g.empty() {
			out = append(out, g)
		}
	}
	return out
}
