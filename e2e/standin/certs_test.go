package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sealrt/sealrt/distros/k3s/newca"
	"github.com/sealrt/sealrt/runtime/certificates"
)

// certified is a server that has its certificates, in a root of its own.
func certified(t *testing.T) *server {
	t.Helper()
	t.Setenv("STANDIN_ROOT", t.TempDir())
	s := &server{id: "1", state: standing(), config: settings{"node-name": "m1", "node-ip": "10.0.0.1", "tls-san": []any{"a.example.com"}}, seen: map[string]time.Time{}, fatal: make(chan error, 9)}
	if err := s.certify(); err != nil {
		t.Fatal(err)
	}
	return s
}

// prints are the fingerprints of what a server has, by file.
func prints(t *testing.T) map[string]string {
	t.Helper()
	found, err := certificates.Files([]string{root(serverTLS) + "/*.crt", root(serverTLS) + "/etcd/*.crt", root(dynamic), root(agentDir) + "/*.crt"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range found {
		if c.Error != "" || c.Key != certificates.Matches && filepath.Ext(c.Source) == ".crt" {
			t.Fatalf("%+v", c)
		}
		out[filepath.Base(filepath.Dir(c.Source))+"/"+filepath.Base(c.Source)] = c.Fingerprint
	}
	return out
}

// renewedOf are the files whose certificates are others.
func renewedOf(before, now map[string]string) (out []string) {
	for name, print := range now {
		if before[name] != print {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func TestCertificatesAreKeptUntilTheyAreRotatedOrNamesAreAdded(t *testing.T) {
	s := certified(t)
	before := prints(t)
	if len(before) != 5+9+1+2 {
		t.Errorf("%d certificates: %v", len(before), before)
	}
	refused(t, "again", s.certify(), "")
	if again := renewedOf(before, prints(t)); len(again) > 0 {
		t.Errorf("a start renews %v", again)
	}
	s.config["tls-san"] = []any{"a.example.com", "b.example.com"}
	refused(t, "with a name", s.certify(), "")
	if named := renewedOf(before, prints(t)); !slices.Equal(named, []string{"tls/dynamic-cert.json", "tls/serving-kube-apiserver.crt"}) {
		t.Errorf("a name renews %v", named)
	}
	before = prints(t)
	held, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "while it runs", certificate(t.Context(), []string{"rotate"}), "(R16)")
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, "while it is stopped", certificate(t.Context(), []string{"rotate"}), "")
	refused(t, "the start after it", s.certify(), "")
	if renewed := renewedOf(before, prints(t)); len(renewed) != len(before)-len(authorities) {
		t.Errorf("rotated are %v", renewed)
	}
}

func TestServerDoesNotStartBesideCAsThatAreNewerThanItsData(t *testing.T) {
	s := certified(t)
	other, err := newAuthority("other")
	if err != nil {
		t.Fatal(err)
	}
	file := serverTLS + "/client-ca"
	refused(t, "another CA", other.save(file), "")
	later := time.Unix(s.state.CAsMade, 0).Add(time.Minute)
	if err := os.Chtimes(root(file+".crt"), later, later); err != nil {
		t.Fatal(err)
	}
	refused(t, "that is newer", s.certify(), "newer than datastore")
	s.state.CAsMade = later.Unix()
	refused(t, "that is older", s.certify(), "")
	if now := prints(t); now["tls/client-ca.crt"] == "" {
		t.Errorf("%v", now)
	}
}

func TestServerShowsWhatItsFilesHeldWhenItStarted(t *testing.T) {
	s := certified(t)
	config, err := shown(6443)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if c, ok := conn.(*tls.Conn); ok {
				_ = c.HandshakeContext(t.Context())
			}
			_ = conn.Close()
		}
	}()
	api := []certificates.Endpoint{{Name: "API", Address: l.Addr().(*net.TCPAddr).String(), File: root(dynamic)}}
	before := certificates.Shown(t.Context(), api)
	refused(t, "what it shows", certificates.Named(before, []string{"a.example.com", "10.0.0.1"}), "")
	if before[0].Stale {
		t.Errorf("%+v", before)
	}
	refused(t, "rotate", rotate(), "")
	refused(t, "new files", s.certify(), "")
	now := certificates.Shown(t.Context(), api)
	if !now[0].Stale || now[0].Fingerprint != before[0].Fingerprint {
		t.Errorf("%+v", now)
	}
	refused(t, "not renewed", certificates.Renewed(before, now), "another certificate is shown")
}

func TestAgentGetsNewCertificatesWhenItStartsAfterTheServer(t *testing.T) {
	s := certified(t)
	ca := prints(t)["tls/client-ca.crt"]
	s.state.AgentToken = "a"
	one, web := started(t, "1", s.state)
	one.cas = s.cas
	k := &kubelet{config: settings{"node-name": "n1", "node-ip": "10.0.0.9", "token": "a", "server": web.URL}}
	get := func() map[string]string {
		t.Helper()
		t.Setenv("STANDIN_ROOT", t.TempDir())
		refused(t, "obtain", k.obtain(t.Context()), "")
		found, err := certificates.Files([]string{root(agentDir) + "/*.crt"})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, c := range found {
			out[filepath.Base(c.Source)] = c.Fingerprint
		}
		return out
	}
	first := get()
	if len(first) != 4 || first["client-ca.crt"] != ca {
		t.Errorf("it got %v", first)
	}
	if again := renewedOf(first, get()); len(again) > 0 {
		t.Errorf("before the server: %v", again)
	}
	one.mu.Lock()
	one.issued = nil // as a start does
	one.mu.Unlock()
	if again := renewedOf(first, get()); !slices.Equal(again, []string{"client-kubelet.crt", "serving-kubelet.crt"}) {
		t.Errorf("after the server: %v", again)
	}
	k.config["token"] = "x"
	refused(t, "a stranger", k.obtain(t.Context()), "Unauthorized")
}

func TestNewCAsAreVouchedForAndCountAtTheNextStart(t *testing.T) {
	s := certified(t)
	one, web := started(t, "1", s.state)
	one.state.Members[0].URL = web.URL
	before := prints(t)
	to := t.TempDir()
	if err := newca.Make(root(serverTLS), filepath.Join(to, "tls"), time.Now()); err != nil {
		t.Fatal(err)
	}
	read := func() map[string]pair {
		out := map[string]pair{}
		for _, name := range authorities {
			cert, err := os.ReadFile(filepath.Join(to, "tls", name+".crt"))
			if err != nil {
				t.Fatal(err)
			}
			key, err := os.ReadFile(filepath.Join(to, "tls", name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			out[name] = pair{cert, key}
		}
		return out
	}
	strange, err := newAuthorities()
	if err != nil {
		t.Fatal(err)
	}
	post := func(fresh map[string]pair) error {
		return one.call(t.Context(), web.URL+"/standin/cacerts", "s", fresh, nil)
	}
	refused(t, "a stranger's", post(strange), "not vouched for")
	refused(t, "none", post(map[string]pair{}), "cannot be read")
	refused(t, "new ones", post(read()), "")
	if now := renewedOf(before, prints(t)); len(now) > 0 {
		t.Errorf("a server that runs got %v", now)
	}
	one.config = s.config
	refused(t, "the next start", one.certify(), "")
	if now := renewedOf(before, prints(t)); len(now) != len(before) {
		t.Errorf("%d of %d are new: %v", len(now), len(before), now)
	}
	raw, err := json.Marshal(one.current())
	if err != nil || !bytes.Contains(raw, []byte(`"cas"`)) {
		t.Errorf("%v, %s", err, raw)
	}
	refused(t, "an old version", rotateCA(t.Context(), []string{"--path", to}), "No help topic")
}
