package k0s

import (
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/runtime"
)

func TestControllerIsToldWithoutConfigurationOfTheImage(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{"no file": {}, "an empty file": {"etc/k0s.yaml": {Data: []byte("# nothing\n")}}} {
		m := runtime.Member{Address: "10.0.0.1", NodeIP: "10.0.0.1", Role: runtime.Master}
		c := &runtime.Cluster{Name: "c1", Members: []runtime.Member{m}, Images: []runtime.Image{{Files: files}}}
		if _, err := configuration(c, m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
