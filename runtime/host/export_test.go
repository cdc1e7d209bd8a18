package host

// BreakUnnoticed closes the connection without h noticing, as a network does between two questions.
func (h *SSH) BreakUnnoticed() {
	_ = h.link.close() // that is the point
	h.link = &link{route: h.link.route, done: make(chan struct{})}
}
