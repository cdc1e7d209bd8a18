package layer

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestCompareOrdersParentsWhiteoutsAndSiblings(t *testing.T) {
	want := []string{
		".wh..wh..opq", ".wh.z", "!x", "a", "a/.wh.b", "a/-", "a/b", "a/b/c", "a/b-", "a-", "a-/b", "a.b", "a0", "b", "é", "\xff",
	}
	for i, a := range want {
		for j, b := range want {
			sign := 0
			switch {
			case i < j:
				sign = -1
			case i > j:
				sign = 1
			}
			if got := Compare(a, b); got != sign {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, sign)
			}
		}
	}
}

func TestSortedLeavesItsInputAlone(t *testing.T) {
	in := []Entry{{Name: "b"}, Whiteout("dir/gone"), {Name: "a"}, Opaque("dir"), Whiteout("old"), Opaque(".")}
	var got []string
	for e, err := range Sorted(in) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name)
	}
	want := []string{".wh..wh..opq", ".wh.old", "a", "b", "dir/.wh..wh..opq", "dir/.wh.gone"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if in[0].Name != "b" || !slices.ContainsFunc(in, func(e Entry) bool { return e.Name == "a" }) {
		t.Errorf("the input changed: %v", in)
	}
}

func TestParseCompression(t *testing.T) {
	for name, want := range map[string]struct {
		c Compression
		m types.MediaType
	}{
		"zstd": {Zstd, "application/vnd.oci.image.layer.v1.tar+zstd"},
		"gzip": {Gzip, "application/vnd.oci.image.layer.v1.tar+gzip"},
		"none": {None, "application/vnd.oci.image.layer.v1.tar"},
	} {
		got, err := ParseCompression(name)
		if err != nil || got != want.c || got.MediaType() != want.m || got.String() != name {
			t.Errorf("ParseCompression(%q) = %v, %v with media type %s", name, got, err, got.MediaType())
		}
	}
	for _, name := range []string{"", "ZSTD", "xz", "compression(7)"} {
		if got, err := ParseCompression(name); err == nil {
			t.Errorf("ParseCompression(%q) = %v, want an error", name, got)
		}
	}
}
