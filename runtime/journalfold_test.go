package runtime_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

// operation is the journal of one run with so many steps.
func operation(t *testing.T, id string, steps int) [][]byte {
	t.Helper()
	entries := []runtime.JournalEntry{{Operation: id, Command: "run", State: runtime.OutcomeBegun}}
	for n := range steps {
		for _, state := range []runtime.Outcome{runtime.OutcomeBegun, runtime.OutcomeDone} {
			entries = append(entries, runtime.JournalEntry{Operation: id, Host: "10.0.0.1", Step: fmt.Sprint("step ", n), Hash: strings.Repeat("0", 64), State: state})
		}
	}
	entries = append(entries, runtime.JournalEntry{Operation: id, Command: "run", State: runtime.OutcomeDone})
	var out [][]byte
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
	return out
}

func TestFoldedJournalKeepsTheLastRunsAndTheEndsOfOthers(t *testing.T) {
	var lines [][]byte
	for n := range 5000 {
		lines = append(lines, operation(t, fmt.Sprint("old", n), 10)...)
	}
	lines = append(lines, []byte("torn off {"))
	last := operation(t, "last", 30)
	lines = append(lines, last...)
	folded := runtime.FoldJournal(lines)
	text := bytes.Join(folded, []byte("\n"))
	if len(text) > 3<<20/2 {
		t.Errorf("%d bytes are kept of %d", len(text), len(bytes.Join(lines, []byte("\n"))))
	}
	if !bytes.HasSuffix(text, bytes.Join(last, []byte("\n"))) {
		t.Error("the last run is not whole")
	}
	if bytes.Contains(text, []byte(`"old4000"`)) && bytes.Contains(text, []byte("torn")) {
		t.Error("a torn line is kept")
	}
	if bytes.Count(text, []byte(`"old0"`)) != 0 || bytes.Count(text, []byte(`"old4999"`)) != 22 {
		t.Errorf("the first run has %d lines, the one before the last %d", bytes.Count(text, []byte(`"old0"`)), bytes.Count(text, []byte(`"old4999"`)))
	}
	if again := runtime.FoldJournal(folded); !bytes.Equal(bytes.Join(again, []byte("\n")), text) {
		t.Error("folding once more changes something")
	}
	read, ok, err := runtime.ReadLastOperation(bytes.NewReader(text))
	if err != nil || !ok || read.ID != "last" || read.Done != 30 {
		t.Errorf("the last operation is read as %+v, %v, %v", read, ok, err)
	}
}

func TestOneLargeRunIsKeptWhole(t *testing.T) {
	large := operation(t, "large", 10000)
	lines := append(operation(t, "old", 10), large...)
	if got := runtime.FoldJournal(lines); len(got) != len(large)+2 {
		t.Errorf("%d lines are kept, want %d", len(got), len(large)+2)
	}
}
