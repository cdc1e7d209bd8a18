package kubefile

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Format returns the canonical text of f. Parsing it gives a File that differs
// from f in its name and positions only; comments, which a File does not hold,
// are lost.
func Format(f *File) []byte {
	var b bytes.Buffer
	if f.Escape == '`' {
		b.WriteString("# escape=`\n")
	}
	w := writer{escape: f.Escape}
	for _, arg := range f.Args {
		b.WriteString(w.instruction(arg) + "\n")
	}
	for n, stage := range f.Stages {
		if n > 0 {
			b.WriteString("\n")
		}
		if !stage.From.Implied {
			b.WriteString(w.instruction(stage.From) + "\n")
		}
		for _, i := range stage.Instructions {
			b.WriteString(w.instruction(i) + "\n")
		}
	}
	return b.Bytes()
}

// String returns the instruction's text, also that of an implied FROM.
func (i *From) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Arg) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Env) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Label) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Maintainer) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text with the content of its heredocs.
func (i *Copy) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text with the content of its heredocs.
func (i *Add) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text with the content of its heredocs.
func (i *Run) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Workdir) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *User) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Shell) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Cmd) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Entrypoint) String() string { return writer{defaultEscape}.instruction(i) }

// String returns the instruction's text.
func (i *Base) String() string { return writer{defaultEscape}.instruction(i) }

// writer writes instructions for files with an escape character.
type writer struct{ escape rune }

// instruction returns the text of i without a newline at the end.
func (w writer) instruction(i Instruction) string {
	words := []string{i.Keyword()}
	var docs []Heredoc
	switch i := i.(type) {
	case *From:
		words = append(words, w.flag("platform", i.Platform)...)
		words = append(words, guard(i.Image))
		if i.As != "" {
			words = append(words, "AS", i.As)
		}
	case *Arg:
		words = append(words, w.pairs(i.Pairs)...)
	case *Env:
		words = append(words, w.pairs(i.Pairs)...)
	case *Label:
		words = append(words, guard(strings.Join(w.pairs(i.Pairs), " ")))
	case *Maintainer:
		words = append(words, guard(i.Name))
	case *Workdir:
		words = append(words, guard(i.Path))
	case *User:
		words = append(words, guard(i.Name))
	case *Shell:
		words = append(words, array(i.Command))
	case *Cmd:
		words = append(words, command(i.Command, i.Shell))
	case *Entrypoint:
		words = append(words, command(i.Command, i.Shell))
	case *Copy:
		words, docs = append(words, w.copyFlags(i)...), i.Heredocs
		words = append(words, w.paths(i.Sources, i.Heredocs, i.Dest))
	case *Add:
		words, docs = append(words, w.addFlags(i)...), i.Heredocs
		words = append(words, w.paths(i.Sources, i.Heredocs, i.Dest))
	case *Run:
		words, docs = append(words, w.flag("mount", i.Mounts...)...), i.Heredocs
		words = append(words, w.flag("network", i.Network)...)
		words = append(words, command(i.Command, i.Shell))
	case *Base:
		words = append(words, w.baseArgs(i)...)
	}
	text := strings.Join(words, " ")
	for _, h := range docs {
		text += "\n" + h.Content + h.Name
	}
	return text
}

func (w writer) copyFlags(i *Copy) []string {
	words := w.flag("from", i.From)
	words = append(words, w.flag("chown", i.Chown)...)
	words = append(words, w.flag("chmod", i.Chmod)...)
	words = append(words, w.flag("exclude", i.Exclude...)...)
	words = append(words, w.option("link", i.Link)...)
	return append(words, w.option("parents", i.Parents)...)
}

func (w writer) addFlags(i *Add) []string {
	words := w.flag("checksum", i.Checksum)
	words = append(words, w.flag("chown", i.Chown)...)
	words = append(words, w.flag("chmod", i.Chmod)...)
	words = append(words, w.flag("exclude", i.Exclude...)...)
	return append(words, w.option("link", i.Link)...)
}

func (w writer) baseArgs(i *Base) []string {
	if i.None {
		return []string{"none"}
	}
	words := w.flag("platform", i.Platform)
	words = append(words, w.flag("list", i.List)...)
	words = append(words, w.option("keep-archives", i.KeepArchives)...)
	words = append(words, w.option("env", i.Env)...)
	return append(words, "rootfs", "cache")
}

// option returns a flag without a value.
func (w writer) option(name string, on bool) []string {
	if !on {
		return nil
	}
	return []string{"--" + name}
}

// plainValue matches the values of flags that need no quotes.
var plainValue = regexp.MustCompile(`^[-A-Za-z0-9_./:@,=*?!+%^~{}$]*$`)

// flag returns a flag once for each value that is not empty.
func (w writer) flag(name string, values ...string) []string {
	var words []string
	for _, value := range values {
		if value == "" {
			continue
		}
		if !plainValue.MatchString(value) {
			value = w.quote(value)
		}
		words = append(words, "--"+name+"="+value)
	}
	return words
}

// quote returns the value of a flag in quotes. BuildKit's parser looks for
// heredocs with a backslash as the escape character whatever the file's is, so
// with another one the quotes are single, and flags hold neither of the two.
func (w writer) quote(value string) string {
	e, q := string(w.escape), `"`
	if w.escape != defaultEscape {
		q = "'"
	}
	return q + strings.NewReplacer(e, e+e, q, e+q).Replace(value) + q
}

// pairs returns the pairs as words; a single value with unquoted spaces is
// written in the old form, without "=".
func (w writer) pairs(pairs []Pair) []string {
	var words []string
	for _, p := range pairs {
		switch {
		case !p.Set:
			words = append(words, p.Name)
		case !isWord(p.Value, w.escape):
			words = append(words, p.Name+" "+p.Value)
		default:
			words = append(words, p.Name+"="+p.Value)
		}
	}
	return words
}

// paths returns the arguments of COPY and ADD, in the JSON form where words
// would mean something else.
func (w writer) paths(sources []string, docs []Heredoc, dest string) string {
	all := append(append([]string{}, sources...), dest)
	if len(docs) == 0 {
		text := strings.Join(all, " ")
		if strings.HasPrefix(text, "--") || likeArray(text) || json.Valid([]byte(text)) || !w.allPlain(all) {
			return array(all)
		}
		return text
	}
	var words []string
	for _, h := range docs {
		marker, name := "<<", h.Name
		if h.Chomp {
			marker += "-"
		}
		if !h.Expand {
			name = `"` + name + `"`
		}
		words = append(words, marker+name)
	}
	return strings.Join(append(words, all...), " ")
}

func (w writer) allPlain(words []string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !w.plain(word) })
}

// plain tells whether a path can stand as a word.
func (w writer) plain(word string) bool {
	if word == "" || strings.HasSuffix(word, string(w.escape)) || strings.ContainsFunc(word, unicode.IsSpace) ||
		strings.ContainsFunc(word, unicode.IsControl) {
		return false
	}
	h, err := parser.ParseHeredoc(word)
	return h == nil && err == nil
}

// command returns a command in its shell or JSON form.
func command(words []string, shell bool) string {
	if shell {
		return guard(strings.Join(words, " "))
	}
	return array(words)
}

// guard returns text so that its beginning is not taken for a flag.
func guard(text string) string {
	if strings.HasPrefix(text, "--") {
		return "-- " + text
	}
	return text
}

// array returns words as a JSON array.
func array(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(word); err != nil {
			continue // strings always encode
		}
		quoted[i] = strings.TrimSuffix(b.String(), "\n")
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
