package builder

import "time"

// Times of files are as fine as their file system, and the kernel moves its clock for them with each tick: a file can
// be written twice within one time stamp. What was looked at so soon after it was written is looked at again (git's
// Documentation/technical/racy-git.txt).
const (
	coarseTick = 2 * time.Second       // file systems whose times have no part below a second; FAT counts by two
	fineTick   = 50 * time.Millisecond // several ticks of the slowest kernel clock, 100 Hz
)

// settledAt says whether a file whose last change has the time stamp t cannot be changed under the same one any more.
// Times to come are no promise of anything.
func settledAt(t, now time.Time) bool {
	tick := fineTick
	if t.Nanosecond() == 0 {
		tick = coarseTick
	}
	return now.Sub(t) > tick
}
