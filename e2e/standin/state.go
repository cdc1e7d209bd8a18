package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// state is what the servers keep, each a copy of its own.
type state struct {
	Revision    int64                      `json:"revision"`
	Families    string                     `json:"families"` // of the networks of pods, see families
	Etcd        bool                       `json:"etcd"`
	Members     []member                   `json:"members"`
	Removed     []string                   `json:"removed"` // IDs that never come back
	ServerToken string                     `json:"serverToken"`
	AgentToken  string                     `json:"agentToken"`
	Admin       string                     `json:"admin"` // what the kubeconfig holds
	Critical    map[string]string          `json:"critical"`
	Passwords   map[string]string          `json:"passwords"` // node -> digest
	Nodes       map[string]node            `json:"nodes"`
	Objects     map[string]json.RawMessage `json:"objects"`
	Snapshots   []string                   `json:"snapshots"` // versions that a snapshot was made with
	CAs         map[string]pair            `json:"cas"`       // see authorities
	CAsMade     int64                      `json:"casMade"`   // when, in seconds since 1970
}

// member is one server of the cluster.
type member struct {
	ID, Name, URL string
	Learner       bool
}

// node is what a kubelet says of its host.
type node struct {
	Name, IP, Version, Role string
	Labels                  map[string]string // those that it registered with, until kubectl changes them
	Taints                  []string
	Images                  int
	Unschedulable           bool
}

const stateFile = dataDir + "/server/db/state.json"
const memberFile = dataDir + "/server/db/member" // the ID of the server

func loadState() (*state, error) {
	raw, err := os.ReadFile(root(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a server that is new has none
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

func (s *state) member(id string) *member {
	for i := range s.Members {
		if s.Members[i].ID == id {
			return &s.Members[i]
		}
	}
	return nil
}

func (s *state) memberOf(name string) *member {
	for i := range s.Members {
		if s.Members[i].Name == name {
			return &s.Members[i]
		}
	}
	return nil
}

// sameSettings refuses a server that differs from the others.
func (s *state) sameSettings(theirs map[string]string) error {
	for _, key := range append(slices.Clone(critical), "disable servicelb") {
		if s.Critical[key] != theirs[key] {
			return fmt.Errorf("critical configuration value mismatch between servers: %s (R2)", key)
		}
	}
	return nil
}

// admit takes a node in, or its news.
func (s *state) admit(n node, password string, first bool) error {
	if known, ok := s.Passwords[n.Name]; ok && known != digest(password) {
		return fmt.Errorf("node password rejected, duplicate hostname or contents of /etc/rancher/node/password may not match server node-passwd entry: delete the node %s first (R13)", n.Name)
	}
	old, there := s.Nodes[n.Name]
	if !there && !first {
		return fmt.Errorf("node %q not found", n.Name)
	}
	if there {
		if err := step(old.Version, n.Version); err != nil {
			return err
		}
	}
	for _, o := range s.Nodes {
		switch {
		case n.Role == "agent" && o.Role == "server" && newer(n.Version, o.Version):
			return fmt.Errorf("the agent %s is %s, newer than the server %s (%s) (R9)", n.Name, n.Version, o.Name, o.Version)
		case n.Role == "server" && o.Role == "agent" && newer(o.Version, n.Version):
			return fmt.Errorf("the agent %s is %s, newer than this server (%s) (R9)", o.Name, o.Version, n.Version)
		}
	}
	if err := reaches(s.Families, strings.Split(n.IP, ",")); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	n.Unschedulable = old.Unschedulable
	if there {
		n.Labels, n.Taints = old.Labels, old.Taints
	}
	s.Passwords[n.Name] = digest(password)
	s.Nodes[n.Name] = n
	return nil
}

// forget takes a node away, with its password and its membership.
func (s *state) forget(name string) error {
	if _, ok := s.Nodes[name]; !ok {
		return fmt.Errorf(`nodes %q not found`, name)
	}
	if m := s.memberOf(name); m != nil {
		if len(s.Members) == 1 {
			return fmt.Errorf("%s is the last server", name)
		}
		s.Removed = append(s.Removed, m.ID)
		s.Members = slices.DeleteFunc(s.Members, func(o member) bool { return o.Name == name })
	}
	delete(s.Nodes, name)
	delete(s.Passwords, name)
	return nil
}

// apply keeps an object.
func (s *state) apply(raw json.RawMessage) (string, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", err
	}
	if o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "" {
		return "", errors.New("an object has an apiVersion, a kind and a name")
	}
	s.Objects[o.key()] = raw
	return strings.ToLower(o.Kind) + "/" + o.Metadata.Name, nil
}

// object is what every Kubernetes object has.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func (o object) key() string { return key(o.Kind, o.Metadata.Namespace, o.Metadata.Name) }

// kindOf is the kind that a word of kubectl's stands for.
func kindOf(word string) string {
	word = strings.ToLower(word)
	word, _, _ = strings.Cut(word, ".") // the group
	switch word {
	case "cm":
		return "configmap"
	case "ns":
		return "namespace"
	case "deploy":
		return "deployment"
	case "ds":
		return "daemonset"
	case "no":
		return "node"
	case "pdb":
		return "poddisruptionbudget"
	case "ingresses":
		return "ingress"
	}
	return strings.TrimSuffix(word, "s")
}

func key(kind, namespace, name string) string {
	kind = kindOf(kind)
	if namespace == "" && !slices.Contains([]string{"namespace", "customresourcedefinition", "clusterrole", "clusterrolebinding", "persistentvolume", "storageclas"}, kind) {
		namespace = "default"
	}
	return kind + "|" + namespace + "|" + name
}
