package builder

import (
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// keys returns the keys of m, sorted.
func keys[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// copyMap returns a map of its own with the content of m.
func copyMap(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// shorten keeps a text on one line of a terminal.
func shorten(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// userInAddress finds user and password in an address.
var userInAddress = regexp.MustCompile(`://[^\s/?#"']*@`)

// discreet returns the text of an instruction without users and passwords of the addresses in it, which images and
// logs have for ever.
func discreet(instruction string) string {
	return userInAddress.ReplaceAllString(instruction, "://***@")
}

// didYouMean returns ": did you mean X?" when one of the candidates is near to word, and otherwise nothing.
func didYouMean(word string, candidates []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if d := levenshtein.Distance(strings.ToLower(word), strings.ToLower(c), nil); d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}
