package distros

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

func TestDriverIsThatOfTheImage(t *testing.T) {
	var names []string
	for _, d := range drivers() {
		names = append(names, d.Name())
		got, err := New(runtime.Image{Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: d.Name()}})
		if err != nil || got != d {
			t.Errorf("%s: %v, %v", d.Name(), got, err)
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("the names are %q, want each once and in order", names)
	}
	for kind, want := range map[artifact.Kind]string{
		{Type: artifact.TypeRootfs, Distro: "other"}: "it knows: " + strings.Join(names, ", "),
		{Type: artifact.TypeApp, Distro: names[0]}:   "boots no cluster",
	} {
		if _, err := New(runtime.Image{Kind: kind}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", kind, err, want)
		}
	}
}
