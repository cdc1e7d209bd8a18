//go:build !linux

package builder

import (
	"fmt"
	"io/fs"
	"reflect"
	"time"
)

// stamp returns a text that is another one once the file of info was written or replaced: while it stays, its content
// is taken as known. It means nothing on another machine. See settled for its one gap.
func stamp(info fs.FileInfo) string {
	text := fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
	// Systems spell the structure in different ways; the inode has one name in all that have it.
	if st := reflect.Indirect(reflect.ValueOf(info.Sys())); st.Kind() == reflect.Struct {
		if ino := st.FieldByName("Ino"); ino.IsValid() && ino.CanUint() {
			text += fmt.Sprintf(" %d", ino.Uint())
		}
	}
	return text
}

// settled says whether the stamp of a file that was looked at by now covers every later write to it. A file that
// changed a moment before may change again within the same time stamp.
func settled(info fs.FileInfo, now time.Time) bool { return settledAt(info.ModTime(), now) }
