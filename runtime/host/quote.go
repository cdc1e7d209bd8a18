package host

import "strings"

// Quote joins argv to one line that a POSIX shell splits into exactly argv again (IEEE Std 1003.1, 2.2.2 Single-Quotes), and so
// do fish and zsh, which are login shells too. Words that need no quotes get none.
func Quote(argv []string) string {
	var b strings.Builder
	for i, word := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		if plain(word, i == 0) {
			b.WriteString(word)
			continue
		}
		b.WriteByte('\'')
		b.WriteString(quotes.Replace(word))
		b.WriteByte('\'')
	}
	return b.String()
}

// quotes writes outside of the quotes what does not mean itself between them: in fish that is the backslash, too.
var quotes = strings.NewReplacer(`'`, `'\''`, `\`, `'\\'`) //nolint:gochecknoglobals // a table that nothing changes

// plain reports whether a shell takes word as it is. The first word is special: with a = in it, it would be an assignment,
// and it could be a reserved word; those are all letters, so that a bare one is only safe when it is not among them. To zsh a
// word that begins with = is the path of a program.
func plain(word string, first bool) bool {
	if word == "" {
		return false
	}
	for _, r := range word {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("_-./:,@%+", r):
		case r == '=' && !first && word[0] != '=':
		default:
			return false
		}
	}
	return !first || !reserved(word)
}

// reserved reports whether word means something to a shell where a command's name is expected (IEEE Std 1003.1, 2.4).
func reserved(word string) bool {
	switch word {
	case "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then", "until", "while",
		"function", "select", "time", "coproc", "namespace":
		return true
	}
	return false
}
