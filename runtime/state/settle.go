package state

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// ConflictError says that two copies of the state have the same revision and
// differ: two clients changed the cluster without seeing the same masters.
type ConflictError struct {
	Cluster  string
	Revision int64
	A, B     string // where the copies are: "this machine" or a master
	Diff     string // from A to B
	From     string // a master that a copy can be taken from
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("cluster %s: two states have the revision %d and differ, that of %s (-) and that of %s (+):\n%schoose one: `sealrt recover --cluster %s --from %s --force` takes that host's, `sealrt recover --cluster %s --keep-local` keeps this machine's",
		e.Cluster, e.Revision, e.A, e.B, e.Diff, e.Cluster, e.From, e.Cluster)
}

// thisMachine is what errors call the client.
const thisMachine = "this machine"

// side is one copy of the state.
type side struct {
	name string
	c    *connection // nil: the client's own
	Status
	snapshot *Snapshot
}

// settle makes all copies the same.
func (h *Hold) settle(ctx context.Context) error {
	own, err := readFiles(h.o.Folder.dir)
	if err != nil {
		return err
	}
	st, err := own.Status()
	if err != nil {
		return err
	}
	if !h.large(own.Journal) && !slices.ContainsFunc(h.keepers, func(c *connection) bool { return c != nil && c.status != st }) {
		return nil // nothing need be read
	}
	sides, err := h.sides(ctx, own)
	if err != nil {
		return err
	}
	best, err := h.best(sides)
	if err != nil {
		return err
	}
	if best != nil {
		if err := h.adopt(ctx, best, sides); err != nil {
			return err
		}
	}
	return h.settleJournal(ctx, sides)
}

// sides returns the client's copy, then those of the masters that are held.
func (h *Hold) sides(ctx context.Context, own *Snapshot) (sides []*side, err error) {
	sides = []*side{{name: thisMachine, snapshot: own}}
	for _, c := range h.keepers {
		if c == nil {
			continue
		}
		a, err := c.ask(ctx, request{Op: opRead})
		if err != nil {
			return nil, fmt.Errorf("host %s: read the state: %w", c.master, err)
		}
		sides = append(sides, &side{name: c.master, c: c, snapshot: a.Snapshot})
	}
	for _, s := range sides {
		if s.Status, err = s.snapshot.Status(); err != nil {
			return nil, fmt.Errorf("the state on %s: %w", s.name, err)
		}
	}
	return sides, nil
}

// best returns the copy that counts, nil when there is none at all.
func (h *Hold) best(sides []*side) (*side, error) {
	best, rival := newest(sides)
	own := sides[0]
	if best == nil {
		return nil, nil
	}
	if rival != nil && (!h.o.KeepLocal || own.Digest == "") {
		return nil, conflict(h.o.Cluster, best, rival)
	}
	if rival != nil || h.o.KeepLocal && own.Digest != "" && own.Digest != best.Digest {
		return h.raise(own, best.Revision+1)
	}
	return best, nil
}

// raise gives the client's copy a revision above all others.
func (h *Hold) raise(own *side, revision int64) (*side, error) {
	d, err := own.snapshot.Files.document()
	if err != nil {
		return nil, err
	}
	d.Metadata.Revision = revision
	if own.snapshot.Files[Clusterfile], err = clusterfile.Format(d); err != nil {
		return nil, err
	}
	if err := h.o.Folder.Write(Clusterfile, own.snapshot.Files[Clusterfile]); err != nil {
		return nil, err
	}
	own.Status, err = own.snapshot.Status()
	return own, err
}

// adopt gives the copy that counts to all who have another.
func (h *Hold) adopt(ctx context.Context, best *side, sides []*side) error {
	for _, s := range sides {
		if s.Digest == best.Digest {
			continue
		}
		files := maps.Clone(best.snapshot.Files)
		for name := range s.snapshot.Files {
			if _, ok := files[name]; !ok && compared(name) {
				files[name] = nil // it is gone
			}
		}
		files[KnownHosts] = joined(union([][]byte{best.snapshot.Files[KnownHosts], s.snapshot.Files[KnownHosts]}))
		if s.c != nil {
			if _, err := s.c.ask(ctx, request{Op: opSave, Files: files}); err != nil {
				return fmt.Errorf("host %s: bring the state up to date: %w", s.name, err)
			}
			continue
		}
		if err := writeFiles(h.o.Folder.dir, files); err != nil {
			return err
		}
		h.refresh = true
		if s.Digest == "" {
			h.o.Tell(fmt.Sprintf("this machine had no state of the cluster %s: revision %d was taken from master %s", h.o.Cluster, best.Revision, best.name))
		} else {
			h.o.Tell(fmt.Sprintf("the state of the cluster %s on this machine was revision %d: revision %d was taken from master %s", h.o.Cluster, s.Revision, best.Revision, best.name))
		}
	}
	return nil
}

// settleJournal gives every copy the lines of all.
func (h *Hold) settleJournal(ctx context.Context, sides []*side) error {
	var all [][]byte
	same := true
	for _, s := range sides {
		all = append(all, s.snapshot.Journal)
		same = same && s.Journal == sides[0].Journal
	}
	if same && !h.large(sides[0].snapshot.Journal) {
		return nil
	}
	lines := union(all)
	if h.large(joined(lines)) {
		lines = h.o.Fold(lines)
	}
	text := joined(lines)
	for _, s := range sides {
		var err error
		switch {
		case bytes.Equal(s.snapshot.Journal, text):
		case s.c != nil:
			_, err = s.c.ask(ctx, request{Op: opJournal, Lines: lines})
		default:
			err = h.o.Folder.Write(Journal, text)
		}
		if err != nil {
			return fmt.Errorf("bring the journal on %s up to date: %w", s.name, err)
		}
	}
	return nil
}

// foldAbove is how long a journal may grow, in bytes, before it is folded.
const foldAbove = 4 << 20

// large reports whether a journal is to be folded.
func (h *Hold) large(journal []byte) bool { return h.o.Fold != nil && len(journal) > foldAbove }

// differences shows how two copies differ, line by line; of secrets only that
// they do.
func differences(a, b Files) string {
	var out strings.Builder
	names := map[string]bool{}
	for _, f := range []Files{a, b} {
		for name := range f {
			names[name] = compared(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch {
		case !names[name] || bytes.Equal(a[name], b[name]):
		case strings.Contains(name, "/"):
			fmt.Fprintf(&out, "  %s differs\n", name)
		default:
			for _, line := range diff(strings.Split(string(a[name]), "\n"), strings.Split(string(b[name]), "\n")) {
				fmt.Fprintf(&out, "  %s: %s\n", name, line)
			}
		}
	}
	return out.String()
}

// diff returns the lines that only one of two texts has, as - and +, by their
// longest common subsequence.
func diff(a, b []string) []string {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}
