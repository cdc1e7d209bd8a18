package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// approval is how long a kubelet waits for a certificate to answer with, which a
// controller approves: as much as ten seconds, where k0s is real.
const approval = 3 * time.Second

// listenKubelet answers as the kubelet of a node. Without a certificate from before
// it turns everybody away until it has one, though its node is Ready.
func listenKubelet(ctx context.Context, n node, fatal chan<- error) error {
	var own atomic.Pointer[tls.Certificate]
	take := func() error {
		files, err := kubeletPair(n.Name, n.Address)
		if err != nil {
			return err
		}
		cert, err := tls.LoadX509KeyPair(root(files+".crt"), root(files+".key"))
		own.Store(&cert)
		return err
	}
	if _, err := os.Stat(root(kubeletCert + ".pem")); err == nil {
		if err := take(); err != nil {
			return err
		}
	} else {
		go func() {
			select {
			case <-ctx.Done():
			case <-time.After(approval):
				if err := take(); err != nil {
					fatal <- err
				}
			}
		}()
	}
	return serve(ctx, n.Address, "10250", func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if cert := own.Load(); cert != nil {
			return cert, nil
		}
		return nil, errors.New("no serving certificate available for the kubelet")
	}, http.NotFoundHandler(), fatal)
}
