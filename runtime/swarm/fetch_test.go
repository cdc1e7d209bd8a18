package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// fetchFrom lets a Fetch get one blob, and returns its last answer.
func fetchFrom(t *testing.T, k Keeper, ca *authority, o order) fetchAnswer {
	t.Helper()
	id, err := ca.issue("host", "127.0.0.1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	in, w := io.Pipe()
	defer w.Close()
	last := make(chan fetchAnswer, 1)
	out := &lineWriter{take: func(line []byte) error {
		var a fetchAnswer
		if err := json.Unmarshal(line, &a); err != nil {
			return err
		}
		if a.State == done || a.State == failed {
			last <- a
		}
		return nil
	}}
	go func() { _ = Fetch(t.Context(), in, out, k) }()
	say := answers{w: w}
	if err := errors.Join(say.say(fetchLine{CA: ca.pem, Identity: id}), say.say(fetchLine{Order: &o})); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-last:
		return a
	case <-time.After(time.Minute):
		t.Fatal("it says nothing of the order")
		return fetchAnswer{}
	}
}

func TestFetchWaitsForABusyHost(t *testing.T) {
	t.Parallel() // seconds, until the server says that it is busy
	big, small := make([]byte, 64<<20), []byte("small")
	k := newMemory()
	d, e := descriptorOf(big), descriptorOf(small)
	k.blobs[d.Digest], k.blobs[e.Digest] = big, small
	x := serveFor(t, k, 1, "", d.Digest, e.Digest)
	first, err := x.get(t, peerOf(t, x.ca), blobPath+d.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(queueTime+retryAfter/2, func() { first.Body.Close() }) // after the first answer, before the next question
	mine := newMemory()
	if a := fetchFrom(t, mine, x.ca, order{Digest: e.Digest, Size: e.Size, From: []string{x.url}}); a.State != done || string(mine.blobs[e.Digest]) != "small" {
		t.Errorf("it says %+v", a)
	}
}

func TestFetchRefusesAHostOfAnotherRun(t *testing.T) {
	k := newMemory()
	d := descriptorOf([]byte("blob"))
	k.blobs[d.Digest] = []byte("blob")
	x := serveFor(t, k, 1, "", d.Digest)
	other, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := fetchFrom(t, newMemory(), other, order{Digest: d.Digest, Size: d.Size, From: []string{x.url}})
	if a.State != failed || len(a.Tried) != 1 || a.Tried[0].Fault != broken || !strings.Contains(a.Tried[0].Error, "certificate") {
		t.Errorf("it says %+v", a)
	}
}

func TestFetchEndsWithItsInput(t *testing.T) {
	in, w := io.Pipe()
	end := make(chan error, 1)
	go func() { end <- Fetch(context.Background(), in, io.Discard, newMemory()) }()
	w.Close()
	if err := <-end; err != nil {
		t.Error(err)
	}
}
