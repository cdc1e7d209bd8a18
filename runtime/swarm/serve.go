package swarm

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Where a host serves what.
const (
	blobPath   = "/blobs/"
	helperPath = "/helper/"
)

const (
	stall      = 30 * time.Second // without a byte, a peer is given up
	queueTime  = 5 * time.Second  // that a caller waits for a free place
	retryAfter = time.Second      // that one which got none is told to wait
)

// Serve serves the host's blobs to other hosts until its input, the client's
// settings, ends. Callers show a certificate of the run's authority, and get
// the blobs that the client allowed, so many at a time as it said. Those that
// have no helper to show a certificate with get that, for the run's pass.
func Serve(ctx context.Context, in io.Reader, out io.Writer, k Keeper) error {
	ctx, cancel := context.WithCancel(ctx)
	var web sync.WaitGroup
	defer web.Wait()
	defer cancel()
	s := &server{keeper: k, allowed: map[v1.Hash]bool{}, out: &answers{w: out}, patience: queueTime}
	return listen(ctx, in, lease, func(line serveLine) error {
		if err := s.admit(line); err != nil {
			return err
		}
		if line.Settings == nil {
			return s.tell()
		}
		l, err := s.open(ctx, *line.Settings)
		if err != nil {
			return err
		}
		handler := &http.Server{Handler: s, ReadHeaderTimeout: stall, IdleTimeout: stall, ErrorLog: log.New(io.Discard, "", 0)}
		web.Go(func() { _ = handler.Serve(l) }) // ends with Close
		context.AfterFunc(ctx, func() { _ = handler.Close() })
		return s.tell()
	})
}

// server is one Serve.
type server struct {
	keeper   Keeper
	out      *answers
	patience time.Duration
	helper   string
	pass     string
	port     int
	slots    chan struct{}
	pair     atomic.Pointer[tls.Certificate]

	mu      sync.RWMutex
	allowed map[v1.Hash]bool
}

// admit takes in a certificate and further blobs.
func (s *server) admit(line serveLine) error {
	if line.Identity != nil {
		pair, err := line.Identity.pair()
		if err != nil {
			return err
		}
		s.pair.Store(pair)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range line.Allow {
		s.allowed[h] = true
	}
	return nil
}

func (s *server) tell() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.out.say(serveAnswer{Port: s.port, Allowed: len(s.allowed)})
}

func (s *server) open(ctx context.Context, set serveSettings) (net.Listener, error) {
	if s.slots != nil || s.pair.Load() == nil || set.PerHost <= 0 {
		return nil, errors.New("serve: the settings come once, with a certificate and a bound")
	}
	pool, err := poolOf(set.CA)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(set.Port)))
	if err != nil {
		return nil, fmt.Errorf("serve other hosts: %w", err)
	}
	s.helper, s.pass, s.slots = set.Helper, set.Pass, make(chan struct{}, set.PerHost)
	if addr, ok := l.Addr().(*net.TCPAddr); ok {
		s.port = addr.Port
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.pair.Load(), nil },
	}), nil
}

// ServeHTTP answers a peer.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, isBlob := strings.CutPrefix(r.URL.Path, blobPath)
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "only GET is served here", http.StatusMethodNotAllowed)
	case isBlob && len(r.TLS.VerifiedChains) == 0:
		http.Error(w, "show a certificate of the run", http.StatusForbidden)
	case isBlob:
		s.bounded(w, r, func() { s.blob(w, r, name) })
	case s.passes(r.URL.Path):
		s.bounded(w, r, func() { s.program(w, r) })
	default:
		http.NotFound(w, r)
	}
}

// passes reports whether a path is that of the helper, with the run's pass.
func (s *server) passes(path string) bool {
	pass, ok := strings.CutPrefix(path, helperPath)
	return ok && s.helper != "" && s.pass != "" && subtle.ConstantTimeCompare([]byte(pass), []byte(s.pass)) == 1
}

// bounded runs do in one of the places, or says when to come again.
func (s *server) bounded(w http.ResponseWriter, r *http.Request, do func()) {
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		do()
	case <-r.Context().Done():
	case <-patience.C:
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		http.Error(w, "as many as may are served now", http.StatusServiceUnavailable)
	}
}

func (s *server) blob(w http.ResponseWriter, r *http.Request, name string) {
	h, err := v1.NewHash(name)
	s.mu.RLock()
	allowed := s.allowed[h]
	s.mu.RUnlock()
	if err != nil || !allowed { // one answer for both: callers learn of no other blob
		http.Error(w, "not a blob of the run", http.StatusForbidden)
		return
	}
	blob, _, err := s.keeper.Blob(r.Context(), h)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer blob.Close()
	content(w, r, blob)
}

func (s *server) program(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(s.helper)
	if err != nil {
		http.Error(w, "the helper cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	content(w, r, f)
}

// content answers with the bytes that were asked for.
func content(w http.ResponseWriter, r *http.Request, from io.ReadSeeker) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&patient{w, http.NewResponseController(w)}, r, "", time.Time{}, from)
}

// patient gives up a peer that takes no more bytes, not one that takes them
// slowly.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}
