package preflight

import (
	"context"
	"fmt"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// Ask is ask with no questions of a driver's.
func Ask(ctx context.Context, h host.Host, disks, modules []string) (Facts, error) {
	return ask(ctx, h, questions{paths: softwarePaths(), disks: disks, units: units(), modules: modules, now: time.Now})
}

// AskPort asks who listens on a port.
func AskPort(ctx context.Context, h host.Host, port int) (Facts, error) {
	return ask(ctx, h, questions{tcp: []int{port}, now: time.Now})
}

// dated is a host whose clock is ahead.
type dated struct {
	host.Host
	now   *time.Time
	ahead time.Duration
	trip  time.Duration
}

func (d dated) Run(_ context.Context, c host.Command) error {
	*d.now = d.now.Add(d.trip / 2)
	_, err := fmt.Fprintln(c.Stdout, d.now.Add(d.ahead).Unix())
	*d.now = d.now.Add(d.trip / 2)
	return err
}

// Skew examines the clocks of two hosts that are so far ahead of this
// machine's, over a network on which a question takes so long.
func Skew(a, b, trip time.Duration, now time.Time) []Finding {
	var all []*subject
	var found []Finding
	for i, ahead := range []time.Duration{a, b} {
		q := &asker{ctx: context.Background(), h: dated{now: &now, ahead: ahead, trip: trip}}
		s := &subject{m: runtime.Member{Address: fmt.Sprintf("10.0.0.%d", i+1)}, index: i}
		s.facts.Clock = q.clock(func() time.Time { return now })
		all = append(all, s)
	}
	for _, s := range all {
		s.all = all
		for _, f := range clockSkew(s) {
			f.Host = s.m.Name()
			found = append(found, f)
		}
	}
	return found
}

// Public is the facts without what was read, as text to compare.
func (f Facts) Public() string {
	f.files = nil
	return fmt.Sprintf("%+v", f)
}
