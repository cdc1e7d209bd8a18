package preflight

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxSkew is how far clocks may be apart: certificates and tokens that are made
// on one machine are used on another at once.
const maxSkew = 30 * time.Second

// Offset is how far a host's clock is ahead of this machine's: somewhere
// between the two. The time that the question took is in it, since nobody knows
// at which moment of it the host looked at its clock.
type Offset struct{ Least, Most time.Duration }

func (o Offset) known() bool { return o != Offset{} }

// clock asks a host for its time, to the second.
func (a *asker) clock(now func() time.Time) Offset {
	before := now()
	out, code := a.run("date", "+%s")
	after := now()
	s, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if code != 0 || err != nil {
		return Offset{}
	}
	there := time.Unix(s, 0)
	return Offset{Least: there.Sub(after), Most: there.Add(time.Second).Sub(before)}
}

// apart returns by how much two clocks differ at least.
func apart(a, b Offset) time.Duration { return max(a.Least-b.Most, b.Least-a.Most, 0) }

func clockSkew(s *subject) []Finding {
	if !s.facts.Clock.known() {
		return nil
	}
	const remedy = "let a time service run on all of them (timedatectl set-ntp true, or chrony with a server of your own)"
	here := Offset{}
	if by := apart(s.facts.Clock, here); by > maxSkew {
		way := "ahead of"
		if s.facts.Clock.Most < 0 {
			way = "behind"
		}
		return s.bad(remedy, "its clock is at least %s %s this machine's", by.Round(time.Second), way)
	}
	for _, other := range s.before() {
		by := apart(s.facts.Clock, other.facts.Clock)
		if other.facts.Clock.known() && apart(other.facts.Clock, here) <= maxSkew && by > maxSkew {
			return s.bad(remedy, "its clock and that of %s are at least %s apart", other.m.Name(), by.Round(time.Second))
		}
	}
	return nil
}

// humanBytes writes a number of bytes for people.
func humanBytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
