package kubefile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Lookup returns the value of a variable, and false if the variable is unset.
type Lookup func(name string) (value string, set bool)

// Get implements the environment of BuildKit's shell lexer. Without a lookup
// function every variable is unset.
func (l Lookup) Get(name string) (string, bool) {
	if l == nil {
		return "", false
	}
	return l(name)
}

// Keys implements the environment of BuildKit's shell lexer. It returns nil:
// the lexer needs the names on Windows only.
func (Lookup) Keys() []string { return nil }

// Expander replaces variables and quotes in words of a Kubefile. Its zero value
// uses a backslash as the escape character. It may be used concurrently.
type Expander struct{ escape rune }

// Expander returns an Expander that knows the file's escape character.
func (f *File) Expander() *Expander { return &Expander{escape: f.Escape} }

// Expand returns word with its quotes and escapes removed and its variables
// replaced as in Dockerfiles: $name, ${name}, ${name:-default}, ${name-default},
// ${name:+other}, ${name+other}, ${name:?message}, ${name?message},
// ${name#pattern}, ${name%pattern}, ${name/pattern/text} and their doubled
// forms. An unset variable is empty. The result is always one word, however
// many spaces the values have. The error of a malformed word says what is
// wrong with it.
func (e *Expander) Expand(word string, lookup Lookup) (string, error) {
	return e.expand(word, lookup, false)
}

// ExpandText is Expand for the content of a heredoc: quotes have no meaning in
// it and remain.
func (e *Expander) ExpandText(text string, lookup Lookup) (string, error) {
	return e.expand(text, lookup, true)
}

func (e *Expander) expand(word string, lookup Lookup, text bool) (string, error) {
	escape := e.escape
	if escape == 0 {
		escape = defaultEscape
	}
	lex := shell.NewLex(escape)
	lex.SkipProcessQuotes = text
	result, _, err := lex.ProcessWord(word, lookup)
	if err != nil {
		return "", fmt.Errorf("expand %q: %w", shorten(word), wordError(err))
	}
	return result, nil
}

// expandable returns why a word cannot be expanded, whatever the values of its
// variables are.
func expandable(word string, escape rune) error {
	lex := shell.NewLex(escape)
	lex.SkipUnsetEnv = true
	if _, _, err := lex.ProcessWord(word, Lookup(nil)); err != nil {
		return wordError(err)
	}
	return nil
}

// wordError says in fewer words what BuildKit's lexer says of a word.
func wordError(err error) error {
	err = innermost(err)
	switch text := err.Error(); {
	case strings.Contains(text, "matching double-quote"):
		return errors.New("a double quote is not closed")
	case strings.Contains(text, "matching single-quote"):
		return errors.New("a single quote is not closed")
	case strings.Contains(text, "missing '}'"), strings.Contains(text, "\uFFFD"):
		return errors.New("a ${ is not closed")
	case strings.Contains(text, "bad substitution"):
		return errors.New("${ } without the name of a variable")
	}
	return err
}

// innermost drops the layers which BuildKit wraps around an error; they repeat
// the word.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
