package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const forwarded = "X-Standin-Forwarded"

// asking is a request whose sender is known.
type asking struct {
	*http.Request
	who  string
	body []byte
	live map[string]int64
}

func (a *asking) read(into any) error { return json.Unmarshal(a.body, into) }

// handle has who may ask, and answers in JSON.
func (s *server) handle(mux *http.ServeMux, pattern, who string, led bool, do func(*asking) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		out, err := s.answer(r, who, led, do)
		var no *refusal
		switch {
		case err == nil:
			if text, ok := out.(string); ok && who == "" {
				_, _ = io.WriteString(w, text)
				return
			}
			_ = json.NewEncoder(w).Encode(out)
		case errors.As(err, &no):
			http.Error(w, no.text, no.code)
		case errors.Is(err, errNoLeader):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
}

func (s *server) answer(r *http.Request, who string, led bool, do func(*asking) (any, error)) (any, error) {
	secret := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a := &asking{Request: r, body: body}
	if led {
		lead, live, err := s.leader(r.Context())
		if err != nil {
			return nil, err
		}
		if lead.ID != s.id {
			return s.forward(r, lead, body)
		}
		if err := s.catchUp(r.Context(), live); err != nil {
			return nil, err
		}
		a.live = live
	}
	a.who = s.current().knows(secret)
	if who != "" && !slices.Contains(strings.Fields(who), strings.Split(a.who, ":")[0]) {
		return nil, &refusal{http.StatusUnauthorized, "Unauthorized"}
	}
	return do(a)
}

// forward asks the leader.
func (s *server) forward(r *http.Request, lead member, body []byte) (any, error) {
	if r.Header.Get(forwarded) != "" {
		return nil, &refusal{http.StatusServiceUnavailable, "etcdserver: leader changed"}
	}
	url := lead.url() + r.URL.RequestURI()
	if r.URL.Path == "/join" {
		url = "https://" + lead.Address + ":9443/join"
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", r.Header.Get("Authorization"))
	req.Header.Set(forwarded, s.name)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, &refusal{http.StatusServiceUnavailable, err.Error()}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &refusal{resp.StatusCode, strings.TrimSpace(string(raw))}
	}
	return json.RawMessage(raw), err
}

// handler is the API of a controller.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	ready := func(a *asking) (any, error) {
		_, _, err := s.leader(a.Context())
		return "ok", err
	}
	s.handle(mux, "/readyz", "", false, ready)
	s.handle(mux, "/livez", "", false, ready)
	s.handle(mux, "/healthz", "", false, ready)
	s.handle(mux, "/version", "peer admin node worker", false, func(*asking) (any, error) { return map[string]string{"gitVersion": kubelet(Version)}, nil })
	s.handle(mux, "/peer/peek", "peer", false, func(*asking) (any, error) { return peek{s.id, s.current().Revision}, nil })
	s.handle(mux, "/peer/state", "peer", false, func(*asking) (any, error) { return s.current(), nil })
	s.handle(mux, "/peer/push", "peer", false, func(a *asking) (any, error) {
		fresh := &state{}
		if err := a.read(fresh); err != nil {
			return nil, err
		}
		return "ok", s.take(fresh)
	})
	s.handle(mux, "/bootstrap", "worker", true, s.bootstrap)
	s.handle(mux, "/node", "peer node", true, s.hear)
	s.handle(mux, "/token", "admin", true, s.grant)
	s.handle(mux, "/invalidate", "admin", true, func(a *asking) (any, error) {
		var ids []string
		if err := a.read(&ids); err != nil {
			return nil, err
		}
		return "ok", s.change(a.Context(), a.live, func(st *state) error {
			for _, id := range ids {
				delete(st.Tokens, id)
			}
			return nil
		})
	})
	s.handle(mux, "/backup", "admin", true, func(a *asking) (any, error) {
		return "ok", s.change(a.Context(), a.live, func(st *state) error {
			for _, n := range st.Nodes {
				if !slices.Contains(st.Backups, n.Version) {
					st.Backups = append(st.Backups, n.Version)
				}
			}
			return nil
		})
	})
	s.handle(mux, "/kube/list", "admin", true, s.list)
	s.handle(mux, "/kube/apply", "admin", true, func(a *asking) (name any, err error) {
		err = s.change(a.Context(), a.live, func(st *state) (err error) {
			name, err = st.apply(a.body)
			return err
		})
		return name, err
	})
	s.handle(mux, "/kube/delete", "admin", true, s.remove)
	s.handle(mux, "/kube/node", "admin", true, s.mark)
	return mux
}

// joinHandler is what other controllers join by.
func (s *server) joinHandler() http.Handler {
	mux := http.NewServeMux()
	s.handle(mux, "/join", "controller", true, s.takeController)
	return mux
}

// takeController admits a controller as a learner.
func (s *server) takeController(a *asking) (any, error) {
	var ask joining
	if err := a.read(&ask); err != nil {
		return nil, err
	}
	st := s.current()
	for _, m := range st.Members {
		switch _, alive := a.live[m.ID]; {
		case m.Name == ask.Member.Name || m.Address == ask.Member.Address:
			return nil, fmt.Errorf("etcdserver: peer URL exists: %s is a member and has not left (R12)", m.Name)
		case m.Learner:
			return nil, fmt.Errorf("etcdserver: too many learner members in cluster: %s (R4)", m.Name)
		case !alive || !s.isReady(m.Name):
			return nil, fmt.Errorf("etcdserver: unhealthy cluster: %s is not Ready (R4)", m.Name)
		}
	}
	if st.Alike != ask.Alike {
		return nil, errors.New("the controllers are told different things in k0s.yaml (R2)")
	}
	ask.Member.Learner = true
	err := s.change(a.Context(), a.live, func(st *state) error {
		st.Members = append(st.Members, ask.Member)
		return nil
	})
	return s.current(), err
}

// bootstrap gives a worker what it is known by.
func (s *server) bootstrap(a *asking) (any, error) {
	var name string
	if err := a.read(&name); err != nil {
		return nil, err
	}
	own := random()
	err := s.change(a.Context(), a.live, func(st *state) error {
		st.Kubelets[name] = own
		return nil
	})
	return own, err
}

// hear hears a kubelet. What changes nothing is not written down.
func (s *server) hear(a *asking) (any, error) {
	var n node
	if err := a.read(&n); err != nil {
		return nil, err
	}
	if name, ok := strings.CutPrefix(a.who, "node:"); ok && name != n.Name || ok == n.Controller {
		return nil, fmt.Errorf("%s says that it is %s", a.who, n.Name)
	}
	old, there := s.current().Nodes[n.Name]
	same := there && old.Version == n.Version && old.Images == n.Images && old.Address == n.Address && old.Never == n.Never
	if !same {
		if err := s.change(a.Context(), a.live, func(st *state) error { return st.admit(n) }); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.seen[n.Name] = time.Now()
	s.mu.Unlock()
	var urls []string
	if st := s.current(); st.Balanced {
		for _, m := range st.Members {
			urls = append(urls, m.url())
		}
	}
	return urls, nil
}

// wanted is the token that is asked for.
type wanted struct {
	Role   string
	Expiry time.Duration
}

// grant makes a token.
func (s *server) grant(a *asking) (any, error) {
	var w wanted
	if err := a.read(&w); err != nil {
		return nil, err
	}
	switch st := s.current(); {
	case st.Single:
		return nil, errors.New("refusing to create token: cannot join into a single node cluster")
	case w.Expiry <= 0:
		return nil, errors.New("the token would live for ever: give it an expiry (R14)")
	}
	id, secret := random()[:6], random()[:16]
	err := s.change(a.Context(), a.live, func(st *state) error {
		st.Tokens[id] = token{Secret: secret, Role: w.Role, Expires: time.Now().Add(w.Expiry)}
		return nil
	})
	return id + "." + secret, err
}

// silence is how long a kubelet may be silent before its node is not Ready.
const silence = 6 * time.Second

func (s *server) isReady(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.state.Nodes[name]
	last, heard := s.seen[name]
	if !heard {
		last = s.since // a leader that is new waits for all of them
	}
	return ok && time.Since(last) < silence && (n.Images > 0 || !n.Never)
}

// list returns the objects of a kind.
func (s *server) list(a *asking) (any, error) {
	kind, st := kindOf(a.URL.Query().Get("kind")), s.current()
	out := []json.RawMessage{}
	if kind == "node" {
		for _, name := range slices.Sorted(maps.Keys(st.Nodes)) {
			raw, err := json.Marshal(s.nodeObject(st.Nodes[name]))
			if err != nil {
				return nil, err
			}
			out = append(out, raw)
		}
		return out, nil
	}
	for _, k := range slices.Sorted(maps.Keys(st.Objects)) {
		if strings.HasPrefix(k, kind+"|") {
			out = append(out, st.Objects[k])
		}
	}
	return out, nil
}

// nodeObject is a Node as Kubernetes shows it.
func (s *server) nodeObject(n node) object {
	o := object{APIVersion: "v1", Kind: "Node"}
	o.Metadata.Name = n.Name
	o.Metadata.Labels = map[string]string{"kubernetes.io/hostname": n.Name}
	if n.Controller {
		o.Metadata.Labels["node-role.kubernetes.io/control-plane"] = "true"
	}
	maps.Copy(o.Metadata.Labels, n.Labels)
	o.Spec.Unschedulable = n.Unschedulable
	if len(n.Taints) > 0 {
		o.Spec.Taints = n.Taints
	}
	ready := "Unknown"
	if s.isReady(n.Name) {
		ready = "True"
	}
	o.Status = objectStatus{
		Conditions: []condition{{"Ready", ready}}, NodeInfo: map[string]any{"kubeletVersion": kubelet(n.Version)},
		Addresses: []map[string]string{{"type": "InternalIP", "address": n.Address}, {"type": "Hostname", "address": n.Name}},
	}
	return o
}

// question names an object, and what is to become of a node.
type question struct {
	Kind, Namespace, Name string
	Verb                  string
	Words                 []string
}

func (s *server) remove(a *asking) (any, error) {
	var q question
	if err := a.read(&q); err != nil {
		return nil, err
	}
	return "ok", s.change(a.Context(), a.live, func(st *state) error {
		k := key(q.Kind, q.Namespace, q.Name)
		_, object := st.Objects[k]
		_, node := st.Nodes[q.Name]
		node = node && kindOf(q.Kind) == "node"
		if !object && !node {
			return fmt.Errorf("%ss %q not found", kindOf(q.Kind), q.Name)
		}
		delete(st.Objects, k)
		if node {
			delete(st.Nodes, q.Name)
			delete(st.Kubelets, q.Name)
		}
		return nil
	})
}

// mark cordons, uncordons, labels and taints a node.
func (s *server) mark(a *asking) (any, error) {
	var q question
	if err := a.read(&q); err != nil {
		return nil, err
	}
	return "ok", s.change(a.Context(), a.live, func(st *state) error {
		n, ok := st.Nodes[q.Name]
		if !ok {
			return fmt.Errorf("nodes %q not found", q.Name)
		}
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		switch q.Verb {
		case "cordon", "uncordon":
			n.Unschedulable = q.Verb == "cordon"
		case "label":
			for _, w := range q.Words {
				name, value, set := strings.Cut(w, "=")
				delete(n.Labels, strings.TrimSuffix(name, "-"))
				if set {
					n.Labels[name] = value
				}
			}
		case "taint":
			for _, w := range q.Words {
				kind := func(t string) string {
					name, effect, _ := strings.Cut(strings.TrimSuffix(t, "-"), ":")
					name, _, _ = strings.Cut(name, "=")
					return name + ":" + effect
				}
				n.Taints = slices.DeleteFunc(n.Taints, func(t string) bool { return kind(t) == kind(w) })
				if !strings.HasSuffix(w, "-") {
					n.Taints = append(n.Taints, w)
				}
			}
		}
		st.Nodes[q.Name] = n
		return nil
	})
}
