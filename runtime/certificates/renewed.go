package certificates

import (
	"fmt"
	"slices"
	"strings"
)

// Merge returns what a host has now, with what it had before where there is
// nothing now: a service that is stopped shows no certificate.
func Merge(before, now []Certificate) []Certificate {
	out := slices.DeleteFunc(slices.Clone(now), func(c Certificate) bool { return c.Error != "" })
	for _, b := range before {
		if !slices.ContainsFunc(out, func(c Certificate) bool { return c.key() == b.key() }) {
			out = append(out, b)
		}
	}
	return out
}

// Renewed returns nil when every certificate is another one than before, and
// every endpoint shows what its file holds; else it names the first that is not
// so.
func Renewed(before, now []Certificate) error {
	for _, c := range now {
		if err := c.current(); err != nil {
			return err
		}
		if slices.ContainsFunc(before, func(b Certificate) bool { return b.key() == c.key() && b.Fingerprint == c.Fingerprint }) {
			return fmt.Errorf("%s: it is the certificate from before, until %s", c.place(), c.NotAfter.Format("2006-01-02"))
		}
	}
	return nil
}

// current returns why a certificate does not count: it cannot be read, or an
// endpoint does not show it.
func (c Certificate) current() error {
	switch {
	case c.Error != "":
		return fmt.Errorf("%s: %s", c.place(), c.Error)
	case c.Stale:
		return fmt.Errorf("%s: another certificate is shown than %s holds", c.place(), c.File)
	}
	return nil
}

// Lacking returns the names that a certificate is not for.
func (c Certificate) Lacking(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return slices.ContainsFunc(c.Names, func(have string) bool { return strings.EqualFold(have, n) })
	})
}

// Named returns nil when the certificate of every endpoint is for all the names.
func Named(now []Certificate, names []string) error {
	for _, c := range now {
		if c.Error != "" {
			return c.current()
		}
		if lacking := c.Lacking(names); c.Endpoint != "" && len(lacking) > 0 {
			return fmt.Errorf("%s: the certificate is not for %s", c.place(), strings.Join(lacking, ", "))
		}
	}
	return nil
}

// place is where the certificate is, for a sentence.
func (c Certificate) place() string {
	if c.Endpoint == "" {
		return c.Source
	}
	return c.Endpoint + " at " + c.Source
}
