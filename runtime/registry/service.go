package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
)

// listPath is where masters tell each other which images they have.
const listPath = "/sealrt/v1/images"

// How often a master compares its images with those of the others, how soon it
// does so again while others are silent, and how soon it tries again to listen on
// an address that is not there yet.
const (
	compareEvery = 5 * time.Minute
	compareAgain = 5 * time.Second
	listenAgain  = time.Second
)

// maxConnections is how many other hosts a master answers at once: who has no
// certificate holds a connection for as long as ReadHeaderTimeout, and is not to
// take the files and the memory that the host itself is answered with.
const maxConnections = 4096

// Service is the image service of one host.
type Service struct {
	settings Settings
	dir      string
	own      Local // of cluster images
	local    Local // with what is kept
	peers    *peers
	note     func(text string)
	catching sync.Mutex
	compared atomic.Bool // with the other masters, once since the start

	// Ready, if not nil, is called when Serve answers the host.
	Ready func() error
}

// New returns the service whose settings lie in file, with its other files beside
// it. own is what the host has of cluster images. note is told what an
// administrator should know.
func New(file string, own Local, note func(text string)) (*Service, error) {
	settings, err := ReadSettings(file)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(file)
	wait := usual()
	return &Service{
		settings: settings, dir: dir, own: own, note: note,
		local: &Several{Places: []Local{own, &layoutAt{dir: Store(dir)}}},
		peers: &peers{
			masters:  &masters{file: besides(file, MastersFile), self: settings.Listen, forget: wait.forget, now: time.Now},
			who:      &identity{dir: dir},
			patience: wait,
		},
	}, nil
}

// Loopback returns what answers the host's own container runtime.
func (s *Service) Loopback() http.Handler {
	return &handler{local: s.local, peers: s.peers, wide: !s.settings.Master()}
}

// ForHosts returns what answers other hosts: with what is here, and nothing
// else, so that no request goes round in circles. What a tag of a pushed image
// means is told only after the other masters were asked once: it may have changed
// while this one was down.
func (s *Service) ForHosts() http.Handler {
	images, fixed := Handler(s.local), Handler(s.own)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, _ := parse(r.URL)
		switch {
		case r.URL.Path == listPath && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			s.serveList(w, r)
		case want.kind == "manifests" && !strings.Contains(want.object, ":") && !s.compared.Load():
			if answered(w, r, fixed) {
				return
			}
			w.Header().Set("Retry-After", "1")
			refuse(w, r, http.StatusServiceUnavailable, "UNAVAILABLE", "this master looks first whether the others have a newer "+want.object)
		default:
			images.ServeHTTP(w, r)
		}
	})
}

// serveList tells another master what is here: what the cluster images have, and
// what was pushed.
func (s *Service) serveList(w http.ResponseWriter, r *http.Request) {
	list, err := s.List(r.Context())
	if err != nil {
		failed(w, r, "UNKNOWN", err)
		return
	}
	body, err := json.Marshal(list)
	if err != nil {
		failed(w, r, "UNKNOWN", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	send(w, r, body)
}

// List returns the images that this host stands for: those of its cluster images
// and those that were pushed, not what it fetched because another host has it.
func (s *Service) List(ctx context.Context) ([]Listed, error) {
	images, err := s.own.Images(ctx)
	if err != nil {
		return nil, err
	}
	list := []Listed{}
	for _, e := range images.Entries() {
		if e.Name != "" {
			list = append(list, Listed{Name: e.Name, Desc: e.Desc})
		}
	}
	kept, err := readList(Store(s.dir))
	for _, l := range kept {
		if !l.Pushed.IsZero() {
			list = append(list, l)
		}
	}
	return list, err
}

// Serve answers until ctx ends.
func (s *Service) Serve(ctx context.Context) error {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.settings.Port))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("image service: %w: another program has the port: stop it, or set registry.port in the Clusterfile", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.settings.Master() {
		wg.Go(func() { s.serveHosts(ctx) })
		wg.Go(func() { s.keepUp(ctx) })
	}
	s.note("the image service of " + cmp.Or(s.settings.Host, "this host") + " listens on " + address)
	if s.Ready != nil {
		if err := s.Ready(); err != nil {
			l.Close()
			return fmt.Errorf("image service: %w", err)
		}
	}
	return ServeOn(ctx, l, s.Loopback())
}

// serveHosts listens for other hosts. The address of the host may come up later
// than the service, which is no reason not to answer the host itself.
func (s *Service) serveHosts(ctx context.Context) {
	var last string
	for ctx.Err() == nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.settings.Listen)
		if err == nil {
			if _, err = s.peers.who.current(); err == nil {
				s.note("other hosts are answered on " + s.settings.Listen)
				limited := netutil.LimitListener(l, maxConnections)
				err = ServeOn(ctx, tls.NewListener(limited, s.peers.who.server()), s.ForHosts())
			} else {
				l.Close()
			}
		}
		if err != nil && err.Error() != last && ctx.Err() == nil {
			last = err.Error()
			s.note("other hosts are not answered yet: " + last)
		}
		pause(ctx, listenAgain)
	}
}

// keepUp fetches what other masters have, at the start and now and then. While
// one does not answer, or something cannot be fetched, it comes back sooner.
func (s *Service) keepUp(ctx context.Context) {
	var last string
	for again := compareAgain; ctx.Err() == nil; {
		fetched, all, err := s.catchUp(ctx)
		if all || again > compareAgain { // at a boot the network may be late
			s.compared.Store(true)
		}
		for _, l := range fetched {
			s.note("fetched " + l.Name + " from another master")
		}
		said := ""
		if err != nil {
			said = err.Error()
		}
		if said != last && said != "" && ctx.Err() == nil {
			s.note(said)
		}
		last = said
		next := compareEvery
		if all && err == nil {
			again = compareAgain
		} else {
			next, again = again, min(2*again, compareEvery)
		}
		pause(ctx, next+rand.N(next/5)) // not all masters at once
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ServeOn answers on a listener until ctx ends, and then lets what is being sent
// go on for a moment.
func ServeOn(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(late) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("image service: %w", err)
}
