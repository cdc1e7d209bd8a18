package builder

import (
	"testing"

	"github.com/sealrt/sealrt/artifact/layer"
)

func TestUsersOfTheTreeBecomeNumbers(t *testing.T) {
	full := newTree()
	full.apply([]layer.Entry{
		textEntry("etc/group", "grp:x:77:\n"), textEntry("etc/passwd", "root:x:0:0::/:\nbob:x:1234:2345::/:\n"),
	})
	for user, want := range map[string]string{
		"": "", "bob": "1234:2345", "bob:grp": "1234:77", "5:grp": "5:77", "5": "5", "5:6": "5:6", "root": "0:0", "alice": "alice", "bob:nogroup": "bob:nogroup",
	} {
		if got := numbered(full, user); got != want {
			t.Errorf("%q becomes %q, want %q", user, got, want)
		}
		if got := numbered(newTree(), user); got != user {
			t.Errorf("%q becomes %q in a tree without users", user, got)
		}
	}
}
