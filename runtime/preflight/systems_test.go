package preflight_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/preflight"

	"github.com/sealrt/sealrt/distros/kubernetes"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// recorded is a host that answers as an archive says: "-- /file --",
// "-- $ command --" for its standard output, "-- unit NAME --" for one that
// runs and "-- absent /path --".
func recorded(a *txtar.Archive) *hosttest.Host {
	h := hosttest.New("a")
	for _, f := range a.Files {
		kind, rest, _ := strings.Cut(f.Name, " ")
		switch kind {
		case "$":
			h.Respond(strings.Fields(rest), string(f.Data), 0)
		case "unit":
			h.SetUnit(rest, true, true)
		case "absent":
			h.Remove(rest)
		case "want", "fixes":
		default:
			h.WriteFile(f.Name, 0o444, f.Data)
		}
	}
	return h
}

func TestSystems(t *testing.T) {
	files, err := filepath.Glob("testdata/systems/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no systems: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			x := newTwo(t)
			x.c.Members = x.c.Members[:1]
			run := func(fix bool) preflight.Report {
				x.c.Members[0].Hostname = ""
				r, err := preflight.Run(t.Context(), x.c, kubernetes.Driver{}, map[string]host.Host{"10.0.0.1": recorded(a)}, preflight.Options{Fix: fix})
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			var want, fixes strings.Builder
			for _, f := range run(false).Findings {
				want.WriteString(string(f.Level) + " " + f.String() + "\n")
			}
			mended := run(true)
			if _, err := mended.Fixes.WriteTo(&fixes); err != nil {
				t.Fatal(err)
			}
			for i, f := range a.Files {
				got, ok := map[string]string{"want": want.String(), "fixes": fixes.String()}[f.Name]
				if ok && *update {
					a.Files[i].Data = []byte(got)
				} else if diff := cmp.Diff(string(f.Data), got); ok && diff != "" {
					t.Errorf("%s: %s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
