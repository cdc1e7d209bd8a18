package state_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/state"
)

func TestWhoOnlyLooksSeesTheNewestStateAndAllJournals(t *testing.T) {
	a, b, m1, m2 := newClient(t), newClient(t), newMaster(t, "m1"), newMaster(t, "m2")
	newest := func(c *client, masters ...*master) *state.Snapshot {
		t.Helper()
		s, err := c.folder.Newest(t.Context(), "one", c.options(masters...).Masters, []string{"keep"}, func(err error) { c.told = append(c.told, err.Error()) })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	h := a.take(m1, m2)
	save(t, h, "a:1", nil)
	h.Close()
	h = b.take(m1, m2)
	save(t, h, "a:2", nil)
	if err := h.Record(t.Context(), []byte(`{"by":"b"}`)); err != nil {
		t.Fatal(err)
	}
	// while b works
	s := newest(a, m1, m2)
	if s == nil || !strings.Contains(string(s.Files[state.Clusterfile]), "a:2") || !strings.Contains(string(s.Journal), `"b"`) {
		t.Fatalf("%+v", s)
	}
	if err := a.folder.Restore(s, false); err != nil || a.revision() != 2 {
		t.Fatalf("revision %d, %v", a.revision(), err)
	}
	if s := newest(a, m1, m2); s != nil {
		t.Errorf("nothing is new: %+v", s)
	}
	h.Close()

	// a master that was down is behind, and one is broken
	m2.fail(errors.New("no route"))
	h = b.take(m1)
	save(t, h, "a:3", nil)
	h.Close()
	if s := newest(a, m2, m1); s == nil || !strings.Contains(string(s.Files[state.Clusterfile]), "a:3") {
		t.Fatalf("%+v", s)
	}
	if !a.toldOf("m2: no route") {
		t.Errorf("told %v", a.told)
	}
	m2.fail(nil)
	h = a.take(m2)
	save(t, h, "a:4", nil) // revision 3 too
	h.Close()
	_, err := b.folder.Newest(t.Context(), "one", b.options(m1, m2).Masters, []string{"keep"}, func(error) {})
	var conflict *state.ConflictError
	if !errors.As(err, &conflict) || !strings.Contains(conflict.Diff, "- ") || !strings.Contains(conflict.Diff, "a:4") {
		t.Errorf("%v", err)
	}
}
