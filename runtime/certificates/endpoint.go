package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Endpoint is where a host shows a certificate to who connects by TLS.
type Endpoint struct {
	Name    string // what answers there
	Address string // HOST:PORT
	File    string // the file whose certificate is to be shown; "": none is known
	Cert    string // the certificate to show there, for servers that ask for one
	Key     string
	If      string // a path without which nothing listens there; "": something does
}

// answerLimit is how long an endpoint may take to show its certificate.
const answerLimit = 5 * time.Second

// String is the endpoint as an argument of a command.
func (e Endpoint) String() string {
	text := e.Name + "=" + e.Address
	for _, f := range []struct{ name, value string }{{"file", e.File}, {"cert", e.Cert}, {"key", e.Key}, {"if", e.If}} {
		if f.value != "" {
			text += "," + f.name + "=" + f.value
		}
	}
	return text
}

// ParseEndpoint reads what String writes.
func ParseEndpoint(text string) (Endpoint, error) {
	var e Endpoint
	for i, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return e, fmt.Errorf("endpoint %q: write NAME=HOST:PORT[,file=FILE][,cert=FILE][,key=FILE][,if=PATH]", text)
		}
		switch {
		case i == 0:
			e.Name, e.Address = name, value
		case name == "file":
			e.File = value
		case name == "cert":
			e.Cert = value
		case name == "key":
			e.Key = value
		case name == "if":
			e.If = value
		default:
			return e, fmt.Errorf("endpoint %q: %s is not known", text, name)
		}
	}
	return e, nil
}

// Shown asks the endpoints for their certificates, all at once. One that does not
// answer has its Error; where its path is missing it is left out.
func Shown(ctx context.Context, endpoints []Endpoint) []Certificate {
	all := make([]*Certificate, len(endpoints))
	var wg sync.WaitGroup
	for i, e := range endpoints {
		if e.If != "" {
			if _, err := os.Stat(e.If); err != nil {
				continue
			}
		}
		wg.Go(func() {
			c := e.ask(ctx)
			all[i] = &c
		})
	}
	wg.Wait()
	var out []Certificate
	for _, c := range all {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out
}

// ask connects to the endpoint. Whom it shows its certificate to does not matter
// here: it is shown before the endpoint knows who asks.
func (e Endpoint) ask(ctx context.Context) Certificate {
	var shown *x509.Certificate
	config := &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the question is what is shown, not whether it is trusted
		MinVersion:         tls.VersionTLS12,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) (err error) {
			if len(raw) > 0 {
				shown, err = x509.ParseCertificate(raw[0])
			}
			return err
		},
	}
	if pair, err := tls.LoadX509KeyPair(e.Cert, e.Key); err == nil { // without it the certificate is shown too
		config.Certificates = []tls.Certificate{pair}
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", e.Address)
	if err == nil {
		err = conn.Close()
	}
	c := Certificate{}
	if shown != nil {
		c = describe(shown)
	} else if err != nil {
		c.Error = err.Error()
	} else {
		c.Error = "it shows no certificate"
	}
	c.Source, c.Endpoint, c.File = e.Address, e.Name, e.File
	if e.File != "" && c.Error == "" {
		kept, err := File(e.File)
		if err != nil {
			c.Error = err.Error()
		}
		c.Stale = err == nil && kept.Fingerprint != c.Fingerprint
	}
	return c
}
