package find

import "testing"

func TestIsList(t *testing.T) {
	for name, want := range map[string]bool{
		"manifests/imageList": true, "manifests/a.imagelist": true, "k3s-images.txt": true,
		"images/k3s-images.txt": false, "manifests/a.yaml": false, "manifests/sub/a.imagelist": true,
		"images/shim/a": true, "images/shim/sub/a": false, "images/shim": false,
	} {
		if got := IsList(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
