package registry

import (
	"crypto/x509"
	"io/fs"
	"net"
	"strings"
	"testing"
	"time"
)

type memorySecrets map[string][]byte

func (m memorySecrets) Read(name string) ([]byte, error) {
	b, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (m memorySecrets) Write(name string, data []byte) error { m[name] = data; return nil }

func TestCAIsMadeOnce(t *testing.T) {
	s, now := memorySecrets{}, time.Now()
	ca, made, err := LoadCA(s, "test", now)
	if err != nil || !made || len(s) > 0 {
		t.Fatal(made, err, s)
	}
	if err := ca.Keep(s); err != nil {
		t.Fatal(err)
	}
	again, made, err := LoadCA(s, "test", now)
	if err != nil || made || string(again.Certificate()) != string(ca.Certificate()) {
		t.Error(made, err)
	}
	delete(s, caKeyName)
	if _, made, err := LoadCA(s, "test", now); err != nil || !made {
		t.Error("a CA without its key is used", made, err)
	}
	other, err := NewCA("other", now)
	if err != nil {
		t.Fatal(err)
	}
	s[caKeyName] = other.pair.Key
	if _, _, err := LoadCA(s, "test", now); err == nil {
		t.Error("a key of another CA is taken")
	}
}

func TestCertificatesOfHosts(t *testing.T) {
	s, now := memorySecrets{}, time.Now()
	ca, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"10.0.0.1", "host1", "fd00::1"}
	p, err := ca.Issue("host1", names, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCert(p.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "127.0.0.1", "localhost") {
		host := name
		if net.ParseIP(name) != nil {
			host = "[" + name + "]"
		}
		if err := cert.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if cert.VerifyHostname("10.0.0.2") == nil {
		t.Error("it stands for another host")
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Certificate())
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Error(err)
		}
	}
	if at, err := ca.Check(p.Cert, now); err != nil || at.Sub(now).Round(24*time.Hour) != hostLife {
		t.Error(at, err)
	}
	if at, err := ca.Check(p.Cert, now.Add(hostLife+time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") || at.IsZero() {
		t.Error(at, err)
	}
	if err := KeepHost(s, "ops@[fd00::1]:22", p); err != nil {
		t.Fatal(err)
	}
	for name := range s {
		if strings.ContainsAny(name, "/:@[]") {
			t.Errorf("%q is no good name of a file", name)
		}
	}
	other, _ := NewCA("test", now)
	if _, err := other.Check(p.Cert, now); err == nil {
		t.Error("a certificate of another CA is taken")
	}
	tests := map[string]struct {
		ca      *CA
		address string
		names   []string
		at      time.Time
		want    bool
	}{
		"as issued":         {ca, "ops@[fd00::1]:22", names, now, true},
		"of another host":   {ca, "ops@[fd00::1]:23", names, now, false},
		"another address":   {ca, "ops@[fd00::1]:22", []string{"10.0.0.9"}, now, false},
		"another host name": {ca, "ops@[fd00::1]:22", []string{"host2"}, now, false},
		"about to end":      {ca, "ops@[fd00::1]:22", names, now.Add(hostLife - RenewBefore/2), false},
		"of another CA":     {other, "ops@[fd00::1]:22", names, now, false},
	}
	for name, tt := range tests {
		if _, ok, err := tt.ca.LoadHost(s, tt.address, tt.names, tt.at); ok != tt.want || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}
