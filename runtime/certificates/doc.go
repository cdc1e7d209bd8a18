// Package certificates tells which certificates a host has: those in its files,
// and those that its TLS endpoints show. It reads keys only to say whether they
// belong to a certificate; none of them leaves this package.
package certificates
