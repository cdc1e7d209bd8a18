package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// pair is a certificate and its key, as PEM.
type pair struct{ Cert, Key []byte }

// issue makes a certificate; by signs it, or it signs itself where by has none.
func issue(name string, hosts []string, by pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return pair{}, err
	}
	ca := len(by.Cert) == 0
	own := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			own.IPAddresses = append(own.IPAddresses, ip)
		} else {
			own.DNSNames = append(own.DNSNames, h)
		}
	}
	signer, signed := any(key), own
	if ca {
		own.NotAfter, own.KeyUsage, own.ExtKeyUsage = time.Now().AddDate(10, 0, 0), x509.KeyUsageCertSign, nil
	} else {
		certBlock, _ := pem.Decode(by.Cert)
		keyBlock, _ := pem.Decode(by.Key)
		if certBlock == nil || keyBlock == nil {
			return pair{}, errors.New("the CA is no PEM")
		}
		if signed, err = x509.ParseCertificate(certBlock.Bytes); err != nil {
			return pair{}, err
		}
		if signer, err = x509.ParsePKCS8PrivateKey(keyBlock.Bytes); err != nil {
			return pair{}, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, own, signed, &key.PublicKey, signer)
	if err != nil {
		return pair{}, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}, nil
}

func newCA() (pair, error) { return issue("kubernetes-ca", nil, pair{}) }

// certify makes all certificates of a controller anew, and its administrator's
// kubeconfig.
func (s *server) certify() error {
	own := s.config.Spec.API.Address
	hosts := append([]string{own, "127.0.0.1", "localhost"}, s.config.Spec.API.SANs...)
	if err := write("/ca", s.state.CA); err != nil {
		return err
	}
	for file, names := range map[string][]string{
		"/server": hosts, "/etcd/server": {"127.0.0.1", "localhost"}, "/etcd/peer": {own}, "/apiserver-etcd-client": nil, "/admin": nil,
	} {
		p, err := issue("k0s"+file, names, s.state.CA)
		if err == nil {
			err = write(file, p)
		}
		if err != nil {
			return err
		}
	}
	cert, err := os.ReadFile(root(pkiDir + "/admin.crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(root(pkiDir + "/admin.key"))
	if err != nil {
		return err
	}
	k := configFor(apiURL(own), "user", s.state.Admin, s.state.CA.Cert)
	k.Users[0].User.Cert, k.Users[0].User.Key = cert, key
	text, err := k.text()
	if err != nil {
		return err
	}
	return writeFile(adminConf, 0o600, text)
}

func write(file string, p pair) error {
	return errors.Join(writeFile(pkiDir+file+".crt", 0o644, p.Cert), writeFile(pkiDir+file+".key", 0o640, p.Key))
}

// kubeletCert is where a kubelet has the certificate that it answers with.
const kubeletCert = dataDir + "/kubelet/pki/kubelet-server-current"

// kubeletPair makes the kubelet's certificate, once, and returns its files'
// name.
func kubeletPair(host, address string) (string, error) {
	const name = kubeletCert
	if _, err := os.Stat(root(name + ".pem")); err == nil {
		return name, nil
	}
	p, err := issue("kubelet", []string{host, address}, pair{})
	if err != nil {
		return "", err
	}
	return name, errors.Join(writeFile(name+".crt", 0o600, p.Cert), writeFile(name+".key", 0o600, p.Key), writeFile(name+".pem", 0o600, append(p.Cert, p.Key...)))
}
