package runtime_test

import (
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/runtime"
)

func TestImagesAreTakenBackAloneOrBeforeOthersComeBack(t *testing.T) {
	take := runtime.Remove{Paths: []string{"/new.tar"}}
	alone := runtime.ReturnImages(take, nil)
	if len(alone) != 1 || alone[0].With != "" {
		t.Errorf("alone: %+v", alone)
	}
	both := runtime.ReturnImages(take, []runtime.Step{{ID: "place", Do: runtime.Remove{Paths: []string{"/old.tar"}}}})
	if len(both) != 2 || both[0].With != both[1].ID || both[1].With != "" {
		t.Errorf("with others: %+v", both)
	}
}

func TestImagesWithoutContainerImagesDemandNothing(t *testing.T) {
	steps := runtime.AllPresent([]runtime.Image{{Images: []string{"a:1"}}, {}}, runtime.Present{Argv: []string{"ls"}})
	if len(steps) != 1 || steps[0].Do.(runtime.Present).Names[0] != "a:1" {
		t.Errorf("%+v", steps)
	}
}

func TestOptionalFileIsTheFirstThatIsThere(t *testing.T) {
	c := &runtime.Cluster{Images: []runtime.Image{{Files: fstest.MapFS{"etc/b": {Data: []byte("b")}, "etc/c": {Data: []byte("c")}}}}}
	if name, raw, err := c.OptionalFile(runtime.Member{}, "etc/a", "etc/b", "etc/c"); name != "etc/b" || string(raw) != "b" || err != nil {
		t.Errorf("%q %q %v", name, raw, err)
	}
	if name, raw, err := c.OptionalFile(runtime.Member{}, "etc/a"); name != "" || raw != nil || err != nil {
		t.Errorf("none: %q %q %v", name, raw, err)
	}
}
