package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	serverTLS  = dataDir + "/server/tls"
	agentDir   = dataDir + "/agent"
	dynamic    = serverTLS + "/dynamic-cert.json"
	regenerate = serverTLS + "/dynamic-cert-regenerate"
	lockFile   = dataDir + "/standin.lock" // held while a server or an agent runs
)

// authorities are the CAs of a cluster, by their files below server/tls.
//
//nolint:gochecknoglobals // a table that nothing changes
var authorities = []string{"client-ca", "server-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca"}

// newAuthorities makes the CAs of a cluster.
func newAuthorities() (map[string]pair, error) {
	out := map[string]pair{}
	for _, name := range authorities {
		ca, err := newAuthority(strings.ReplaceAll(strings.TrimSuffix(name, "-ca"), "/", "-"))
		if err != nil {
			return nil, err
		}
		out[name] = ca
	}
	return out, nil
}

// errRuns says that k3s runs on this host.
var errRuns = errors.New("k3s runs on this host")

// lock says that k3s runs on this host, until what it returns is closed or the
// process ends. Where another has it the error wraps errRuns.
func lock() (io.Closer, error) {
	if err := os.MkdirAll(root(dataDir), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(root(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errRuns
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// leaves are the certificates of a server, by their files below the data
// directory.
func (s *server) leaves() map[string]leaf {
	name := s.config.text("node-name")
	local := append([]string{"localhost", "127.0.0.1", name}, s.config.list("node-ip")...)
	client := func(name, group string) leaf { return leaf{ca: "client-ca", name: name, group: group} }
	out := map[string]leaf{
		"server/tls/client-admin":                                      client("system:admin", "system:masters"),
		"server/tls/client-kube-apiserver":                             client("system:apiserver", "system:masters"),
		"server/tls/client-controller":                                 client("system:kube-controller-manager", ""),
		"server/tls/client-scheduler":                                  client("system:kube-scheduler", ""),
		"server/tls/client-auth-proxy":                                 {ca: "request-header-ca", name: "system:auth-proxy"},
		"server/tls/serving-kube-apiserver":                            {ca: "server-ca", name: "kube-apiserver", sans: append(slices.Clone(local), s.config.list("tls-san")...)},
		"server/tls/etcd/client":                                       {ca: "etcd/server-ca", name: "etcd-client"},
		"server/tls/etcd/server-client":                                {ca: "etcd/server-ca", name: "etcd-server", sans: local},
		"server/tls/etcd/peer-server-client":                           {ca: "etcd/peer-ca", name: "etcd-peer", sans: local},
		strings.TrimPrefix(agentDir, dataDir+"/") + "/serving-kubelet": {ca: "server-ca", name: name, sans: local},
		strings.TrimPrefix(agentDir, dataDir+"/") + "/client-kubelet":  {ca: "client-ca", name: "system:node:" + name, group: "system:nodes"},
	}
	for file, l := range out {
		l.sans = slices.DeleteFunc(slices.Clone(l.sans), func(n string) bool { return n == "" })
		out[file] = l
	}
	return out
}

// certify gives a server the CAs of its cluster and its certificates, where they
// are missing, not signed by these CAs or about to end.
func (s *server) certify() error {
	if s.state.CAs == nil {
		var err error
		if s.state.CAs, err = newAuthorities(); err != nil {
			return err
		}
		s.state.CAsMade = time.Now().Unix()
		if err := s.state.save(); err != nil {
			return err
		}
	}
	s.cas = s.state.CAs // those of the start: new ones count at the next
	for name, ca := range s.cas {
		if err := s.newerOnDisk(name, ca); err != nil {
			return err
		}
		if err := ca.save(serverTLS + "/" + name); err != nil {
			return err
		}
	}
	for file, l := range s.leaves() {
		old, err := loadPair(dataDir + "/" + file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && old.current(s.cas[l.ca], l.sans) {
			continue
		}
		fresh, err := s.cas[l.ca].issue(l)
		if err == nil {
			err = fresh.save(dataDir + "/" + file)
		}
		if err != nil {
			return err
		}
	}
	// a server on SQLite has the name that it would have in etcd
	if err := writeFile(dataDir+"/server/db/etcd/name", 0o600, []byte("standin-1")); err != nil {
		return err
	}
	if s.state.Etcd {
		if err := os.MkdirAll(root(dataDir+"/server/db/etcd/member"), 0o700); err != nil {
			return err
		}
	}
	return s.certifyListener()
}

// clockSkew is how much later than the data a file may be.
const clockSkew = 3 * time.Second

// newerOnDisk refuses to start beside a CA that was made after those in the data:
// the data was put back, and the file belongs to what was after it.
func (s *server) newerOnDisk(name string, ca pair) error {
	file := root(serverTLS + "/" + name + ".crt")
	is, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(is, ca.Cert) {
		return nil
	}
	if err != nil {
		return err
	}
	fi, err := os.Stat(file)
	if err == nil && fi.ModTime().After(time.Unix(s.state.CAsMade, 0).Add(clockSkew)) {
		err = fmt.Errorf("%s newer than datastore and could cause a cluster outage. Remove the file from disk and restart to be recreated from datastore", file)
	}
	return err
}

// secret is the certificate that a server answers with, as k3s keeps it.
type secret struct {
	Kind string `json:"kind"`
	Data struct {
		Cert []byte `json:"tls.crt"`
		Key  []byte `json:"tls.key"`
	} `json:"data"`
}

// certifyListener makes the certificate of 6443: anew where it is told to, with
// further names where it lacks some.
func (s *server) certifyListener() error {
	sans := slices.DeleteFunc(append([]string{"kubernetes", "localhost", "127.0.0.1", s.config.text("node-name"), s.config.text("node-ip")}, s.config.list("tls-san")...), func(n string) bool { return n == "" })
	var old secret
	raw, err := os.ReadFile(root(dynamic))
	if err == nil {
		err = json.Unmarshal(raw, &old)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, asked := os.Stat(root(regenerate))
	if asked != nil && (pair{old.Data.Cert, old.Data.Key}).current(s.cas["server-ca"], sans) {
		return nil
	}
	fresh, err := s.cas["server-ca"].issue(leaf{name: "k3s", group: "k3s", sans: sans})
	if err != nil {
		return err
	}
	made := secret{Kind: "Secret"}
	made.Data.Cert, made.Data.Key = fresh.Cert, fresh.Key
	if raw, err = json.Marshal(made); err != nil {
		return err
	}
	if err := writeFile(dynamic, 0o600, raw); err != nil {
		return err
	}
	if err := os.Remove(root(regenerate)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// listenerPair is the certificate of 6443.
func listenerPair() (pair, error) {
	raw, err := os.ReadFile(root(dynamic))
	if err != nil {
		return pair{}, err
	}
	var s secret
	err = json.Unmarshal(raw, &s)
	return pair{s.Data.Cert, s.Data.Key}, err
}

// shown is what a port of a server shows, as it is in its file when it starts.
func shown(port int) (*tls.Config, error) {
	p, err := listenerPair()
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch port {
	case 2379:
		p, err = loadPair(serverTLS + "/etcd/server-client")
		config.ClientAuth = tls.RequireAnyClientCert
	case 2380:
		p, err = loadPair(serverTLS + "/etcd/peer-server-client")
		config.ClientAuth = tls.RequireAnyClientCert
	}
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	config.Certificates = []tls.Certificate{cert}
	return config, err
}

// loadPair reads FILE.crt and FILE.key.
func loadPair(file string) (p pair, err error) {
	if p.Cert, err = os.ReadFile(root(file + ".crt")); err == nil {
		p.Key, err = os.ReadFile(root(file + ".key"))
	}
	return p, err
}

func (p pair) save(file string) error {
	return errors.Join(writeFile(file+".crt", 0o644, p.Cert), writeFile(file+".key", 0o600, p.Key))
}

// asking is what an agent wants certificates for.
type asking struct{ Name, IP string }

// forAgent answers an agent with its certificates: the same ones until this server
// starts again.
func (s *server) forAgent(w http.ResponseWriter, r *http.Request) error {
	var ask asking
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued[ask.Name] == nil {
		serving, err := s.cas["server-ca"].issue(leaf{name: ask.Name, sans: []string{"localhost", "127.0.0.1", ask.Name, ask.IP}})
		if err != nil {
			return err
		}
		client, err := s.cas["client-ca"].issue(leaf{name: "system:node:" + ask.Name, group: "system:nodes"})
		if err != nil {
			return err
		}
		if s.issued == nil {
			s.issued = map[string]map[string]pair{}
		}
		s.issued[ask.Name] = map[string]pair{
			"serving-kubelet": serving, "client-kubelet": client,
			"client-ca": {Cert: s.cas["client-ca"].Cert}, "server-ca": {Cert: s.cas["server-ca"].Cert},
		}
	}
	return tell(w, s.issued[ask.Name])
}

// obtain has an agent ask the servers for its certificates, until one answers.
func (k *kubelet) obtain(ctx context.Context) error {
	known, err := k.servers()
	if err != nil {
		return err
	}
	ask, client := asking{k.config.text("node-name"), k.config.text("node-ip")}, newClient()
	for ctx.Err() == nil {
		var errs []error
		for _, url := range known {
			var got map[string]pair
			err := call(ctx, client, url+"/standin/certificates", k.config.token(), ask, &got)
			var no *refusal
			switch {
			case err == nil:
				return k.keep(got)
			case errors.As(err, &no) && no.code != http.StatusServiceUnavailable:
				return err
			}
			errs = append(errs, err)
		}
		logf("%v", errors.Join(errs...))
		pause(ctx, retryAfter)
	}
	return nil
}

func (k *kubelet) keep(got map[string]pair) error {
	for name, p := range got {
		if err := writeFile(agentDir+"/"+name+".crt", 0o644, p.Cert); err != nil {
			return err
		}
		if len(p.Key) == 0 {
			continue
		}
		if err := writeFile(agentDir+"/"+name+".key", 0o600, p.Key); err != nil {
			return err
		}
	}
	return nil
}

// certificate is `k3s certificate rotate` and `k3s certificate rotate-ca`.
func certificate(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("certificate: a command is missing")
	}
	switch args[0] {
	case "rotate":
		if len(args) > 1 {
			return errors.New("certificate rotate: the stand-in knows no flags of it")
		}
		return rotate()
	case "rotate-ca":
		return rotateCA(ctx, args[1:])
	}
	return fmt.Errorf("certificate: no command %q", args[0])
}

// rotate takes the certificates of a host away: the next start makes others. The
// service has to be stopped (R16).
func rotate() error {
	held, err := lock()
	if err != nil {
		return fmt.Errorf("%w: the service is stopped before certificates are rotated (R16)", err)
	}
	defer held.Close()
	patterns := []string{"/agent/serving-kubelet.*", "/agent/client-kubelet.*"}
	if _, err := os.Stat(root(serverTLS)); err == nil {
		patterns = append(patterns, "/server/tls/client-*.*", "/server/tls/serving-*.*", "/server/tls/etcd/*.*")
		if err := writeFile(regenerate, 0o600, nil); err != nil {
			return err
		}
	}
	for _, p := range patterns {
		files, err := filepath.Glob(root(dataDir + p))
		if err != nil {
			return err
		}
		for _, f := range files {
			if strings.Contains(filepath.Base(f), "-ca.") {
				continue
			}
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// rotateCA gives a cluster that runs new CAs; they count when its servers start
// again.
func rotateCA(ctx context.Context, args []string) error {
	if v := release(Version); slices.Compare(v, release("v1.25.7")) < 0 || v[1] == 26 && v[2] < 2 {
		return fmt.Errorf("No help topic for 'rotate-ca': %s has none", Version) //nolint:staticcheck // as k3s says it
	}
	if len(args) != 2 || args[0] != "--path" {
		return errors.New("certificate rotate-ca: the stand-in knows --path DIR")
	}
	fresh := map[string]pair{}
	for _, name := range authorities {
		raw, err := loadPair(filepath.Join(args[1], "tls", name))
		if err != nil {
			return err
		}
		fresh[name] = raw
	}
	if _, err := os.Stat(root(filepath.Join(args[1], "tls", "service.key"))); err != nil {
		return err
	}
	token, err := os.ReadFile(root(dataDir + "/server/token"))
	if err != nil {
		return err
	}
	return call(ctx, newClient(), "https://127.0.0.1:6443/standin/cacerts", password(strings.TrimSpace(string(token))), fresh, nil)
}

// takeCAs keeps new CAs with the cluster.
func (s *server) takeCAs(r *http.Request, live map[string]int64) (any, error) {
	var fresh map[string]pair
	if err := json.NewDecoder(r.Body).Decode(&fresh); err != nil {
		return nil, err
	}
	for _, name := range authorities {
		if why := rotated(s.current().CAs[name], fresh[name]); why != "" {
			return nil, fmt.Errorf("%s: %s", name, why)
		}
	}
	return "ok", s.change(r.Context(), live, func(st *state) error {
		st.CAs, st.CAsMade = fresh, time.Now().Unix()
		return nil
	})
}
