package runtime_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestHostThatWasUpgradedIsNotInstalledOnceMore(t *testing.T) {
	hooked := func(letter string) runtime.Image {
		i := plainImage(letter)
		for _, phase := range []string{"preflight", "pre-install", "post-install", "pre-join", "post-join", "pre-upgrade", "post-upgrade"} {
			i.Paths = append(i.Paths, "scripts/hooks/"+phase+".d/hook")
		}
		i.Programs = i.Paths
		return i
	}
	c := plainCluster(1, 1)
	c.Hooks, c.Scripts = []clusterfile.Hook{{Phase: "post-install", File: "mine"}}, map[string]string{"mine": hook}
	c.Images[0] = hooked("a")
	hosts, engine := machines(c)
	for _, h := range hosts {
		h.Respond([]string{runtime.HelperPath, "host", "script"}, "", 0)
	}
	made, err := life(t, c).Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine().Run(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	moved, err := life(t, c).Upgrade(hooked("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := engine().Run(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	if n := count(hosts["n1"], "pre-upgrade.d/hook"); n != 1 {
		t.Errorf("the hook of upgrades ran %d times", n)
	}
	c.Images[0] = hooked("b")
	again, err := life(t, c).Create()
	if err != nil {
		t.Fatal(err)
	}
	left, err := engine().Pending(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	if todo := slices.DeleteFunc(story(left), func(s string) bool { return !strings.Contains(s, "hook") && !strings.Contains(s, "mine") }); len(todo) > 0 {
		t.Errorf("to be done once more: %q", todo)
	}
}

func TestAppsThatAPlanIsNotAboutStayOnTheHosts(t *testing.T) {
	c := plainCluster(1, 0)
	app := plainImage("b")
	c.Beside = []runtime.Image{app}
	p, err := life(t, c).Create()
	if err != nil {
		t.Fatal(err)
	}
	drops := 0
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if d, ok := s.Do.(runtime.Drop); ok {
					drops++
					if !slices.Contains(d.Images, app.Digest) {
						t.Errorf("only %q stay", d.Images)
					}
				}
			}
		}
	}
	if drops != 1 {
		t.Errorf("%d steps drop images", drops)
	}
}
