package state

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// Newest returns the state of a cluster with the highest revision, of this
// folder and of the masters that are asked, and with every line of all their
// journals; nil when that is what the folder has. It takes no lock. Two copies
// of the same revision that differ are a [ConflictError]. A master that cannot
// say what it has is told of. argv is the keeper's command on a master.
func (f *Folder) Newest(ctx context.Context, cluster string, masters []Master, argv []string, tell func(error)) (*Snapshot, error) {
	own, err := readFiles(f.dir)
	if err != nil {
		return nil, err
	}
	found := make([]*Snapshot, len(masters))
	errs := make([]error, len(masters))
	var wg sync.WaitGroup
	for i, m := range masters {
		wg.Go(func() { found[i], errs[i] = Fetch(ctx, m, argv, nil) })
	}
	wg.Wait()
	sides, journals := []*side{{name: thisMachine, snapshot: own}}, [][]byte{own.Journal}
	for i, s := range found {
		if errs[i] != nil {
			tell(errs[i])
			continue
		}
		sides, journals = append(sides, &side{name: masters[i].Name, snapshot: s}), append(journals, s.Journal)
	}
	for _, s := range sides {
		if s.Status, err = s.snapshot.Status(); err != nil {
			return nil, fmt.Errorf("the state on %s: %w", s.name, err)
		}
	}
	best, rival := newest(sides)
	if rival != nil {
		return nil, conflict(cluster, best, rival)
	}
	journal := joined(union(journals))
	if best == nil || best == sides[0] && bytes.Equal(journal, own.Journal) {
		return nil, nil
	}
	return &Snapshot{Files: best.snapshot.Files, Journal: journal}, nil
}

// newest returns the copy with the highest revision, the first of equal ones,
// nil when there is none at all; and one of the same revision that differs.
func newest(sides []*side) (best, rival *side) {
	for _, s := range sides {
		if s.Digest != "" && (best == nil || s.Revision > best.Revision) {
			best = s
		}
	}
	for _, s := range sides {
		if s.Digest != "" && s.Revision == best.Revision && s.Digest != best.Digest {
			return best, s
		}
	}
	return best, nil
}

func conflict(cluster string, a, b *side) error {
	return &ConflictError{
		Cluster: cluster, Revision: a.Revision, A: a.name, B: b.name,
		Diff: differences(a.snapshot.Files, b.snapshot.Files), From: b.name,
	}
}
