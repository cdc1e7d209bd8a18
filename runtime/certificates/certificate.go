package certificates

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"
)

// Certificate is what a file holds or an endpoint shows. Of several in a row it
// is the first, which the others vouch for.
type Certificate struct {
	Source      string    `json:"source"`             // the file, or the endpoint's address
	Endpoint    string    `json:"endpoint,omitempty"` // the name of the endpoint; "" for a file
	File        string    `json:"file,omitempty"`     // of an endpoint: the file that it is to show
	Subject     string    `json:"subject,omitempty"`
	Names       []string  `json:"names,omitempty"` // DNS names and IP addresses that it is for
	Issuer      string    `json:"issuer,omitempty"`
	CA          bool      `json:"ca,omitempty"`
	NotBefore   time.Time `json:"notBefore,omitzero"`
	NotAfter    time.Time `json:"expires,omitzero"`
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256 of its DER
	Key         Key       `json:"key,omitempty"`
	Stale       bool      `json:"stale,omitempty"` // an endpoint shows another one than its file holds
	Error       string    `json:"error,omitempty"` // why there is none
}

// Key says what is known of the private key of a certificate.
type Key string

// The answers.
const (
	NoKey   Key = ""        // there is none beside it
	Matches Key = "matches" // it is the certificate's
	Differs Key = "differs" // it is another one's, or nobody can read it
)

// describe is the certificate without where it is from.
func describe(c *x509.Certificate) Certificate {
	sum := sha256.Sum256(c.Raw)
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return Certificate{
		Subject: c.Subject.String(), Names: names, Issuer: c.Issuer.String(), CA: c.IsCA,
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Fingerprint: hex.EncodeToString(sum[:]),
	}
}

// key tells certificates of two readings apart by where they are.
func (c Certificate) key() string { return c.Endpoint + "=" + c.Source }
