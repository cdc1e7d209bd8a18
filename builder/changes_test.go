package builder

import (
	"os"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact/layer"
)

func TestNamesOfWhiteoutsAreNotForCommands(t *testing.T) {
	dir := layer.Entry{Name: "d/.wh.dir", Mode: os.ModeDir | 0o755}
	for _, e := range []layer.Entry{file(".wh.gone", ""), file("d/.wh..wh..opq", ""), file("d/.wh.never", "x"), dir} {
		tr := newTree()
		tr.apply([]layer.Entry{file("d/a", "a"), file("gone", "")})
		if got, err := changed(tr, []layer.Entry{e}); err == nil || !strings.Contains(err.Error(), e.Name+": names that start with .wh. are reserved") {
			t.Errorf("%s: %v, %v", e.Name, got, err)
		}
	}
}
