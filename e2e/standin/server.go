package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
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

// server is one k3s server at work.
type server struct {
	config settings
	k      *kubelet
	id     string
	client *http.Client
	store  *datastore // of the user's; nil: this server's own

	mu    sync.Mutex // one change at a time, on the leader
	state *state
	seen  map[string]time.Time // node -> its last word, as this server heard it
	since time.Time
	fatal chan error

	cas    map[string]pair            // as they were when this server started
	issued map[string]map[string]pair // what agents got
}

// serveAPI runs a server until the context ends or it has to stop.
func serveAPI(ctx context.Context, config settings, k *kubelet) error {
	s := &server{config: config, k: k, client: newClient(), seen: map[string]time.Time{}, since: time.Now(), fatal: make(chan error, 2)}
	if err := s.begin(ctx); err != nil {
		return err
	}
	if s.store == nil {
		if err := s.superseded(ctx); err != nil {
			return err
		}
	}
	if err := s.certify(); err != nil {
		return err
	}
	if err := k.listen(ctx, 10250); err != nil {
		return err
	}
	if err := s.listenAPI(ctx); err != nil {
		return err
	}
	if err := s.leave(); err != nil { // files that others read
		return err
	}
	go func() {
		if err := k.run(ctx, func() string { return "https://127.0.0.1:6443" }); err != nil {
			s.fatal <- err
		}
	}()
	go s.watch(ctx)
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fatal:
		return err
	}
}

// begin finds what the server was, or founds or joins a cluster.
func (s *server) begin(ctx context.Context) error {
	var err error
	if s.store, err = openDatastore(s.config); s.store != nil || err != nil {
		if err != nil {
			return err
		}
		return s.share(ctx)
	}
	old, err := loadState()
	if err != nil {
		return err
	}
	url := s.config.text("server")
	if old != nil {
		raw, err := os.ReadFile(root(memberFile))
		if err != nil {
			return err
		}
		s.id, s.state = strings.TrimSpace(string(raw)), old
		return s.again()
	}
	s.id = random()
	if err := writeFile(memberFile, 0o600, []byte(s.id)); err != nil {
		return err
	}
	if url != "" {
		return s.join(ctx, url)
	}
	if s.state, err = s.found(); err != nil {
		return err
	}
	return s.state.save()
}

// found returns the state of a new cluster.
func (s *server) found() (*state, error) {
	token := s.config.text("token")
	if strings.HasPrefix(token, "K10") {
		return nil, errors.New("the first server is given a token of another cluster (K10...): a short one is needed (R1)")
	}
	if token == "" {
		token = random()
	}
	st := &state{
		Etcd: s.config["cluster-init"] == true, ServerToken: token, AgentToken: s.config.text("agent-token"), Admin: random(),
		Families: families(s.config.list("cluster-cidr")),
		Members:  []member{s.self()}, Critical: s.config.critical(), Passwords: map[string]string{}, Nodes: map[string]node{}, Objects: map[string]json.RawMessage{},
	}
	if st.AgentToken == "" {
		st.AgentToken = token
	}
	if !slices.Contains(s.config.list("disable"), "coredns") {
		if _, err := st.apply(json.RawMessage(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"coredns","namespace":"kube-system"}}`)); err != nil {
			return nil, err
		}
	}
	return st, nil
}

func (s *server) self() member {
	return member{ID: s.id, Name: s.config.text("node-name"), URL: "https://" + net.JoinHostPort(s.config.address(), "6443")}
}

// again starts a server that was a member before.
func (s *server) again() error {
	if slices.Contains(s.state.Removed, s.id) || s.state.member(s.id) == nil {
		return errors.New("this server has been removed from the cluster: its server/db has to go before it joins again (R13)")
	}
	if err := opens(s.config, s.state); err != nil {
		return err
	}
	if err := s.afterReset(); err != nil {
		return err
	}
	if err := s.state.sameSettings(s.config.critical()); err != nil {
		return err
	}
	was := s.state.Nodes[s.self().Name].Version
	if err := step(was, Version); err != nil {
		return err
	}
	if s.state.Etcd && was != "" && was != Version && !slices.Contains(s.state.Snapshots, was) {
		return fmt.Errorf("this is %s, and no snapshot was made with %s: without one there is no way back (R9)", Version, was)
	}
	if s.config["cluster-init"] == true && !s.state.Etcd {
		logf("moving from SQLite to etcd")
		s.state.Etcd = true
	}
	return s.state.save()
}

// joining is what a server says that wants to join.
type joining struct {
	Member   member
	Critical map[string]string
	Password string
	Version  string
}

func (s *server) join(ctx context.Context, url string) error {
	ask := joining{Member: s.self(), Critical: s.config.critical(), Password: s.k.password, Version: Version}
	s.state = &state{}
	if err := s.call(ctx, url+"/standin/join", s.config.token(), ask, s.state); err != nil {
		return fmt.Errorf("join %s: %w", url, err)
	}
	return s.state.save()
}

// leave writes the files that a running server has.
func (s *server) leave() error {
	token := "K10" + digest("ca") + "::server:" + s.state.ServerToken + "\n"
	for path, text := range map[string]string{
		"/server/token": token, "/server/node-token": token, "/server/agent-token": "K10" + digest("ca") + "::node:" + s.state.AgentToken + "\n",
		"/server/cred/passwd": s.state.ServerToken + ",server,server,k3s:server\n",
	} {
		if err := writeFile(dataDir+path, 0o600, []byte(text)); err != nil {
			return err
		}
	}
	identity, err := loadPair(serverTLS + "/client-admin")
	if err != nil {
		return err
	}
	mode := os.FileMode(0o600)
	return writeFile(configDir+"/k3s.yaml", mode, []byte(`apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    server: https://127.0.0.1:6443
contexts:
- name: default
  context: {cluster: default, user: default}
current-context: default
users:
- name: default
  user:
    token: `+s.state.Admin+`
    client-certificate-data: `+base64.StdEncoding.EncodeToString(identity.Cert)+`
    client-key-data: `+base64.StdEncoding.EncodeToString(identity.Key)+"\n"))
}

// listenAPI opens the ports of a server and says that it is up once the API
// answers.
func (s *server) listenAPI(ctx context.Context) error {
	ports := []int{6443}
	if s.state.Etcd {
		ports = append(ports, 2379, 2380)
	}
	for _, port := range ports {
		config, err := shown(port)
		if err != nil {
			return err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		handler := http.NotFoundHandler()
		if port == 6443 {
			handler = s.handler()
		}
		srv := &http.Server{Handler: handler, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil}
		go func() { s.fatal <- srv.ServeTLS(l, "", "") }()
	}
	go func() {
		for ctx.Err() == nil {
			if s.get(ctx, "https://127.0.0.1:6443/readyz") == nil {
				_ = notify()
				return
			}
			pause(ctx, 100*time.Millisecond)
		}
	}()
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func newClient() *http.Client {
	return &http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the tokens tell who is who
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second,
		},
	}
}

// refusal is an answer that says no.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

func (s *server) get(ctx context.Context, url string) error {
	return s.call(ctx, url, "", nil, nil)
}

// call posts what ask is, or gets, and reads the answer into out.
func (s *server) call(ctx context.Context, url, token string, ask, out any) error {
	return call(ctx, s.client, url, token, ask, out)
}

func call(ctx context.Context, client *http.Client, url, token string, ask, out any) error {
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
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		if err != nil {
			return err
		}
		return &refusal{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
