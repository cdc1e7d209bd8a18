package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// How often what changes all the time is told anew.
const (
	redrawEvery = 100 * time.Millisecond // the line on a terminal
	repeatEvery = 500 * time.Millisecond // the progress of one blob in JSON
	remindAfter = 5 * time.Second        // a step that is still running, as a line
)

// renderer tells the story on stderr: as lines, with one line at the end that
// changes on a terminal, or as JSON. It is safe for concurrent use.
type renderer struct {
	mu      sync.Mutex
	w       io.Writer
	mode    string // tty, plain, json, quiet, or quiet-json
	verbose bool
	ascii   bool // whoever reads it sees nothing else
	now     func() time.Time

	moving  map[v1.Hash]*movement  // blobs under way
	waiting map[string]*time.Timer // reminders of steps under way
	done    int                    // blobs that are there
	bytes   int64                  // of these
	drawn   time.Time              // when the line on the terminal was drawn
	showing bool                   // it stands there

	table *hostTable           // of the plan that is carried out, on a terminal
	pulse *time.Timer          // draws it anew when nothing happens
	told  map[string]time.Time // when the transfer to a host was told of, in JSON
}

// movement is a blob under way.
type movement struct {
	artifact.Event
	told time.Time
}

func newRenderer(w io.Writer, mode string, verbose bool) *renderer {
	return &renderer{w: w, mode: mode, verbose: verbose, now: time.Now, moving: map[v1.Hash]*movement{}, waiting: map[string]*time.Timer{}, told: map[string]time.Time{}}
}

// artifact tells of a transfer.
func (r *renderer) artifact(e artifact.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.track(e)
	switch r.mode {
	case "json":
		if e.Kind != artifact.EventProgress || r.due(e.Digest) {
			r.json(jsonEvent(e))
		}
	case "tty":
		r.line(r.text(e))
		if r.table != nil {
			r.table.draw()
		} else {
			r.redraw()
		}
	case "plain":
		r.line(r.text(e))
	}
}

// track counts what is under way.
func (r *renderer) track(e artifact.Event) {
	switch e.Kind {
	case artifact.EventStarted:
		r.moving[e.Digest] = &movement{Event: e}
	case artifact.EventProgress:
		if m := r.moving[e.Digest]; m != nil {
			m.Done = e.Done
		}
	case artifact.EventDone, artifact.EventExists, artifact.EventMounted:
		delete(r.moving, e.Digest)
		r.done++
		r.bytes += e.Size
	}
}

// due reports whether the progress of a blob is to be told again.
func (r *renderer) due(h v1.Hash) bool {
	m, now := r.moving[h], r.now()
	if m == nil || now.Sub(m.told) < repeatEvery {
		return false
	}
	m.told = now
	return true
}

// text returns the line that tells of e, "" for none.
func (r *renderer) text(e artifact.Event) string {
	switch e.Kind {
	case artifact.EventNote:
		return prefix(e.Ref) + e.Name
	case artifact.EventTagged:
		return prefix(e.Ref) + "is " + e.Digest.String()
	case artifact.EventDone:
		return prefix(e.Ref) + blobText(e)
	case artifact.EventSkipped:
		return prefix(e.Ref) + blobText(e) + "  " + e.Kind.String()
	case artifact.EventExists, artifact.EventMounted:
		if r.verbose {
			return prefix(e.Ref) + blobText(e) + "  " + e.Kind.String()
		}
	}
	return ""
}

// prefix begins the line about an image.
func prefix(ref string) string {
	if ref == "" {
		return ""
	}
	return ref + "  "
}

// blobText says which blob an event is about.
func blobText(e artifact.Event) string {
	words := []string{e.Name, shortDigest(e.Digest), sizeText(e.Size)}
	return strings.Join(words, "  ")
}

// step tells of a step of a plan.
func (r *renderer) step(e runtime.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.mode {
	case "json":
		if e.State != runtime.Sending || r.dueAgain(e.Host, repeatEvery) {
			r.json(stepEvent(e))
		}
	case "tty":
		r.tabulate(e)
	case "plain":
		if e.State == runtime.Sending && !r.dueAgain(e.Host, remindAfter) {
			return
		}
		if e.State != runtime.Waiting && e.State != runtime.Warned {
			r.remind(e)
		}
		r.line(r.stepText(e))
	}
}

// dueAgain reports whether the transfer to a host is to be told again.
func (r *renderer) dueAgain(host string, every time.Duration) bool {
	now := r.now()
	if now.Sub(r.told[host]) < every {
		return false
	}
	r.told[host] = now
	return true
}

// tabulate shows the step in the table of hosts. What went wrong, and with -v
// everything, is a line above it too.
func (r *renderer) tabulate(e runtime.Event) {
	if r.table == nil {
		r.erase()
		r.table = newHostTable(r.w, r.now)
		r.table.ascii = r.ascii
		r.beat()
	}
	r.table.take(e)
	if r.verbose || e.State == runtime.Failed || e.State == runtime.Tolerated || e.State == runtime.Warned || e.State == runtime.Waiting {
		r.line(r.stepText(e))
	}
	if now := r.now(); now.Sub(r.drawn) >= redrawEvery || len(r.table.drawn) == 0 {
		r.table.draw()
		r.drawn = now
	}
}

// beat draws the table every second: what takes long is seen to go on.
func (r *renderer) beat() {
	r.pulse = time.AfterFunc(time.Second, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.table != nil {
			r.table.draw()
			r.beat()
		}
	})
}

// remind sees to it that a step which takes long is spoken of while it runs.
func (r *renderer) remind(e runtime.Event) {
	key := prefix(e.Host) + e.Step
	if t := r.waiting[key]; t != nil {
		t.Stop()
		delete(r.waiting, key)
	}
	if e.State != runtime.Started || r.verbose {
		return
	}
	r.waiting[key] = time.AfterFunc(remindAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.waiting[key] != nil {
			r.line(key + "  …")
		}
	})
}

// stepText returns the line that tells of e, "" for none. It begins with the
// host.
func (r *renderer) stepText(e runtime.Event) string {
	line := prefix(e.Host) + e.Step
	if e.Bytes > 0 {
		line += "  " + sizeText(e.Bytes)
	}
	switch e.State {
	case runtime.Sending:
		return line + " of " + sizeText(e.Total)
	case runtime.Done:
		if e.Says != "" {
			return fmt.Sprintf("%s  %.1fs  %s", line, e.Took.Seconds(), printable(e.Says))
		}
		return fmt.Sprintf("%s  %.1fs", line, e.Took.Seconds())
	case runtime.Failed:
		return fmt.Sprintf("%s  failed after %.1fs", line, e.Took.Seconds())
	case runtime.Warned:
		return fmt.Sprintf("%s  %s", line, visible(e.Note))
	case runtime.Tolerated:
		return fmt.Sprintf("%s  failed, which does not matter here: %s", line, visible(e.Err.Error()))
	case runtime.Waiting:
		return fmt.Sprintf("%s  waits for the host: %s", prefix(e.Host)+e.Step, visible(e.Err.Error()))
	}
	switch {
	case r.verbose && e.State == runtime.Started:
		return prefix(e.Host) + e.Does
	case r.verbose:
		return line + "  " + string(e.State)
	}
	return ""
}

// failure tells of the error that ends the program; it is told in every mode.
func (r *renderer) failure(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasSuffix(r.mode, "json") {
		r.json(map[string]string{"event": "error", "message": message})
		return
	}
	r.erase()
	fmt.Fprintf(r.w, "sealrt: %s\n", visible(message))
}

// finish removes the line that changes, and reminds of nothing any more.
func (r *renderer) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, t := range r.waiting {
		t.Stop()
		delete(r.waiting, key)
	}
	r.erase()
	if r.table != nil {
		r.pulse.Stop()
		r.table.end()
		r.table = nil
	}
}

// say prints one line that stays, where the story is told as lines.
func (r *renderer) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mode == "tty" || r.mode == "plain" {
		r.erase()
		fmt.Fprintln(r.w, text)
	}
}

// tell prints one value as one line of JSON.
func (r *renderer) tell(value any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.json(value)
}

// line prints one line that stays.
func (r *renderer) line(text string) {
	if text == "" {
		return
	}
	r.erase()
	if r.ascii {
		text = asciiText(text)
	}
	fmt.Fprintln(r.w, text)
}

// visible returns a text of several lines, in which hosts may have their say,
// without what would steer a terminal.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' {
			return -1
		}
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// asciiText writes the signs that sealrt itself uses as they were written before.
func asciiText(text string) string {
	return strings.NewReplacer("…", "...", "→", "->", "⟨", "<", "⟩", ">").Replace(text)
}

// erase removes what changes from the terminal.
func (r *renderer) erase() {
	if r.table != nil {
		r.table.erase()
	}
	if r.showing {
		fmt.Fprint(r.w, "\r\x1b[K")
		r.showing = false
	}
}

// redraw draws the line that changes, unless it was drawn just now.
func (r *renderer) redraw() {
	now := r.now()
	if len(r.moving) == 0 || r.showing && now.Sub(r.drawn) < redrawEvery {
		return
	}
	var done, size int64
	for _, m := range r.moving {
		done += m.Done
		size += m.Size
	}
	r.erase()
	fmt.Fprintf(r.w, "%d blobs done, %d under way: %s of %s", r.done, len(r.moving), sizeText(r.bytes+done), sizeText(r.bytes+size))
	r.drawn, r.showing = now, true
}

// json prints one value as one line.
func (r *renderer) json(value any) {
	enc := json.NewEncoder(r.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(value) // stderr is the last place there is
}
