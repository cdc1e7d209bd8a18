package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/sealrt/sealrt/runtime"
)

// rateWindow is how far back the rate of a transfer looks.
const rateWindow = 5 * time.Second

// hostTable shows on a terminal what the hosts of a plan do: a line for each,
// drawn again and again in its place.
type hostTable struct {
	w    io.Writer
	now  func() time.Time
	size func() (width, height int)

	ascii bool // the terminal shows nothing else

	rows  []*hostRow
	drawn []int // the columns of the lines that stand on the terminal
}

// hostRow is what the table knows of one host.
type hostRow struct {
	host, phase, step, from string
	state                   runtime.EventState
	began                   time.Time // the step
	first, last             time.Time // anything on this host
	done                    int       // steps that are
	bytes, total            int64     // of the transfer under way
	sent                    int64     // by the steps that are done
	samples                 []sample
}

// sample is how far a transfer was at a time.
type sample struct {
	at    time.Time
	bytes int64
}

func newHostTable(w io.Writer, now func() time.Time) *hostTable {
	return &hostTable{w: w, now: now, size: func() (int, int) { return terminalSize(w) }}
}

// terminalSize returns the columns and lines of a terminal, and what terminals
// have had for ever where they cannot be asked.
func terminalSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}

// take takes in a piece of news.
func (t *hostTable) take(e runtime.Event) {
	r, now := t.row(e.Host), t.now()
	if r.first.IsZero() {
		r.first = now
	}
	r.last, r.phase, r.step = now, cmp.Or(e.Phase, r.phase), e.Step
	if r.state != runtime.Failed { // what failed is not forgotten for what comes after it
		r.state = e.State
	}
	switch e.State {
	case runtime.Started:
		r.began, r.bytes, r.total, r.from, r.samples = now, 0, 0, "", nil
	case runtime.Sending:
		r.progress(now, e)
	case runtime.Done, runtime.Holds, runtime.Tolerated:
		r.done++
		r.sent += e.Bytes
		r.bytes, r.total, r.samples = 0, 0, nil
	}
}

func (t *hostTable) row(host string) *hostRow {
	i := slices.IndexFunc(t.rows, func(r *hostRow) bool { return r.host == host })
	if i < 0 {
		t.rows = append(t.rows, &hostRow{host: host})
		i = len(t.rows) - 1
	}
	return t.rows[i]
}

// progress follows a transfer. A transfer that starts over does not go back.
func (r *hostRow) progress(now time.Time, e runtime.Event) {
	r.bytes, r.total, r.from = max(r.bytes, e.Bytes), max(r.total, e.Total), e.From
	r.samples = append(r.samples, sample{now, r.bytes})
	r.samples = slices.DeleteFunc(r.samples, func(s sample) bool { return now.Sub(s.at) > rateWindow })
}

// rate returns bytes a second over the last seconds, 0 when nothing is known.
func (r *hostRow) rate() float64 {
	if len(r.samples) < 2 {
		return 0
	}
	a, b := r.samples[0], r.samples[len(r.samples)-1]
	took := b.at.Sub(a.at).Seconds()
	if took < 0.2 {
		return 0
	}
	return float64(b.bytes-a.bytes) / took
}

// text is the line about a host, after its name.
func (r *hostRow) text(now time.Time) string {
	switch {
	case r.state == runtime.Failed:
		return "failed  " + r.step
	case r.state == runtime.Sending && r.total > 0:
		return r.phase + "  " + r.step + "  " + r.transfer()
	case r.state == runtime.Started || r.state == runtime.Sending:
		text := r.phase + "  " + r.step
		if took := now.Sub(r.began); took >= time.Second {
			text += "  " + took.Truncate(time.Second).String()
		}
		return text
	}
	return r.phase + "  waits"
}

// transfer says how far the blobs have come.
func (r *hostRow) transfer() string {
	words := []string{fmt.Sprintf("%s of %s", sizeText(r.bytes), sizeText(r.total))}
	if rate := r.rate(); rate > 0 {
		words = append(words, sizeText(int64(rate))+"/s")
		if left := float64(r.total-r.bytes) / rate; r.bytes < r.total {
			words = append(words, "ETA "+max(time.Second, time.Duration(left*float64(time.Second)).Truncate(time.Second)).String())
		}
	}
	if r.from != "" {
		words = append(words, "from "+r.from)
	}
	return strings.Join(words, "  ")
}

// urgency orders the rows when there is no room for all: who failed, who works,
// who waits.
func (r *hostRow) urgency() int {
	switch r.state {
	case runtime.Failed:
		return 0
	case runtime.Started, runtime.Sending:
		return 1
	}
	return 2
}

// draw draws the table where it stands, in one go: a terminal that shows what is
// half done would flicker.
func (t *hostTable) draw() {
	width, height := t.size()
	rows := slices.Clone(t.rows)
	more := 0
	if room := max(1, height-2); len(rows) > room {
		slices.SortStableFunc(rows, func(a, b *hostRow) int { return cmp.Compare(a.urgency(), b.urgency()) })
		rows, more = rows[:room-1], len(rows)-room+1
	}
	name := 0
	for _, r := range rows {
		name = max(name, len(r.host))
	}
	var lines []string
	for _, r := range rows {
		lines = append(lines, fmt.Sprintf("%-*s  %s", name, r.host, r.text(t.now())))
	}
	if more > 0 {
		lines = append(lines, "and "+plural(more, "more host"))
	}
	var out strings.Builder
	out.WriteString(t.back(width))
	t.drawn = nil
	for _, l := range lines {
		l = t.cut(printable(l), width)
		t.drawn = append(t.drawn, utf8.RuneCountInString(l))
		out.WriteString(l + "\x1b[K\n")
	}
	out.WriteString("\x1b[J")
	fmt.Fprint(t.w, out.String())
}

// back moves the cursor to where the table begins. A terminal that has become
// narrower since shows what was one line as several.
func (t *hostTable) back(width int) string {
	up := 0
	for _, columns := range t.drawn {
		up += max(1, (columns+width-1)/width)
	}
	if up == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r", up)
}

// erase removes the table from the terminal.
func (t *hostTable) erase() {
	if len(t.drawn) > 0 {
		width, _ := t.size()
		fmt.Fprint(t.w, t.back(width)+"\x1b[J")
		t.drawn = nil
	}
}

// end removes the table and says what became of every host.
func (t *hostTable) end() {
	t.erase()
	for _, r := range t.rows {
		words := []string{r.host, plural(r.done, "step")}
		if r.sent > 0 {
			words = append(words, sizeText(r.sent))
		}
		words = append(words, r.last.Sub(r.first).Truncate(100*time.Millisecond).String())
		if r.state == runtime.Failed {
			words = append(words, "failed at "+r.step)
		}
		fmt.Fprintln(t.w, strings.Join(words, "  "))
	}
	t.rows = nil
}

// cut shortens a line to the columns that there are: one that wraps would be
// two when the table is drawn again.
func (t *hostTable) cut(line string, width int) string {
	end := "…"
	if t.ascii {
		line, end = asciiText(line), "..."
	}
	r := []rune(line)
	if len(r) < width {
		return line
	}
	return string(r[:max(0, width-1-utf8.RuneCountInString(end))]) + end
}
