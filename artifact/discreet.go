package artifact

import (
	"regexp"
	"slices"
	"strings"
)

// Hidden stands in texts where a secret was.
const Hidden = "***"

var (
	userInAddress = regexp.MustCompile(`://[^/?#\s"']*@`)
	partOfQuery   = regexp.MustCompile(`([?&])([^\s"'<>=&]+)=([^\s"'<>&]+)`)
	digestInName  = regexp.MustCompile(`@sha\d+:[0-9a-fA-F]*$`)
)

// DiscreetText returns text without users, passwords and signatures of the addresses in it.
func DiscreetText(text string) string {
	text = userInAddress.ReplaceAllString(text, "://"+Hidden+"@")
	return partOfQuery.ReplaceAllStringFunc(text, func(pair string) string {
		if key, _, _ := strings.Cut(pair[1:], "="); !IsPublicParameter(key) {
			return pair[:1] + key + "=" + Hidden
		}
		return pair
	})
}

// DiscreetName returns what a user wrote for a reference or registry without the user and password that do not belong
// there.
func DiscreetName(s string) string {
	_, name, found := strings.Cut(s, "://")
	if !found {
		name = s
	}
	at := strings.LastIndex(name, "@")
	if at < 0 || !strings.Contains(name[:at], ":") || digestInName.MatchString(name) {
		return s
	}
	return strings.TrimSuffix(s, name) + Hidden + name[at:]
}

// IsPublicParameter reports whether everybody may see the value that a query has for name: those of OCI's distribution-spec and
// those that a token is asked for with.
func IsPublicParameter(name string) bool {
	return slices.Contains([]string{"scope", "service", "digest", "mount", "from", "n", "last", "artifactType"}, name)
}
