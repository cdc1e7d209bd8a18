package main

import (
	"fmt"
	"time"
)

// readEvery is how often plain output says how far a long reading is.
const readEvery = 5 * time.Second

// reading returns an observer of bytes that are read: a line that changes on a
// terminal, a line now and then elsewhere.
func (r *renderer) reading(what string) func(done, total int64) {
	began := r.now()
	told := began
	return func(done, total int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		now, every := r.now(), readEvery
		switch r.mode {
		case "tty":
			every = redrawEvery
		case "json":
			every = repeatEvery
		}
		if now.Sub(told) < every {
			return
		}
		told = now
		speed := int64(float64(done) / now.Sub(began).Seconds())
		text := fmt.Sprintf("%s  %s of %s  %s/s", what, sizeText(done), sizeText(total), sizeText(speed))
		switch r.mode {
		case "tty":
			r.erase()
			fmt.Fprint(r.w, text)
			r.showing = true
		case "plain":
			r.line(text)
		case "json":
			r.json(transferJSON{Event: "progress", Name: what, Size: total, Done: done})
		}
	}
}
