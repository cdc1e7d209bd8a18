package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const forwardedBy = "X-Standin-Forwarded"

// who may ask.
const (
	anybody = 1 << iota
	admin
	servers
	agents
)

// handler is the API of a server.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	local := func(pattern string, who int, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer(w, s.allowed(r, who), func() error { return h(w, r) })
		})
	}
	led := func(pattern string, who int, h func(*http.Request, map[string]int64) (any, error)) {
		local(pattern, who, func(w http.ResponseWriter, r *http.Request) error { return s.lead(w, r, h) })
	}
	local("/ping", anybody, func(w http.ResponseWriter, _ *http.Request) error { return say(w, "pong") })
	local("/version", anybody, func(w http.ResponseWriter, _ *http.Request) error {
		return tell(w, map[string]string{"gitVersion": Version})
	})
	ready := func(w http.ResponseWriter, r *http.Request) error {
		if _, _, err := s.leader(r.Context()); err != nil {
			return err
		}
		return say(w, "ok")
	}
	local("/readyz", anybody, ready)
	local("/livez", anybody, ready)
	local("/healthz", anybody, ready)
	local("/standin/peek", servers, func(w http.ResponseWriter, _ *http.Request) error {
		return tell(w, map[string]any{"ID": s.id, "Revision": s.current().Revision})
	})
	local("/standin/state", servers, func(w http.ResponseWriter, _ *http.Request) error { return tell(w, s.current()) })
	local("/standin/push", servers, func(w http.ResponseWriter, r *http.Request) error {
		fresh := &state{}
		if err := json.NewDecoder(r.Body).Decode(fresh); err != nil {
			return err
		}
		return errors.Join(s.take(fresh), say(w, "{}"))
	})
	local("/standin/certificates", agents, s.forAgent)
	led("/standin/cacerts", servers, s.takeCAs)
	led("/standin/join", servers|agents, s.takeServer)
	led("/standin/node", servers|agents, s.takeNode)
	led("/standin/snapshot", admin, s.takeSnapshot)
	led("/standin/apply", admin, s.takeObject)
	led("/standin/delete", admin, s.dropObject)
	led("/standin/cordon", admin, s.cordon)
	led("/standin/label", admin, s.marked(func(n *node, words []string) error {
		for _, w := range words {
			if key, gone := strings.CutSuffix(w, "-"); gone {
				delete(n.Labels, key)
				continue
			}
			key, value, _ := strings.Cut(w, "=")
			n.Labels[key] = value
		}
		return nil
	}))
	led("/standin/taint", admin, s.marked(func(n *node, words []string) error {
		for _, w := range words {
			taint, gone := strings.CutSuffix(w, "-")
			at := slices.IndexFunc(n.Taints, func(t string) bool { return taintKind(t) == taintKind(taint) })
			if at >= 0 {
				n.Taints = slices.Delete(n.Taints, at, at+1)
			} else if gone {
				return fmt.Errorf("taint %q not found", taint)
			}
			if !gone {
				n.Taints = append(n.Taints, taint)
			}
		}
		return nil
	}))
	led("/standin/objects", admin, func(*http.Request, map[string]int64) (any, error) { return s.current().Objects, nil })
	led("/api/v1/nodes", admin, func(_ *http.Request, live map[string]int64) (any, error) { return s.nodeList(live), nil })
	return mux
}

// allowed refuses who does not know the password.
func (s *server) allowed(r *http.Request, who int) error {
	if who&anybody != 0 {
		return nil
	}
	token, st := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), s.current()
	switch {
	case who&servers != 0 && token == st.ServerToken, who&agents != 0 && token == st.AgentToken, who&admin != 0 && token == st.Admin:
		return nil
	}
	return &refusal{http.StatusUnauthorized, "Unauthorized"}
}

func answer(w http.ResponseWriter, err error, do func() error) {
	if err == nil {
		err = do()
	}
	if err == nil {
		return
	}
	code := http.StatusForbidden
	var r *refusal
	switch {
	case errors.As(err, &r):
		code = r.code
	case errors.Is(err, errNoLeader):
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}

func say(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func tell(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// lead answers on the leader, and passes the question on elsewhere.
func (s *server) lead(w http.ResponseWriter, r *http.Request, h func(*http.Request, map[string]int64) (any, error)) error {
	leader, live, err := s.leader(r.Context())
	if err != nil {
		return err
	}
	if leader.ID != s.id {
		if r.Header.Get(forwardedBy) != "" {
			return &refusal{http.StatusServiceUnavailable, "etcdserver: leader changed"}
		}
		return s.forward(w, r, leader.URL)
	}
	if err := s.catchUp(r.Context(), live); err != nil {
		return err
	}
	out, err := h(r, live)
	if err != nil {
		return err
	}
	return tell(w, out)
}

func (s *server) forward(w http.ResponseWriter, r *http.Request, url string) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, url+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", r.Header.Get("Authorization"))
	req.Header.Set(forwardedBy, s.self().Name)
	resp, err := s.client.Do(req)
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, err.Error()}
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, err = io.Copy(w, resp.Body)
	return err
}

// takeServer admits a server as a learner.
func (s *server) takeServer(r *http.Request, live map[string]int64) (any, error) {
	var ask joining
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return nil, err
	}
	st := s.current()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case token != st.ServerToken:
		return nil, errors.New("a server joins with the server token, not with the agents' (R6)")
	case !st.Etcd:
		return nil, errors.New("the cluster is on SQLite: its server has to be started with cluster-init before others join")
	case st.memberOf(ask.Member.Name) != nil:
		return nil, fmt.Errorf("etcd: duplicate node name found: %s: delete the node first (R13)", ask.Member.Name)
	}
	if err := st.sameSettings(ask.Critical); err != nil {
		return nil, err
	}
	if known, ok := st.Passwords[ask.Member.Name]; ok && known != digest(ask.Password) {
		return nil, fmt.Errorf("node password rejected, duplicate hostname: delete the node %s first (R13)", ask.Member.Name)
	}
	for _, n := range s.nodeList(live).Items {
		if m := st.memberOf(n.Metadata.Name); m != nil && (m.Learner || !n.is("Ready")) {
			return nil, fmt.Errorf("etcdserver: unhealthy cluster: %s is not Ready, or a learner still (R4)", m.Name)
		}
	}
	for _, m := range st.Members {
		if _, there := st.Nodes[m.Name]; m.Learner || !there {
			return nil, fmt.Errorf("etcdserver: too many learner members in cluster: %s has not joined yet (R4)", m.Name)
		}
	}
	ask.Member.Learner = true
	if err := s.change(r.Context(), live, func(st *state) error {
		st.Members = append(st.Members, ask.Member)
		return nil
	}); err != nil {
		return nil, err
	}
	return s.current(), nil
}

// takeNode hears a kubelet. What changes nothing is not written down.
func (s *server) takeNode(r *http.Request, live map[string]int64) (any, error) {
	var ask heartbeat
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return nil, err
	}
	st := s.current()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if ask.Node.Role == "agent" && token != st.AgentToken {
		return nil, errors.New("an agent joins with the agent token, never with the servers' (R6)")
	}
	old, there := st.Nodes[ask.Node.Name]
	same := there && st.Passwords[old.Name] == digest(ask.Password) && old.Version == ask.Node.Version && old.IP == ask.Node.IP &&
		old.Role == ask.Node.Role && old.Images == ask.Node.Images
	if !same {
		if err := s.change(r.Context(), live, func(st *state) error { return st.admit(ask.Node, ask.Password, ask.First) }); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.seen[ask.Node.Name] = time.Now()
	s.mu.Unlock()
	var urls []string
	for _, m := range s.current().Members {
		urls = append(urls, m.URL)
	}
	return urls, nil
}

func (s *server) takeSnapshot(r *http.Request, live map[string]int64) (any, error) {
	if !s.current().Etcd {
		return nil, errors.New("etcd datastore disabled")
	}
	var version string
	if err := json.NewDecoder(r.Body).Decode(&version); err != nil {
		return nil, err
	}
	return "ok", s.change(r.Context(), live, func(st *state) error {
		if !slices.Contains(st.Snapshots, version) {
			st.Snapshots = append(st.Snapshots, version)
		}
		return nil
	})
}

func (s *server) takeObject(r *http.Request, live map[string]int64) (any, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	var name string
	err = s.change(r.Context(), live, func(st *state) error {
		name, err = st.apply(raw)
		return err
	})
	return name, err
}

// question names an object.
type question struct{ Kind, Namespace, Name string }

func (s *server) dropObject(r *http.Request, live map[string]int64) (any, error) {
	var q question
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	if kindOf(q.Kind) == "secret" && q.Namespace == "kube-system" && strings.HasSuffix(q.Name, passwordSecret) {
		return "ok", s.dropPassword(r, live, q.Name)
	}
	err := s.change(r.Context(), live, func(st *state) error {
		if kindOf(q.Kind) == "node" {
			return st.forget(q.Name)
		}
		k := key(q.Kind, q.Namespace, q.Name)
		if _, ok := st.Objects[k]; !ok {
			return fmt.Errorf("%ss %q not found", kindOf(q.Kind), q.Name)
		}
		delete(st.Objects, k)
		return nil
	})
	return "ok", err
}

func (s *server) cordon(r *http.Request, live map[string]int64) (any, error) {
	var q struct {
		Name          string
		Unschedulable bool
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	return "ok", s.change(r.Context(), live, func(st *state) error {
		n, ok := st.Nodes[q.Name]
		if !ok {
			return fmt.Errorf("nodes %q not found", q.Name)
		}
		n.Unschedulable = q.Unschedulable
		st.Nodes[q.Name] = n
		return nil
	})
}

// change is what is to be set of a node.
type change struct {
	Name  string
	Words []string
}

// marked changes a node.
func (s *server) marked(do func(*node, []string) error) func(*http.Request, map[string]int64) (any, error) {
	return func(r *http.Request, live map[string]int64) (any, error) {
		var q change
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return nil, err
		}
		return "ok", s.change(r.Context(), live, func(st *state) error {
			n, ok := st.Nodes[q.Name]
			if !ok {
				return fmt.Errorf("nodes %q not found", q.Name)
			}
			if n.Labels == nil {
				n.Labels = map[string]string{}
			}
			err := do(&n, q.Words)
			st.Nodes[q.Name] = n
			return err
		})
	}
}

// taintKind is KEY:EFFECT of KEY[=VALUE]:EFFECT.
func taintKind(taint string) string {
	name, effect, _ := strings.Cut(taint, ":")
	key, _, _ := strings.Cut(name, "=")
	return key + ":" + effect
}
