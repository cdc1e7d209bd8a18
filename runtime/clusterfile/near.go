package clusterfile

import "strings"

// near returns the word of a list that a mistyped one was most probably meant
// to be, or "".
func near(word string, list []string) string {
	best, least := "", 1+len(word)/3
	for _, w := range list {
		if strings.EqualFold(strings.NewReplacer("-", "", "_", "").Replace(word), w) {
			return w
		}
		if d := distance(strings.ToLower(word), strings.ToLower(w)); d <= least && (best == "" || d < least) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters that are to be put in, left out, changed or
// swapped with their neighbour to make one word of another.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}

// hint returns what to add to an error about a mistyped word.
func hint(word string, list []string) string {
	if w := near(word, list); w != "" && len(list) > 1 {
		return ": did you mean " + w + "?"
	}
	return ""
}
