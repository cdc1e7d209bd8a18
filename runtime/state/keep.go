package state

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxRequest bounds a line of the protocol: a journal goes in one.
const maxRequest = 256 << 20

// Keeper is what runs on a master for as long as a client works on the cluster.
type Keeper struct {
	Dir      string        // of the state
	Patience time.Duration // without a word from the client, until the lock is given back; 0: [Patience]
}

// Keep serves one client: it takes the lock, keeps the journal and the state,
// and returns when in ends, when the client was silent for too long or when
// ctx ends; from then on nobody holds the lock. Where another client holds it,
// that is the answer, and no error.
func (k Keeper) Keep(ctx context.Context, in io.Reader, out io.Writer) error {
	if k.Patience == 0 {
		k.Patience = Patience
	}
	s := &service{Keeper: k, out: out, timer: time.NewTimer(k.Patience)}
	requests, failed := make(chan request), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { failed <- receive(ctx, in, requests) }()
	defer s.release()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-s.timer.C:
			return fmt.Errorf("no word from the client for %s: the cluster is released", k.Patience)
		case r := <-requests:
			s.timer.Reset(k.Patience)
			if done, err := s.serve(ctx, r); done || err != nil {
				return err
			}
		}
	}
}

// receive reads requests until there are no more.
func receive(ctx context.Context, in io.Reader, to chan<- request) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("a request that is not understood: %w", err)
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return lines.Err()
}

// service is the work for one client.
type service struct {
	Keeper
	out     io.Writer
	timer   *time.Timer
	lock    *os.File
	journal *journal
}

// serve answers a request. done means that it was the last.
func (s *service) serve(ctx context.Context, r request) (done bool, err error) {
	a := answer{Seq: r.Seq}
	switch {
	case r.Op == opShow:
		a.Snapshot, err = s.show()
		done = true
	case r.Op == opHold && s.lock == nil:
		a.Protocol = protocol
		before, _ := signed(s.Dir)
		a.Last = before.ID
		a.Busy, a.Heard, err = s.hold(r)
		if done = a.Busy != nil; !done && err == nil {
			a.Status, err = s.status()
		}
	case s.lock == nil:
		err = errors.New("the lock comes first")
	default:
		err = s.work(r, &a)
	}
	if err != nil {
		a.Error = err.Error()
		done = done || s.lock == nil
	}
	return done, s.send(ctx, a)
}

// work does what only the holder of the lock may.
func (s *service) work(r request, a *answer) (err error) {
	now := time.Now()
	// for others to see; the lock does not hang on it
	_ = os.Chtimes(filepath.Join(s.Dir, holderFile), now, now)
	switch r.Op {
	case opBeat:
		return nil
	case opRecord:
		return s.journal.add(r.Lines)
	case opSave:
		return writeFiles(s.Dir, r.Files)
	case opRead:
		a.Snapshot, err = readFiles(s.Dir)
		return err
	case opJournal:
		return s.rewrite(r.Lines)
	}
	return fmt.Errorf("a request %q is not known", r.Op)
}

// rewrite makes these lines the journal.
func (s *service) rewrite(lines [][]byte) error {
	if err := s.journal.close(); err != nil {
		return err
	}
	if err := writeFiles(s.Dir, Files{Journal: joined(lines)}); err != nil {
		return err
	}
	var err error
	s.journal, err = openJournal(s.Dir)
	return err
}

// joined is the text of a journal.
func joined(lines [][]byte) []byte {
	text := []byte{}
	for _, l := range lines {
		text = append(append(text, l...), '\n')
	}
	return text
}

// show returns the state for who does not work on the cluster.
func (s *service) show() (*Snapshot, error) {
	if _, err := os.Stat(s.Dir); err != nil {
		return nil, fmt.Errorf("no state of a cluster is here: name a master (%w)", err)
	}
	lock, err := lockDir(s.Dir)
	if err != nil {
		return nil, err
	}
	if lock != nil { // nobody writes, and what a crash left can be completed
		defer lock.Close()
		if err := complete(s.Dir); err != nil {
			return nil, err
		}
		return readFiles(s.Dir)
	}
	for tries := 0; ; tries++ { // the holder may be writing just now
		before, err := readFiles(s.Dir)
		if err != nil {
			return nil, err
		}
		after, err := readFiles(s.Dir)
		if err != nil || tries == 10 || before.Files.Digest() == after.Files.Digest() {
			return after, err
		}
	}
}

// hold takes the lock, or says who has it. A keeper of the same client, whose
// connection broke, makes way.
func (s *service) hold(r request) (busy *Holder, heard time.Duration, err error) {
	if r.Protocol != protocol || r.Holder == nil {
		return nil, 0, fmt.Errorf("the client speaks version %d of the protocol, this sealrt version %d", r.Protocol, protocol)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, 0, err
	}
	lock, err := lockDir(s.Dir)
	if err != nil {
		return nil, 0, err
	}
	if lock == nil {
		holder, heard := signed(s.Dir)
		busy := &holder
		if busy.ID != r.Holder.ID || busy.Keeper <= 1 || busy.Keeper == os.Getpid() {
			return busy, heard, nil
		}
		if lock, err = s.supersede(busy.Keeper); err != nil || lock == nil {
			return busy, heard, err
		}
	}
	s.lock = lock
	if err := s.begin(r); err != nil {
		s.release()
		return nil, 0, err
	}
	return nil, 0, nil
}

// begin is what a new holder does first.
func (s *service) begin(r request) error {
	if err := complete(s.Dir); err != nil {
		return err
	}
	st, err := s.status()
	if err != nil {
		return err
	}
	if st.Cluster != "" && st.Cluster != r.Cluster {
		return fmt.Errorf("this host is a master of the cluster %s, not of %s", st.Cluster, r.Cluster)
	}
	h := *r.Holder
	h.Keeper = os.Getpid()
	if err := sign(s.Dir, h); err != nil {
		return err
	}
	s.journal, err = openJournal(s.Dir)
	return err
}

// supersede ends a keeper that has lost its client, and takes its lock.
func (s *service) supersede(pid int) (*os.File, error) {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, fmt.Errorf("end the keeper before this one, process %d: %w", pid, err)
	}
	for late := time.Now().Add(5 * time.Second); ; {
		lock, err := lockDir(s.Dir)
		if lock != nil || err != nil || time.Now().After(late) {
			return lock, err
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *service) status() (*Status, error) {
	found, err := readFiles(s.Dir)
	if err != nil {
		return nil, err
	}
	st, err := found.Status()
	return &st, err
}

// send writes an answer, unless nobody takes it.
func (s *service) send(ctx context.Context, a answer) error {
	done := make(chan error, 1)
	go func() { done <- json.NewEncoder(s.out).Encode(a) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.timer.C:
		return fmt.Errorf("the client took no answer for %s: the cluster is released", s.Patience)
	}
}

// release gives the lock back.
func (s *service) release() {
	if s.journal != nil {
		s.journal.close()
		s.journal = nil
	}
	if s.lock != nil {
		s.lock.Close() // who it was stays written down, for a client that comes back
		s.lock = nil
	}
}
