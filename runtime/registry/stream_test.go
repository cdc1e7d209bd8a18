package registry

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wrapped has a master answer through other handlers.
func (h *testHost) wrapped(wrap func(http.Handler) http.Handler) {
	h.kill()
	h.wrap = wrap
	h.start()
}

func TestTheOnlyMasterIsAskedAgain(t *testing.T) {
	c := newCluster(t, 1, nil)
	p := imageTree(t, c.masters[0].trees, "library/big:1", large)
	c.masters[0].wrapped(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				w = &breaking{w, large/5 + 1}
			}
			h.ServeHTTP(w, r)
		})
	})
	_, url := c.node()
	if _, body, err := get(t, url+p.blob()); err != nil || !bytes.Equal(body, p.content) {
		t.Errorf("%v, %d bytes", err, len(body))
	}
}

// TestAMasterThatFallsSilentIsReplaced is about a network that was cut: nothing
// says that the connection is dead.
func TestAMasterThatFallsSilentIsReplaced(t *testing.T) {
	c := newCluster(t, 2, nil)
	p := imageTree(t, c.masters[0].trees, "library/big:1", large)
	os.CopyFS(c.masters[1].trees, os.DirFS(c.masters[0].trees))
	var silent atomic.Int32
	for _, m := range c.masters {
		m.wrapped(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || silent.Add(1) > 1 { // the first one that is asked
					h.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Length", "3145728")
				w.Write(p.content[:large/2])
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
		})
	}
	node, url := c.node()
	node.service.peers.patience.stall = 300 * time.Millisecond
	if _, body, err := get(t, url+p.blob()); err != nil || !bytes.Equal(body, p.content) {
		t.Errorf("%v, %d bytes", err, len(body))
	}
	if silent.Load() < 2 {
		t.Error("nobody fell silent")
	}
}

func TestABlobThatIsGoneEndsTheAnswer(t *testing.T) {
	c := newCluster(t, 1, nil)
	m := c.masters[0]
	p := imageTree(t, m.trees, "library/big:1", large)
	gone := make(chan struct{})
	m.wrapped(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				select {
				case <-gone:
					http.NotFound(w, r)
					return
				default:
					close(gone)
					w = &breaking{w, 1000}
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	node, url := c.node()
	node.service.peers.patience.all = 200 * time.Millisecond
	if _, body, err := get(t, url+p.blob()); err == nil || len(body) != 1000 {
		t.Errorf("%d bytes, %v", len(body), err)
	} else if err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}
