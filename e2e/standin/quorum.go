package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// peekTimeout is how long a member may take to show that it lives.
const peekTimeout = 1500 * time.Millisecond

var errNoLeader = errors.New("etcdserver: no leader: fewer than a majority of the members live")

// current is the state as it is now; it is never changed, only replaced.
func (s *server) current() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// living asks all members for their revision; who answers lives.
func (s *server) living(ctx context.Context, st *state) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, peekTimeout)
	defer cancel()
	out := map[string]int64{s.id: st.Revision}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range st.Members {
		if m.ID == s.id {
			continue
		}
		wg.Go(func() {
			var answer struct {
				ID       string
				Revision int64
			}
			if err := s.call(ctx, m.URL+"/standin/peek", st.ServerToken, nil, &answer); err == nil && answer.ID == m.ID {
				mu.Lock()
				out[m.ID] = answer.Revision
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out
}

// leader returns the member that decides: the lowest that lives, where a
// majority does.
func (s *server) leader(ctx context.Context) (member, map[string]int64, error) {
	st := s.current()
	live := s.living(ctx, st)
	var voters []member
	for _, m := range st.voters() {
		if _, ok := live[m.ID]; ok {
			voters = append(voters, m)
		}
	}
	if s.store == nil && len(voters) < len(st.voters())/2+1 {
		return member{}, live, errNoLeader
	}
	return slices.MinFunc(voters, func(a, b member) int { return strings.Compare(a.ID, b.ID) }), live, nil
}

// catchUp takes over the newest state of those that live.
func (s *server) catchUp(ctx context.Context, live map[string]int64) error {
	if s.store != nil {
		fresh, err := s.store.load(ctx)
		if err != nil || fresh == nil {
			return errors.Join(err, errNoLeader)
		}
		return s.take(fresh)
	}
	for {
		st := s.current()
		newest, at := st.Revision, ""
		for id, revision := range live {
			if revision > newest {
				newest, at = revision, id
			}
		}
		if at == "" {
			return nil
		}
		m := st.member(at)
		if m == nil {
			return nil
		}
		var fresh state
		if err := s.call(ctx, m.URL+"/standin/state", st.ServerToken, nil, &fresh); err != nil {
			return err
		}
		if err := s.take(&fresh); err != nil {
			return err
		}
	}
}

// take replaces the state by a newer one. A server that was removed stops.
func (s *server) take(fresh *state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh.Revision <= s.state.Revision {
		return nil
	}
	s.state = fresh
	if err := s.keep(fresh); err != nil {
		return err
	}
	return s.removed(fresh)
}

// removed stops a server that is none of the cluster any more.
func (s *server) removed(st *state) error {
	if slices.Contains(st.Removed, s.id) {
		select {
		case s.fatal <- errors.New("this server has been removed from the cluster: it stops (R12)"):
		default:
		}
	}
	return nil
}

// change makes a change on the leader: it counts when a majority of the
// members, as they are after it, has it.
func (s *server) change(ctx context.Context, live map[string]int64, do func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil {
		return s.amend(ctx, do)
	}
	next, err := s.state.clone()
	if err != nil {
		return err
	}
	if err := do(next); err != nil {
		return err
	}
	next.Revision++
	var mu sync.Mutex
	var wg sync.WaitGroup
	have := map[string]bool{s.id: true}
	told := slices.Clone(next.Members)
	for _, m := range s.state.Members { // those that leave with it learn of it too
		if next.member(m.ID) == nil {
			told = append(told, m)
		}
	}
	short, cancel := context.WithTimeout(ctx, 2*peekTimeout)
	defer cancel()
	for _, m := range told {
		if _, ok := live[m.ID]; !ok || m.ID == s.id {
			continue
		}
		wg.Go(func() {
			if err := s.call(short, m.URL+"/standin/push", next.ServerToken, next, nil); err == nil {
				mu.Lock()
				have[m.ID] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n := 0
	voters := next.voters()
	for _, m := range voters {
		if have[m.ID] {
			n++
		}
	}
	if n < len(voters)/2+1 {
		return errNoLeader
	}
	s.state = next
	if err := s.keep(next); err != nil {
		return err
	}
	return s.removed(next)
}

// watch keeps up with the others, and makes voters of learners.
func (s *server) watch(ctx context.Context) {
	for ctx.Err() == nil {
		lead, live, err := s.leader(ctx)
		if err == nil {
			err = s.catchUp(ctx, live)
		}
		if err == nil && lead.ID == s.id {
			err = s.promote(ctx, live)
		}
		if err != nil && ctx.Err() == nil {
			logf("%v", err)
		}
		pause(ctx, time.Second)
	}
}

// promote makes a learner that lives, with a node that is there, a voter.
func (s *server) promote(ctx context.Context, live map[string]int64) error {
	for _, m := range s.current().Members {
		_, alive := live[m.ID]
		if _, there := s.current().Nodes[m.Name]; !m.Learner || !alive || !there {
			continue
		}
		err := s.change(ctx, live, func(st *state) error {
			if l := st.member(m.ID); l != nil {
				l.Learner = false
			}
			if len(st.voters())%2 == 0 {
				logf("%d servers: an odd number is recommended (R5)", len(st.voters()))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
