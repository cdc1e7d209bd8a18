package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// peekTimeout is how long a member may take to show that it lives.
const peekTimeout = 1500 * time.Millisecond

var (
	errNoLeader = errors.New("etcdserver: no leader: fewer than a majority of the members live")
	errRemoved  = errors.New("etcd: the member has been permanently removed from the cluster: it stops (R12)")
)

// current is the state as it is now; it is never changed, only replaced.
func (s *server) current() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// peek is what a member says to show that it lives.
type peek struct {
	ID       string
	Revision int64
}

// each asks members at once, and returns the IDs of those that gave an answer.
func (s *server) each(ctx context.Context, of []member, ask func(context.Context, member) (int64, error)) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, peekTimeout)
	defer cancel()
	out := map[string]int64{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range of {
		if m.ID == s.id {
			continue
		}
		wg.Go(func() {
			if revision, err := ask(ctx, m); err == nil {
				mu.Lock()
				out[m.ID] = revision
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out
}

// leader returns the member that decides, the lowest that lives, where a majority
// does; with the members that live.
func (s *server) leader(ctx context.Context) (member, map[string]int64, error) {
	st := s.current()
	live := s.each(ctx, st.Members, func(ctx context.Context, m member) (int64, error) {
		var is peek
		err := s.call(ctx, m.url()+"/peer/peek", st.Peer, nil, &is)
		if err == nil && is.ID != m.ID {
			err = fmt.Errorf("%s is another now", m.Name)
		}
		return is.Revision, err
	})
	live[s.id] = st.Revision
	voters := st.voters()
	n := len(voters)
	voters = slices.DeleteFunc(voters, func(m member) bool { _, ok := live[m.ID]; return !ok })
	if len(voters) < n/2+1 {
		return member{}, live, errNoLeader
	}
	return slices.MinFunc(voters, func(a, b member) int { return strings.Compare(a.ID, b.ID) }), live, nil
}

// catchUp takes over the newest state of those that live.
func (s *server) catchUp(ctx context.Context, live map[string]int64) error {
	st := s.current()
	newest := member{ID: s.id}
	for _, m := range st.Members {
		if live[m.ID] > live[newest.ID] && live[m.ID] > st.Revision {
			newest = m
		}
	}
	if newest.ID == s.id {
		return nil
	}
	var fresh state
	if err := s.call(ctx, newest.url()+"/peer/state", st.Peer, nil, &fresh); err != nil {
		return err
	}
	return s.take(&fresh)
}

// take replaces the state by a newer one. A controller that was removed stops.
func (s *server) take(fresh *state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh.Revision <= s.state.Revision {
		return nil
	}
	return s.keep(fresh)
}

func (s *server) keep(fresh *state) error {
	s.state = fresh
	if slices.Contains(fresh.Removed, s.id) {
		time.AfterFunc(time.Second/2, func() { s.fatal <- errRemoved }) // who asked for it hears first
	}
	return fresh.save()
}

// change makes a change on the leader: it counts when a majority of the members,
// as they are after it, has it.
func (s *server) change(ctx context.Context, live map[string]int64, do func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.state.clone()
	if err != nil {
		return err
	}
	if err := do(next); err != nil {
		return err
	}
	next.Revision++
	told := slices.Clone(next.Members)
	for _, m := range s.state.Members { // those that leave with it learn of it too
		if !next.has(m.ID) {
			told = append(told, m)
		}
	}
	told = slices.DeleteFunc(told, func(m member) bool { _, ok := live[m.ID]; return !ok })
	have := s.each(ctx, told, func(ctx context.Context, m member) (int64, error) {
		return 0, s.call(ctx, m.url()+"/peer/push", next.Peer, next, nil)
	})
	have[s.id] = 0
	n, voters := 0, next.voters()
	for _, m := range voters {
		if _, ok := have[m.ID]; ok {
			n++
		}
	}
	if n < len(voters)/2+1 {
		return errNoLeader
	}
	return s.keep(next)
}

// watch keeps up with the others, and makes members of learners.
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

// promote makes a learner that lives a member.
func (s *server) promote(ctx context.Context, live map[string]int64) error {
	for _, m := range s.current().Members {
		if _, alive := live[m.ID]; !m.Learner || !alive {
			continue
		}
		err := s.change(ctx, live, func(st *state) error {
			if at := st.index(func(o member) bool { return o.ID == m.ID }); at >= 0 {
				st.Members[at].Learner = false
			}
			return st.joined(m.Name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
