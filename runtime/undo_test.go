package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountsBelowAreFoundTheLastFirst(t *testing.T) {
	mounts := "overlay / overlay rw 0 0\n" +
		"tmpfs /var/lib/kubelet/pods/a tmpfs rw 0 0\n" +
		"tmpfs /var/lib/kubelet/pods/a/b\\040c tmpfs rw 0 0\n" +
		"tmpfs /var/lib/kubelet2 tmpfs rw 0 0\n" +
		"tmpfs /run/containerd tmpfs rw 0 0\n"
	want := []string{"/run/containerd", "/var/lib/kubelet/pods/a/b c", "/var/lib/kubelet/pods/a"}
	if diff := cmp.Diff(want, mountsBelow(mounts, []string{"/var/lib/kubelet", "/run/containerd"})); diff != "" {
		t.Error(diff)
	}
}

func TestBlockTakesOnlyItsOwnLinesOut(t *testing.T) {
	text := "127.0.0.1 localhost\n# begin sealrt one\n10.0.0.1 api\n# end sealrt one\n# begin sealrt two\nx\n# end sealrt two\nlast"
	want := "127.0.0.1 localhost\n# begin sealrt two\nx\n# end sealrt two\nlast"
	rest, last := Block{Name: "one"}.without(text)
	if diff := cmp.Diff(want, rest); diff != "" || last {
		t.Errorf("%v, %s", last, diff)
	}
}
