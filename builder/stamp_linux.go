package builder

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// stamp returns a string of bytes that is another one once the file of info was written, replaced or changed in its modes: while
// it stays, its content is known. It means nothing on another machine. See settled for its one gap.
func stamp(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
	}
	text := make([]byte, 0, 5*8)
	text = binary.LittleEndian.AppendUint64(text, uint64(st.Dev)) //nolint:unconvert // its type differs between architectures
	text = binary.LittleEndian.AppendUint64(text, st.Ino)
	for _, n := range [...]int64{st.Size, st.Mtim.Nano(), st.Ctim.Nano()} {
		text = binary.LittleEndian.AppendUint64(text, uint64(n))
	}
	return string(text)
}

// settled says whether the stamp of a file that was looked at by now covers every later write to it. A file that
// changed a moment before may change again within the same time stamp.
func settled(info fs.FileInfo, now time.Time) bool {
	if !settledAt(info.ModTime(), now) {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || settledAt(time.Unix(st.Ctim.Unix()), now)
}
