package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// state is what the controllers keep, each a copy of its own.
type state struct {
	Revision int64
	Single   bool
	Alike    string // see config
	External string
	Balanced bool // nodes balance their way to the API
	CA       pair
	Admin    string // who says this is the administrator
	Peer     string // and this a controller
	Members  []member
	Removed  []string // IDs that never come back
	Nodes    map[string]node
	Kubelets map[string]string // node -> what it says to be it
	Tokens   map[string]token
	Objects  map[string]json.RawMessage
	Backups  []string // versions that a backup was made with
}

// member is one controller's etcd.
type member struct {
	ID, Name, Address string
	Learner           bool
}

func (m member) url() string { return apiURL(m.Address) }

// node is what a kubelet says of its host.
type node struct {
	Name, Address, Version string
	Controller             bool
	Never                  bool // its images are never pulled
	Images                 int
	Labels                 map[string]string
	Taints                 []string
	Unschedulable          bool
}

type token struct {
	Secret, Role string
	Expires      time.Time
}

func loadState() (*state, error) {
	raw, err := os.ReadFile(root(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a controller that is new has none
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	return s, json.Unmarshal(raw, s)
}

func (s *state) save() error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeFile(stateFile, 0o600, raw)
}

func (s *state) clone() (*state, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	c := &state{}
	return c, json.Unmarshal(raw, c)
}

// voters are the members that count.
func (s *state) voters() []member {
	return slices.DeleteFunc(slices.Clone(s.Members), func(m member) bool { return m.Learner })
}

func (s *state) index(is func(member) bool) int { return slices.IndexFunc(s.Members, is) }

func (s *state) has(id string) bool {
	return s.index(func(m member) bool { return m.ID == id }) >= 0
}

// leave takes a member out of etcd, by its name.
func (s *state) leave(name string) error {
	at := s.index(func(m member) bool { return m.Name == name })
	switch {
	case at < 0:
		return nil
	case len(s.Members) == 1:
		return fmt.Errorf("etcdserver: re-configuration failed: %s is the last member", name)
	}
	s.Removed = append(s.Removed, s.Members[at].ID)
	s.Members = slices.Delete(s.Members, at, at+1)
	return nil
}

// knows finds who says a secret: admin, peer, a role of a token, or node:NAME.
func (s *state) knows(secret string) string {
	switch secret {
	case "":
		return ""
	case s.Admin:
		return "admin"
	case s.Peer:
		return "peer"
	}
	for name, own := range s.Kubelets {
		if secret == own {
			return "node:" + name
		}
	}
	id, rest, _ := strings.Cut(secret, ".")
	if t, ok := s.Tokens[id]; ok && t.Secret == rest && time.Now().Before(t.Expires) {
		return t.Role
	}
	return ""
}

// admit hears a kubelet.
func (s *state) admit(n node) error {
	if old, ok := s.Nodes[n.Name]; ok {
		n.Labels, n.Taints, n.Unschedulable = old.Labels, old.Taints, old.Unschedulable
	}
	for _, o := range s.Nodes {
		var err error
		switch {
		case o.Name == n.Name || o.Controller == n.Controller:
		case n.Controller:
			err = fits(o.Version, n.Version)
		default:
			err = fits(n.Version, o.Version)
		}
		if err != nil {
			return err
		}
	}
	s.Nodes[n.Name] = n
	return nil
}

// object is what every Kubernetes object has.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace,omitempty"`
		Labels    map[string]string `json:"labels,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Leave         bool `json:"leave,omitempty"`
		Unschedulable bool `json:"unschedulable,omitempty"`
		Taints        any  `json:"taints,omitempty"`
	} `json:"spec,omitzero"`
	Status objectStatus `json:"status,omitzero"`
}

type objectStatus struct {
	Conditions []condition    `json:"conditions,omitempty"`
	NodeInfo   map[string]any `json:"nodeInfo,omitempty"`
	Addresses  any            `json:"addresses,omitempty"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

// key names an object: KIND|NAMESPACE|NAME.
func key(kind, namespace, name string) string {
	kind = kindOf(kind)
	if slices.Contains([]string{"node", "etcdmember", "controlnode", "namespace"}, kind) || strings.HasPrefix(kind, "cluster") || strings.HasPrefix(kind, "customresource") {
		namespace = ""
	}
	return kind + "|" + namespace + "|" + name
}

// kindOf is the kind that a word of kubectl's stands for.
func kindOf(word string) string {
	word, _, _ = strings.Cut(strings.ToLower(word), ".") // the group
	switch word {
	case "cm":
		return "configmap"
	case "ns":
		return "namespace"
	case "deploy":
		return "deployment"
	case "pdb":
		return "poddisruptionbudget"
	}
	return strings.TrimSuffix(word, "s")
}

// apply keeps an object. An EtcdMember that is to leave leaves.
func (s *state) apply(raw json.RawMessage) (string, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", err
	}
	if o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "" {
		return "", errors.New("an object has an apiVersion, a kind and a name")
	}
	kind := kindOf(o.Kind)
	if o.Metadata.Namespace == "" {
		o.Metadata.Namespace = "default"
	}
	if kind == "etcdmember" {
		joined := "True"
		if o.Spec.Leave {
			joined = "False"
			if err := s.leave(o.Metadata.Name); err != nil {
				return "", err
			}
		}
		o.Metadata.Namespace = ""
		o.Status.Conditions = []condition{{"Joined", joined}}
		var err error
		if raw, err = json.Marshal(o); err != nil {
			return "", err
		}
	}
	s.Objects[key(kind, o.Metadata.Namespace, o.Metadata.Name)] = raw
	return kind + "/" + o.Metadata.Name, nil
}

// joined says by objects that a controller is a member.
func (s *state) joined(name string) error {
	for _, kind := range []string{`"etcd.k0sproject.io/v1beta1","kind":"EtcdMember"`, `"autopilot.k0sproject.io/v1beta2","kind":"ControlNode"`} {
		if _, err := s.apply(json.RawMessage(fmt.Sprintf(`{"apiVersion":%s,"metadata":{"name":%q}}`, kind, name))); err != nil {
			return err
		}
	}
	return nil
}

func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
