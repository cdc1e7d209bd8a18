package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// identity is who a host is to others: its certificate and the CA's, read again
// when their files change. A renewal restarts nothing.
type identity struct {
	dir string

	mu     sync.Mutex
	seen   [3]stamp
	config *tls.Config // of a client and of a server, nil before the first reading
}

// stamp tells whether a file is another one than it was.
type stamp struct {
	at   time.Time
	size int64
}

func stampOf(file string) (stamp, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return stamp{}, err
	}
	return stamp{fi.ModTime(), fi.Size()}, nil
}

// current returns the configuration of TLS. The same pointer is the same
// identity. While files are being replaced and do not fit, the one before counts.
func (i *identity) current() (*tls.Config, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var now [3]stamp
	for n, name := range [...]string{CAFile, CertFile, KeyFile} {
		s, err := stampOf(filepath.Join(i.dir, name))
		if err != nil {
			return i.config, i.excuse(err)
		}
		now[n] = s
	}
	if i.config != nil && now == i.seen {
		return i.config, nil
	}
	config, err := readIdentity(i.dir)
	if err != nil {
		return i.config, i.excuse(err)
	}
	i.config, i.seen = config, now
	return config, nil
}

// excuse is no error where there is an identity to go on with.
func (i *identity) excuse(err error) error {
	if i.config != nil {
		return nil
	}
	return fmt.Errorf("image service: %w", err)
}

// readIdentity makes a configuration that takes nobody without a certificate of
// the CA, on either side.
func readIdentity(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, CAFile))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New(CAFile + ": no certificate in it")
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// server returns the configuration of a listener, which looks at the files at
// every connection.
func (i *identity) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return i.current()
		},
	}
}
