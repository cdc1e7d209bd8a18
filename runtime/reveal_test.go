package runtime_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// secretive is a cluster that names values by where they are, in all the places
// where it can.
func secretive(reveal func(what, reference string) (string, error)) *runtime.Cluster {
	x := clusterOf(rootfs(map[string]string{
		"manifests/s.yaml.tmpl":          object("S") + "a: {{ .Env.A | b64enc }}\nb: {{ .Host.Env.B }}\np: {{ .Cluster.Proxy.HTTPS }}\nimage: {{ .Env.OWN }}\n",
		"manifests/c.yaml":               object("C"),
		"scripts/hooks/preflight.d/a.sh": "#!/bin/sh\n",
	}))
	x.Images[0].Env = []string{"OWN=env:OF_THE_CLIENT"}
	x.Env = map[string]string{"A": "env:A"}
	x.Members[0].Env, x.Members[1].Env = map[string]string{"B": "file:/b"}, map[string]string{"B": "file:/b"}
	x.Proxy.HTTPS = "env:PROXY"
	x.Config = []clusterfile.Config{{Path: "manifests/c.yaml", Data: map[string]any{"list": []any{"env:C"}}}}
	x.RevealWith(reveal)
	return x
}

func TestReferencesAreLookedUpWhereTheyAreUsedAndNowhereKept(t *testing.T) {
	secrets := map[string]string{"env:A": "value-of-a", "file:/b": "value-of-b", "env:PROXY": "http://u:pw@proxy", "env:C": "value-of-c"}
	x := secretive(func(_, reference string) (string, error) {
		value, ok := secrets[reference]
		if !ok {
			t.Errorf("%s was asked for", reference)
		}
		return value, nil
	})
	bed := newBed(t)
	delivered(bed, x)
	bed.Hidden = x.Hidden()
	plan := created(t, x)
	f, err := bed.Forecast(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := f.Pending.WriteRendered(&shown, x.Secrets()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shown.String(), "a: ***") || !strings.Contains(shown.String(), "b: ***") || !strings.Contains(shown.String(), "p: ***") {
		t.Errorf("a dry run shows\n%s", shown.String())
	}
	for what, v := range map[string]any{"the plan": f, "the Clusterfile": x.Clusterfile(), "the images": x.Images} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(raw)
		for _, value := range secrets {
			if bytes.Contains(raw, []byte(value)) {
				t.Errorf("%s holds %s", what, value)
			}
		}
	}
	steps, err := json.Marshal(stepsCalled(plan, "publish the Clusterfile", "write the published Clusterfile"))
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(steps)
	if !strings.Contains(string(steps), "A: env:A") || !strings.Contains(string(steps), "B: file:/b") {
		t.Errorf("shown to people is %s", steps)
	}
	if strings.Contains(shown.String(), "value-of") || !strings.Contains(shown.String(), "env:A") {
		t.Errorf("what people see:\n%s", shown.String())
	}
	if err := bed.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"s.yaml": object("S") + "a: dmFsdWUtb2YtYQ==\nb: value-of-b\np: http://u:pw@proxy\nimage: env:OF_THE_CLIENT\n",
		"c.yaml": "apiVersion: v1\nkind: C\nmetadata: {name: c}\nlist:\n  - value-of-c\n",
	} {
		if got, _, err := bed.b.File(x.Image().Rendered() + "/manifests/" + name); string(got) != want || err != nil {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	published, _, err := bed.a.File(runtime.Scratch + "/clusterfile.json")
	if err != nil || strings.Contains(string(published), "value-of") || strings.Contains(string(published), "u:pw") {
		t.Errorf("people are shown %s %v", published, err)
	}
	for _, reference := range []string{"A: env:A", "B: file:/b", "env:PROXY", "- env:C"} {
		if !strings.Contains(string(published), reference) {
			t.Errorf("%s is not in %s", reference, published)
		}
	}
	hook := false
	for _, c := range bed.b.Calls() {
		line := strings.Join(append(c.Argv, c.Env...), " ")
		hook = hook || strings.Contains(line, "--secret-env -- "+x.Image().Rootfs()+"/scripts/hooks/preflight.d/a.sh") && strings.Contains(string(c.Stdin), "B=value-of-b\x00")
		if strings.Contains(line, "value-of") {
			t.Errorf("everybody on the host sees %s", line)
		}
	}
	if !hook {
		t.Error("the hook did not get the value")
	}
}

func TestAReferenceToNothingStopsThePlan(t *testing.T) {
	x := secretive(func(what, _ string) (string, error) { return "", errors.New(what + ": is not set") })
	if _, err := runtime.New(x, fakeDriver{}); err == nil || !strings.Contains(err.Error(), "env A: is not set") {
		t.Error(err)
	}
}

func TestDocumentsOfTheDistributionNameSecretsByWhereTheyAre(t *testing.T) {
	x := clusterOf(rootfs(nil))
	x.Others = []clusterfile.Other{{Raw: "# why\ndatastore-endpoint: env:DSN\n"}}
	x.RevealWith(func(string, string) (string, error) { return "postgres: #1", nil })
	var saw string
	if _, err := runtime.New(x, seeing{see: func(c *runtime.Cluster) { saw = c.Others[0].Raw }}); err != nil {
		t.Fatal(err)
	}
	if want := "# why\ndatastore-endpoint: 'postgres: #1'\n"; saw != want || !strings.Contains(x.Others[0].Raw, "env:DSN") {
		t.Errorf("the driver sees %q, the cluster keeps %q", saw, x.Others[0].Raw)
	}
}

// seeing is a driver that shows which cluster it is asked about.
type seeing struct {
	fakeDriver
	see func(*runtime.Cluster)
}

func (d seeing) Check(c *runtime.Cluster) error {
	d.see(c)
	return nil
}

// stepsCalled returns the steps of a plan with these IDs.
func stepsCalled(p runtime.Plan, ids ...string) []runtime.Step {
	var out []runtime.Step
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if slices.Contains(ids, s.ID) {
					out = append(out, s)
				}
			}
		}
	}
	return out
}
