package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// stepwise is a plan on A whose steps write these contents, as ID=TEXT.
func stepwise(contents ...string) runtime.Plan {
	var p runtime.Plan
	for _, c := range contents {
		id, text, _ := strings.Cut(c, "=")
		s := write("/etc/"+id, text)
		s.ID = id
		p = p.Then(onA(s))
	}
	return p
}

func TestStepsOfOneNameAreDoneInTheirOrderAndNotAgain(t *testing.T) {
	for name, c := range map[string]struct {
		before, plan []string
		want         []string
	}{
		"twice the same":                {nil, []string{"a=1", "b=1", "a=1"}, []string{"a", "b"}},
		"one, then another":             {nil, []string{"a=1", "b=1", "a=2"}, []string{"a", "b", "a"}},
		"there and back":                {nil, []string{"a=1", "a=2", "a=1"}, []string{"a", "a", "a"}},
		"the first is done":             {[]string{"a=1"}, []string{"a=1", "b=1", "a=2"}, []string{"b", "a"}},
		"the last is done":              {[]string{"a=1", "a=2"}, []string{"a=1", "b=1", "a=2"}, []string{"b"}},
		"something else was done first": {[]string{"a=0"}, []string{"a=1", "a=2"}, []string{"a", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost("10.0.0.1")
			engine := func(begun *[]string) *runtime.Engine {
				return &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{memberA.Address: h}, Observe: func(ev runtime.Event) {
					if ev.State == runtime.Started {
						*begun = append(*begun, ev.Step)
					}
				}}
			}
			var begun []string
			for _, b := range c.before {
				if err := engine(&begun).Run(t.Context(), stepwise(b)); err != nil {
					t.Fatal(err)
				}
			}
			begun = nil
			e := engine(&begun)
			f, err := e.Forecast(t.Context(), stepwise(c.plan...))
			if err != nil {
				t.Fatal(err)
			}
			var foretold []string
			for _, p := range f.Phases {
				for _, s := range p.Steps {
					foretold = append(foretold, s.ID)
				}
			}
			if diff := cmp.Diff(c.want, foretold); diff != "" {
				t.Errorf("foretold:\n%s", diff)
			}
			if err := e.Execute(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, begun); diff != "" {
				t.Errorf("done:\n%s", diff)
			}
			last := c.plan[len(c.plan)-1]
			if got, _ := host.ReadFile(t.Context(), h, "/etc/"+last[:1]); string(got) != last[2:] {
				t.Errorf("the file says %q, want %q", got, last[2:])
			}
		})
	}
}
