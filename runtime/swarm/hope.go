package swarm

// hope is what tells whether hosts get anything from each other at all. Waiting
// for them takes its time with each: where the first ones do not serve, or
// nobody reaches them, the others get all from the client at once. The swarm's
// lock guards it.
type hope struct {
	ready    bool // a host has answered that it serves
	fetched  bool // a host has got something from another
	late     int  // hosts that were to serve and did not answer in time
	isolated int  // hosts that reached none of those that serve
}

const (
	// enough is how many hosts one has to fail to reach, and none to reach,
	// until it is left alone with the client: each costs the time of a
	// connection. It is also how many that do not begin to serve are waited for.
	enough = 2
	// many is how many hosts have to be left alone until the others do not try.
	many = 4
)

// hopeless reports whether no host waits for another any more. One that serves
// after all, however late, is asked again. The lock is held.
func (s *Swarm) hopeless() bool {
	h := s.hope
	return !h.fetched && (h.isolated >= many || !h.ready && h.late >= enough)
}

// awaited reports whether a usable host is worth waiting for. The lock is held.
func (s *Swarm) awaited(q *peer) bool {
	return q.serving == ready || !q.late
}

// despair notes that a host is not waited for any longer, unless it serves.
func (s *Swarm) despair(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.serving != starting {
		return
	}
	p.late = true
	s.hope.late++
	if s.hope.late == enough && s.hopeless() {
		s.warn(p, "it has not begun to serve its blobs within %s: until a host does, each gets all from this machine", lateTime)
	}
	s.change()
}

// isolate leaves a host alone with the client when it failed to reach enough
// others and reached none. The lock is held.
func (s *Swarm) isolate(me *peer) {
	cut := 0
	for _, why := range me.cut {
		if why != "" {
			cut++
		}
	}
	if cut >= enough && !me.fetched && !me.alone {
		me.alone = true
		s.hope.isolated++
	}
}

// The blobs that leave the client at a time where hosts serve each other, and
// where they do not.
const (
	fewStreams  = 4
	manyStreams = 16
)

// maxStreams is how many blobs may leave the client at a time. The lock is held.
func (s *Swarm) maxStreams() int {
	switch {
	case s.o.Streams > 0:
		return s.o.Streams
	case s.o.SSHOnly || s.hopeless():
		return manyStreams
	}
	return fewStreams
}
