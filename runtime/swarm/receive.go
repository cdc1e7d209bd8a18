package swarm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// aliveEvery is how often a command tells the client that it is alive.
const aliveEvery = 10 * time.Second

// Receive takes in blobs from the client, each behind a line that announces
// it, and says of each how it ended. It returns at the end of its input; what
// had come of a blob then is kept.
func Receive(ctx context.Context, in io.Reader, out io.Writer, k Keeper) error {
	say := &answers{w: out}
	stop := alive(say)
	defer stop()
	r := bufio.NewReaderSize(in, 256<<10)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what the client sends: %w", err)
		}
		var f frame
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("read what the client sends: %w", err)
		}
		if err := receive(ctx, r, say, k, f); err != nil {
			return err
		}
	}
}

func receive(ctx context.Context, r io.Reader, say *answers, k Keeper, f frame) error {
	if f.Offset < 0 || f.Offset > f.Size {
		return fmt.Errorf("%s: offset %d is outside of its %d bytes", f.Digest, f.Offset, f.Size)
	}
	err := write(ctx, k, f.descriptor(), f.Offset, r)
	var wrong *damaged
	var disk *unkept
	switch {
	case err == nil:
		return say.say(frameAnswer{Digest: &f.Digest})
	case errors.As(err, &wrong): // all of it was read: the next frame follows
		return say.say(frameAnswer{Digest: &f.Digest, Error: err.Error(), Lies: true})
	case errors.As(err, &disk):
		return errors.Join(err, say.say(frameAnswer{Digest: &f.Digest, Error: err.Error()}))
	}
	return fmt.Errorf("%s: what the client sends broke off: %w", f.Digest, err)
}

// alive tells the client every so often that the command is at work, until
// stopped.
func alive(say *answers) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(aliveEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				if say.say(frameAnswer{}) != nil {
					return // nobody listens, which the reader of the input learns too
				}
			}
		}
	})
	return func() { close(end); wg.Wait() }
}
