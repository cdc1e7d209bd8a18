// Package document is a web server that keeps one document, as the datastore of
// stand-ins for k3s that have none of their own.
package document

import (
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Document keeps a text with the number of times that it was written. The zero
// value has none yet.
type Document struct {
	Password string // that is asked for; "": none

	mu      sync.Mutex
	text    []byte
	written int64
}

// Text returns what was written last.
func (d *Document) Text() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text
}

// ServeHTTP answers a GET with the text, and takes a PUT whose If-Match says how
// often the text was written before.
func (d *Document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, password, _ := r.BasicAuth(); password != d.Password {
		http.Error(w, "a password is needed", http.StatusUnauthorized)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		if d.written == 0 {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(d.text)
	case http.MethodPut:
		if r.Header.Get("If-Match") != strconv.FormatInt(d.written, 10) {
			http.Error(w, "it was written by another", http.StatusPreconditionFailed)
			return
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		d.text = text
		d.written++
	default:
		http.Error(w, "GET or PUT", http.StatusMethodNotAllowed)
	}
}
