//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/e2e/standin/document"
)

// TestDatastoreOfTheUsers has two masters that share a datastore, with networks of
// both families and their data elsewhere than k3s usually has it.
func TestDatastoreOfTheUsers(t *testing.T) {
	onThreeHosts(t, []station{
		{"TwoMastersShareIt", func(station *testing.T, p *playground) {
			url := p.serveDatastore(t) // for all stations
			p.env = append(p.env, "STANDIN_DATASTORE="+url)
			twoMastersShareADatastore(station, p)
		}},
		{"WhatStandsIsNotChanged", whatStandsIsNotChanged},
		{"EitherMasterIsEnough", eitherMasterIsEnough},
		{"ResetLeavesTheDatastoreAlone", resetLeavesTheDatastore},
	})
}

// users is the datastore, on this machine.
var users = document.Document{Password: "pw-of-the-datastore"}

// serveDatastore answers the hosts, with a certificate that nobody trusts, and
// returns its place.
func (p *playground) serveDatastore(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	at := p.net + ".1"
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "datastore"}, IPAddresses: []net.IP{net.ParseIP(at)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(p.dir, "datastore.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	l, err := net.Listen("tcp", net.JoinHostPort(at, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &users, TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return "https://k3s:" + users.Password + "@" + l.Addr().String()
}

// shared writes the Clusterfile; more goes into the configuration of k3s.
func (p *playground) shared(t *testing.T, more string) string {
	t.Helper()
	file := filepath.Join(p.dir, "shared")
	text := "apiVersion: sealrt.io/v1\nkind: Cluster\nmetadata: {name: default}\nspec:\n  image: [\"" + image(oldVersion) + "\"]\n  timeouts: {connect: 3s}\n" +
		"  network: {dualStack: true}\n  hosts:\n"
	for h, role := range []string{1: "master", 2: "master", 3: "node"} {
		if h == 0 {
			continue
		}
		text += fmt.Sprintf("    - {address: [%s], role: %s, nodeIP: %s, otherNodeIP: \"fd09::%d\"}\n", p.ip(h), role, p.ip(h), h)
	}
	writeFile(t, file, text+"---\ndatastore-endpoint: env:STANDIN_DATASTORE\ndatastore-cafile: file:datastore.pem\ndata-dir: /srv/k3s\n"+more)
	return file
}

// addFamily gives a host an address of IPv6, until it boots.
func (p *playground) addFamily(t *testing.T, host int) {
	t.Helper()
	p.on(t, host, fmt.Sprintf("ip -6 addr add fd09::%d/64 dev $(ip -o route get %s.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/') nodad", host, p.net))
}

func twoMastersShareADatastore(t *testing.T, p *playground) {
	for h := 1; h <= 3; h++ {
		p.addFamily(t, h)
	}
	run := p.verb("apply", "-f", p.shared(t, ""), "--yes", "-v")
	p.must(t, run...)
	p.stands(t, oldVersion, "master node1, master node2, node node3")
	if left := p.must(t, append(run, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	if st := string(users.Text()); !strings.Contains(st, `"node3"`) || !strings.Contains(st, "greeting") {
		t.Errorf("the datastore has %s", st)
	}
	for h := 1; h <= 2; h++ {
		got := p.on(t, h, "stat -c %a /etc/rancher/k3s/datastore/ca.pem; ls -d /srv/k3s/server/token /srv/k3s/agent/images/*; ls /etc/rancher/k3s/config.yaml.d /var/lib/rancher /srv/k3s/server/db/state.json 2>&1; ss -Hltn 'sport = 2379'")
		if !strings.HasPrefix(got, "600\n/srv/k3s/agent/images/sealrt-") || strings.Contains(got, "10-sealrt.yaml") || strings.Contains(got, "/var/lib/rancher/k3s") || strings.Contains(got, "2379") || strings.Contains(got, "state.json\n") {
			t.Errorf("master %d has %s", h, got)
		}
	}
	if got := p.on(t, 3, "ls /etc/rancher/k3s; grep -c datastore /etc/rancher/k3s/config.yaml || :"); strings.Contains(got, "datastore") || !strings.HasSuffix(got, "\n0\n") {
		t.Errorf("the node knows of the datastore: %s", got)
	}
	if got := p.on(t, 1, "k3s kubectl get node node3 -o 'jsonpath={.status.addresses}'"); !strings.Contains(got, "fd09::3") {
		t.Errorf("the node's addresses are %s", got)
	}
}

func whatStandsIsNotChanged(t *testing.T, p *playground) {
	for more, why := range map[string]string{
		"flannel-backend: host-gw\n":      "the cluster default stands: flannel-backend is [vxlan] and [host-gw]",
		"disable: [servicelb]\n":          "disable servicelb is false and true",
		"cluster-domain: other.example\n": "cluster-domain is [cluster.local] and [other.example]",
	} {
		p.fails(t, why, p.verb("apply", "-f", p.shared(t, more), "--yes")...)
	}
	p.must(t, p.verb("apply", "-f", p.shared(t, "kubelet-arg: [max-pods=50]\n"), "--yes")...)
	if got := p.on(t, 3, "grep max-pods /etc/rancher/k3s/config.yaml"); !strings.Contains(got, "max-pods=50") {
		t.Errorf("the node is told %s", got)
	}
	p.stands(t, oldVersion, "master node1, master node2, node node3")
}

func eitherMasterIsEnough(t *testing.T, p *playground) {
	p.must(t, p.nodes("kill", "1")...)
	p.on(t, 2, "k3s kubectl label node node3 --overwrite by=node2")
	p.must(t, p.nodes("start", "1")...)
	p.addFamily(t, 1)
	p.on(t, 1, "until k3s kubectl get --raw /readyz; do sleep 0.2; done; k3s kubectl wait --for=condition=Ready node/node1 --timeout=60s")
	if got := p.on(t, 1, "k3s kubectl get node node3 -o 'jsonpath={.metadata.labels}'"); !strings.Contains(got, "by:node2") {
		t.Errorf("the other master knows the labels %s", got)
	}
	p.must(t, p.verb("delete", "--masters", p.ip(2), "--yes")...) // nobody votes
	p.stands(t, oldVersion, "master node1, node node3")
	p.must(t, p.verb("apply", "-f", p.shared(t, "kubelet-arg: [max-pods=50]\n"), "--yes")...)
	p.stands(t, oldVersion, "master node1, node node3, master node2")
}

func resetLeavesTheDatastore(t *testing.T, p *playground) {
	before := string(users.Text())
	p.must(t, p.verb("reset", "--yes")...)
	if after := string(users.Text()); after == "" || len(after) < len(before)/2 {
		t.Errorf("the datastore had %s, and has %s", before, after)
	}
	for h := 1; h <= 3; h++ {
		p.on(t, h, fmt.Sprintf("ip -6 addr del fd09::%d/64 dev $(ip -o route get %s.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/')", h, p.net))
	}
	p.asFresh(t, 1, 2, 3)
}
