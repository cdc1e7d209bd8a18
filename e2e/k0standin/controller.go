package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// server is one controller at work.
type server struct {
	args   *arguments
	config *config
	name   string
	id     string
	client *http.Client

	mu    sync.Mutex // one change at a time, on the leader
	state *state
	seen  map[string]time.Time // node -> its last word, as this controller heard it
	since time.Time
	fatal chan error
}

const idFile = dataDir + "/etcd/member/id"

func apiURL(address string) string { return "https://" + net.JoinHostPort(address, "6443") }

// controller runs a controller until the context ends or it has to stop.
func controller(ctx context.Context, a *arguments) error {
	c, err := readConfig(a.flag("config"))
	if err != nil {
		return err
	}
	name, err := hostname()
	if err != nil {
		return err
	}
	s := &server{args: a, config: c, name: name, client: newClient(), seen: map[string]time.Time{}, since: time.Now(), fatal: make(chan error, 8)}
	runs, err := begin("controller")
	if err != nil {
		return err
	}
	defer runs.file.Close() // until then it has the lock
	if err := errors.Join(defaultRoute(), footprints(ctx)); err != nil {
		return err
	}
	if err := s.find(ctx); err != nil {
		return err
	}
	if err := s.certify(); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	go s.watch(ctx)
	if a.flag("enable-worker") != "" || a.flag("single") != "" {
		go func() { s.fatal <- s.kubelet(ctx) }()
	}
	go func() {
		for ctx.Err() == nil {
			if _, _, err := s.leader(ctx); err == nil && s.current().has(s.id) {
				if err := runs.ready(); err != nil {
					s.fatal <- err
				}
				return
			}
			pause(ctx, 200*time.Millisecond)
		}
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fatal:
		return err
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// find finds what the controller was, or founds or joins a cluster.
func (s *server) find(ctx context.Context) error {
	old, err := loadState()
	if err != nil {
		return err
	}
	if old != nil {
		raw, err := os.ReadFile(root(idFile))
		if err != nil {
			return err
		}
		s.id, s.state = string(raw), old
		return s.again(ctx)
	}
	s.id = random()
	if file := s.args.flag("token-file"); file != "" {
		err = s.join(ctx, file)
	} else {
		err = s.found()
	}
	if err != nil {
		return err
	}
	return errors.Join(writeFile(idFile, 0o600, []byte(s.id)), s.state.save())
}

func (s *server) self() member {
	return member{ID: s.id, Name: s.name, Address: s.config.Spec.API.Address}
}

func (s *server) found() (err error) {
	s.state = &state{
		Single: s.args.flag("single") != "", Admin: random(), Peer: random(), Members: []member{s.self()},
		Nodes: map[string]node{}, Kubelets: map[string]string{}, Tokens: map[string]token{}, Objects: map[string]json.RawMessage{},
	}
	s.told(s.state)
	if !strings.Contains(s.args.flag("disable-components"), "coredns") {
		if _, err := s.state.apply(json.RawMessage(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"coredns","namespace":"kube-system"}}`)); err != nil {
			return err
		}
	}
	if !s.state.Single {
		if err := s.state.joined(s.name); err != nil {
			return err
		}
	}
	s.state.CA, err = newCA()
	return err
}

// told notes what the configuration says of the whole cluster.
func (s *server) told(st *state) {
	st.Alike, st.External, st.Balanced = s.config.alike, s.config.Spec.API.ExternalAddress, s.config.Spec.Network.NodeLocalLoadBalancing.Enabled
}

// again starts a controller that was a member before.
func (s *server) again(ctx context.Context) error {
	was := s.state.Nodes[s.name].Version
	switch err := moves(was, Version); {
	case err != nil:
		return err
	case slices.Contains(s.state.Removed, s.id) || !s.state.has(s.id):
		return errors.New("etcd: the member has been permanently removed from the cluster: its data has to go before it joins again (R12)")
	case was != "" && was != Version && !slices.Contains(s.state.Backups, was):
		return fmt.Errorf("this is %s, and no backup was made with %s: without one there is no way back (R9)", Version, was)
	}
	short, cancel := context.WithTimeout(ctx, peekTimeout)
	defer cancel()
	for _, m := range s.state.Members { // of those that know of a newer cluster
		var is state
		if m.ID != s.id && s.call(short, m.url()+"/peer/state", s.state.Peer, nil, &is) == nil && !is.has(s.id) {
			return fmt.Errorf("etcd: %s is in a cluster that this member is not of (R12)", m.Name)
		}
	}
	s.told(s.state)
	return s.state.save()
}

// joining is what a controller says that wants to join.
type joining struct {
	Member member
	Alike  string
}

func (s *server) join(ctx context.Context, file string) error {
	url, secret, err := readToken(file, controllerUser)
	if err != nil {
		return err
	}
	s.state = &state{}
	if err := s.call(ctx, url+"/join", secret, joining{s.self(), s.config.alike}, s.state); err != nil {
		return fmt.Errorf("failed to join controller: %w", err)
	}
	return nil
}

// listen opens the ports of a controller.
func (s *server) listen(ctx context.Context) error {
	own := s.config.Spec.API.Address
	ports := []struct {
		host, port, cert string
		handler          http.Handler
	}{
		{own, "6443", "/server", s.handler()}, {own, "8132", "/server", http.NotFoundHandler()}, {own, "9443", "/server", s.joinHandler()},
		{own, "2380", "/etcd/peer", http.NotFoundHandler()}, {"127.0.0.1", "2379", "/etcd/server", http.NotFoundHandler()},
	}
	if s.state.Single {
		ports = ports[:1]
	} else if own == "127.0.0.1" || os.Getenv("STANDIN_ROOT") != "" {
		ports = ports[:4]
	}
	for _, p := range ports {
		if err := serveTLS(ctx, p.host, p.port, pkiDir+p.cert, p.handler, s.fatal); err != nil {
			return err
		}
	}
	return nil
}

// serveTLS answers at a port with a certificate.
func serveTLS(ctx context.Context, host, port, files string, h http.Handler, fatal chan<- error) error {
	cert, err := tls.LoadX509KeyPair(root(files+".crt"), root(files+".key"))
	if err != nil {
		return err
	}
	return serve(ctx, host, port, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }, h, fatal)
}

// serve answers with the certificate that show returns for each connection.
func serve(ctx context.Context, host, port string, show func(*tls.ClientHelloInfo) (*tls.Certificate, error), h http.Handler, fatal chan<- error) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, TLSConfig: &tls.Config{GetCertificate: show}, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	go func() {
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			fatal <- err
		}
	}()
	return nil
}

func newClient() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the secrets tell who is who
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second, DisableKeepAlives: true,
	}}
}

// refusal is an answer that says no.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

func (s *server) call(ctx context.Context, url, secret string, ask, out any) error {
	return call(ctx, s.client, url, secret, ask, out)
}

// call posts what ask is, or gets, and reads the answer into out.
func call(ctx context.Context, client *http.Client, url, secret string, ask, out any) error {
	method, body := http.MethodGet, io.Reader(nil)
	if ask != nil {
		raw, err := json.Marshal(ask)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return &refusal{resp.StatusCode, strings.TrimSpace(string(text))}
	case out == nil:
		return nil
	}
	return json.Unmarshal(text, out)
}
