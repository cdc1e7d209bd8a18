package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"golang.org/x/sync/errgroup"
)

// Record implements runtime.Journal: the lines are on the disk here, and on
// those of the masters while they are held.
func (k *known) Record(ctx context.Context, lines []byte) error {
	if k.state == nil {
		return nil
	}
	if k.held == nil || k.ending {
		return k.state.Record(lines)
	}
	var wait errgroup.Group // lines that come at once share their way
	for line := range bytes.Lines(lines) {
		wait.Go(func() error { return k.held.Record(ctx, bytes.TrimSuffix(line, []byte("\n"))) })
	}
	return wait.Wait()
}

// user is the name of who called the command, or the number: what runs from
// cron or from a service has no USER.
func (e *environment) user() string {
	id := fmt.Sprint(e.uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// operation says who runs a command, for the journal.
func (e *environment) operation(command string) runtime.Operation {
	client := e.user()
	if name, err := os.Hostname(); err == nil {
		client += "@" + name
	}
	return runtime.Operation{ID: time.Now().UTC().Format("20060102T150405Z-") + rand.Text()[:6], Command: command, Client: client}
}

// lastOperation returns what the journal of a cluster says of its last
// operation; nil when there is no journal.
func (k *known) lastOperation() (*runtime.LastOperation, error) {
	file, err := os.Open(k.state.JournalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	last, ok, err := runtime.ReadLastOperation(file)
	if err != nil || !ok {
		return nil, err
	}
	return &last, nil
}

// lastOperationText tells of the last operation in a line.
func lastOperationText(l *runtime.LastOperation) string {
	text := fmt.Sprintf("last operation: %s by %s, %s", l.Command, l.Client, l.Began.Format(time.RFC3339))
	switch {
	case l.State == runtime.OutcomeDone:
		return fmt.Sprintf("%s, done after %s (%d steps)", text, l.Ended.Sub(l.Began).Round(time.Second), l.Done)
	case len(l.Failed) > 0:
		f := l.Failed[0]
		return fmt.Sprintf("%s, failed at %q on host %s", text, f.Step, f.Host)
	case l.State == runtime.OutcomeFailed:
		return text + ", failed"
	case len(l.Open) > 0:
		o := l.Open[0]
		return fmt.Sprintf("%s, not ended: it was at %q on host %s", text, o.Step, o.Host)
	}
	return text + ", not ended"
}
