package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

func TestFileIsWhatItWasWhenOurLinesAreTakenOut(t *testing.T) {
	const ours = "# begin sealrt test\n10.0.0.2 api\n# end sealrt test\n"
	for _, tt := range []struct {
		name      string
		before    string // "-": there is no such file
		meanwhile func(string) string
		after     string
	}{
		{"as usual", "127.0.0.1 localhost\n", nil, "127.0.0.1 localhost\n"},
		{"no newline at the end", "127.0.0.1 localhost", nil, "127.0.0.1 localhost"},
		{"no newline at the end, and lines of the user's later", "127.0.0.1 localhost",
			func(s string) string { return s + "10.0.0.9 mine\n" }, "127.0.0.1 localhost\n10.0.0.9 mine\n"},
		{"no file", "-", nil, "-"},
		{"no file, and lines of the user's later", "-", func(s string) string { return "10.0.0.9 mine\n" + s }, "10.0.0.9 mine\n"},
		{"an empty file", "", nil, ""},
		{"the user took the lines out", "127.0.0.1 localhost\n", func(s string) string { return strings.ReplaceAll(s, ours, "") }, "127.0.0.1 localhost\n"},
		{"the user removed the file", "127.0.0.1 localhost\n", func(string) string { return "-" }, "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newBed(t)
			if tt.before != "-" {
				x.a.WriteFile("/etc/hosts", 0o640, []byte(tt.before))
			}
			for _, text := range []string{"10.0.0.1 api", "10.0.0.2 api"} { // made once, and changed
				block := runtime.Step{ID: "block", Do: runtime.Block{Path: "/etc/hosts", Name: "test", Text: text}}
				if err := x.engine().Run(t.Context(), onA(block)); err != nil {
					t.Fatal(err)
				}
			}
			raw, _, err := x.a.File("/etc/hosts")
			if err != nil || !strings.HasSuffix(string(raw), ours) {
				t.Fatalf("%q, %v", raw, err)
			}
			if tt.meanwhile != nil {
				if text := tt.meanwhile(string(raw)); text == "-" {
					x.a.Remove("/etc/hosts")
				} else {
					x.a.WriteFile("/etc/hosts", 0o640, []byte(text))
				}
			}
			if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
				t.Fatal(err)
			}
			got := "-"
			if raw, _, err := x.a.File("/etc/hosts"); err == nil {
				got = string(raw)
			}
			if diff := cmp.Diff(tt.after, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinesThatWereCutOffOnTheWayAreTakenOutToo(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost"))
	block := onA(runtime.Step{ID: "block", Do: runtime.Block{Path: "/etc/hosts", Name: "test", Text: "10.0.0.1 api"}})
	x.a.Fail([]string{"dd", "of=" + runtime.LedgerPath}, host.ErrLost, 2) // made, and not recorded as done
	e := x.engine()
	e.Limits.Return = -1
	if err := e.Run(t.Context(), block); err == nil {
		t.Fatal("no error")
	}
	if err := x.engine().Run(t.Context(), block); err != nil {
		t.Fatal(err)
	}
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	if raw, _, _ := x.a.File("/etc/hosts"); string(raw) != "127.0.0.1 localhost" {
		t.Errorf("%q", raw)
	}
}
