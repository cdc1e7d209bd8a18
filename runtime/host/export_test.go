package host

import "time"

// Watched makes h's connection ask whether the machine is there whenever tick is called, which returns false when the connection
// has ended.
func (h *SSH) Watched() (tick func() bool) {
	ticks, l := make(chan time.Time), h.link
	go l.watch(ticks)
	return func() bool {
		select {
		case ticks <- time.Time{}:
			return true
		case <-l.done:
			return false
		}
	}
}

// BreakUnnoticed closes the connection without h noticing, as a network does between two questions.
func (h *SSH) BreakUnnoticed() {
	_ = h.link.close() // that is the point
	h.link = &link{route: h.link.route, done: make(chan struct{})}
}
