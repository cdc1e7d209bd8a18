package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"io"
	"regexp"
	"slices"
	"strings"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// redactor takes secrets out of text: values that are known, and what looks
// like one.
type redactor struct {
	known []*regexp.Regexp // longest first
	forms []*regexp.Regexp // what the first group matches stays
	named *regexp.Regexp   // a line that says that the next one has a secret
	value *regexp.Regexp   // that line
	argv  *regexp.Regexp   // a line with the arguments of some program
}

// secretWords are what names of secrets have in them.
const secretWords = `(?:pass(?:word|wd|phrase)?|pwd|token|secret|(?:certificate|api|access|private|encryption|signing|account)[-_]?key|client-key-data|credential|auth)`

// newRedactor returns a redactor that knows these secrets.
func newRedactor(known []string) *redactor {
	r := &redactor{
		named: regexp.MustCompile(`(?i)\bname"?:\s*"?[^\s"]*` + secretWords),
		value: regexp.MustCompile(`(?i)(\bvalue"?:\s*)\S.*`),
		argv:  regexp.MustCompile(`\b(?:type=(?:1309|1327)|EXECVE|PROCTITLE)\b`), // of the kernel's audit (linux/audit.h)
	}
	for _, k := range longest(known) {
		form := regexp.QuoteMeta(k)
		if len(k) < longSecret { // it may be a part of many a word
			form = `\b` + form + `\b`
			if regexp.MustCompile(`^\W|\W$`).MatchString(k) {
				form = regexp.QuoteMeta(k)
			}
		}
		r.known = append(r.known, regexp.MustCompile(form))
	}
	for _, form := range []string{
		`(?i)((?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}`, // RFC 9110, 11.6.2
		// "name": "NAME", "value": "VALUE"
		`(?i)("name\\?"\s*:\s*\\?"[^"\\]*` + secretWords + `[^"\\]*\\?"\s*,\s*\\?"value\\?"\s*:\s*\\?")(?:[^"\\]|\\[^"])+`,
		// NAME: "VALUE", NAME="VALUE", "NAME": "VALUE", with spaces in it
		`(?i)(` + secretWords + `[a-z0-9_-]*\\?["']?\s*[:=]\s*\\?")[^"\\]+`,
		`(?i)(` + secretWords + `[a-z0-9_-]*["']?\s*[:=]\s*')[^']+`,
		// NAME: VALUE, NAME=VALUE, --NAME VALUE
		`(?i)(` + secretWords + `[a-z0-9_-]*\\?["']?(?:\s*[:=]\s*|\s+)["']?)[^\s"',;\[\\][^\s"',;\\]{2,}`,
		`(//[^/\s:@]*:)[^/\s@]+@`,                   // RFC 3986, 3.2.1
		`()\b[a-z0-9]{6}\.[a-z0-9]{16}\b`,           // bootstrap tokens of Kubernetes
		`()\bK10[0-9a-f]{32,}(?:::[^\s"']+)?`,       // tokens of k3s
		`()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+`, // JSON web tokens
		`()(?:LS0tLS1CRUdJTi[A-Za-z0-9+/=]{40,})`,   // PEM in base64
	} {
		r.forms = append(r.forms, regexp.MustCompile(form))
	}
	return r
}

// What lengths of secrets mean, in bytes.
const (
	shortSecret = 3 // shorter ones are in every text
	longSecret  = 8 // from here on it is not in a text by chance
)

// longest returns the secrets, the longest first, each also in the way in which
// data of a Secret is written (RFC 4648, section 4).
func longest(known []string) []string {
	var out []string
	for _, k := range known {
		if k = strings.TrimSpace(k); len(k) >= shortSecret {
			out = append(out, k, base64.StdEncoding.EncodeToString([]byte(k)), base64.StdEncoding.EncodeToString([]byte(k+"\n")))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	return slices.Compact(out)
}

// line returns a line of text without secrets.
func (r *redactor) line(b []byte) []byte {
	if r.argv.Match(b) {
		return []byte(redacted + "\n")
	}
	for _, f := range r.forms {
		b = f.ReplaceAll(b, []byte("${1}"+redacted))
	}
	return b
}

// text returns a text without secrets. The lines of a private key in PEM
// (RFC 7468) go together.
func (r *redactor) text(b []byte) []byte {
	for _, k := range r.known {
		b = k.ReplaceAllLiteral(b, []byte(redacted))
	}
	var out bytes.Buffer
	inKey, named := false, false
	for line := range bytes.Lines(b) {
		if named && r.value.Match(line) {
			line = r.value.ReplaceAll(line, []byte("${1}"+redacted))
		}
		named = r.named.Match(line)
		switch {
		case bytes.Contains(line, []byte("-----BEGIN")) && bytes.Contains(line, []byte("PRIVATE KEY-----")):
			inKey = true
			out.WriteString(redacted + "\n")
		case bytes.Contains(line, []byte("-----END")) && inKey:
			inKey = false
		case !inKey:
			out.Write(r.line(line))
		}
	}
	return out.Bytes()
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	max  int
	kept []byte
	lost int64
}

var _ io.Writer = (*lastBytes)(nil)

// Write implements io.Writer.
func (l *lastBytes) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p...)
	if over := len(l.kept) - l.max; over > l.max { // not at every write
		l.lost += int64(over)
		l.kept = append([]byte(nil), l.kept[over:]...)
	}
	return len(p), nil
}

// bytes returns what was kept: whole lines where something was lost.
func (l *lastBytes) bytes() []byte {
	b := l.kept
	if over := len(b) - l.max; over > 0 {
		l.lost += int64(over)
		b = b[over:]
	}
	if l.lost > 0 {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b = b[i+1:]
		}
	}
	return b
}
