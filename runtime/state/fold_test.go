package state_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/state"
)

// fold keeps the last ten lines.
func fold(lines [][]byte) [][]byte { return lines[len(lines)-10:] }

func TestGrownJournalIsFoldedOnAllSides(t *testing.T) {
	grown := bytes.Repeat([]byte(strings.Repeat("x", 1<<16)+"\n"), 100)
	for i := range 100 { // each line another
		copy(grown[i*(1<<16+1):], []byte{byte('a' + i%26), byte('a' + i/26)})
	}
	folded := bytes.Join(fold(bytes.SplitAfter(grown, []byte("\n"))[:100]), nil)
	for name, have := range map[string]struct{ client, m1, m2 []byte }{
		"all have grown":                   {grown, grown, grown},
		"one was folded, then came a kill": {grown, folded, grown},
		"the client was folded":            {folded, grown, grown},
		"a master was away":                {folded, folded, grown},
	} {
		t.Run(name, func(t *testing.T) {
			c, m1, m2 := newClient(t), newMaster(t, "m1"), newMaster(t, "m2")
			h := c.take(m1, m2)
			save(t, h, "a:1", nil)
			h.Close()
			for path, text := range map[string][]byte{
				c.folder.JournalPath(): have.client, filepath.Join(m1.dir, state.Journal): have.m1, filepath.Join(m2.dir, state.Journal): have.m2,
			} {
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := c.options(m1, m2)
			o.Fold = fold
			h, err := state.Take(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if err := h.Record(t.Context(), []byte("new")); err != nil {
				t.Fatal(err)
			}
			own, err := os.ReadFile(c.folder.JournalPath())
			if err != nil {
				t.Fatal(err)
			}
			for where, got := range map[string]string{"the client": string(own), "m1": m1.read(t, state.Journal), "m2": m2.read(t, state.Journal)} {
				if n := strings.Count(got, "\n"); n != 11 || !strings.HasSuffix(got, "\nnew\n") {
					t.Errorf("%s has %d lines, %d bytes", where, n, len(got))
				}
			}
		})
	}
}
