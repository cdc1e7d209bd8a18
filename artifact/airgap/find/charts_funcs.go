package find

import (
	"encoding/base64"
	"fmt"
	"strings"
	"text/template"
)

// certificate is what the functions for certificates return.
type certificate struct{ Cert, Key string }

// steadyFuncs are instead of those functions of templates that return something
// else each time, or take seconds for keys that nobody uses: they return
// something of the same form. No image depends on them.
func steadyFuncs() template.FuncMap {
	letters := func(n int) string { return strings.Repeat("a", max(n, 0)) }
	pem := func(kind string) string {
		return fmt.Sprintf("-----BEGIN %s-----\nAAAA\n-----END %s-----\n", kind, kind)
	}
	pair := func(...any) certificate { return certificate{pem("CERTIFICATE"), pem("RSA PRIVATE KEY")} }
	return template.FuncMap{
		"randAlphaNum": letters,
		"randAlpha":    letters,
		"randAscii":    letters,
		"randNumeric":  func(n int) string { return strings.Repeat("1", max(n, 0)) },
		"randBytes":    func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, max(n, 0))) },
		"randInt":      func(low, _ int) int { return low },
		"uuidv4":       func() string { return "00000000-0000-4000-8000-000000000000" },
		"shuffle":      func(s string) string { return s },
		"bcrypt":       func(string) string { return "$2a$10$" + letters(53) },
		"htpasswd":     func(user, _ string) string { return user + ":$2a$10$" + letters(53) },
		"encryptAES":   func(_, text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },

		"derivePassword":           func(...any) string { return letters(14) },
		"genPrivateKey":            func(string) string { return pem("RSA PRIVATE KEY") },
		"buildCustomCert":          pair,
		"genCA":                    pair,
		"genCAWithKey":             pair,
		"genSelfSignedCert":        pair,
		"genSelfSignedCertWithKey": pair,
		"genSignedCert":            pair,
		"genSignedCertWithKey":     pair,
	}
}
