package find

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealrt/sealrt/artifact"
)

// ignoreFiles are the files of the tree that say what is not to be collected.
var ignoreFiles = [...]string{".imageignore", "manifests/.imageignore"} //nolint:gochecknoglobals // a table that nothing changes

// contextIgnore is what the lines of the build context are called in errors.
const contextIgnore = ".imageignore of the build context"

// maxIgnore is the largest file of patterns, in bytes.
const maxIgnore = 1 << 20

// treeParts begin patterns that name files instead of images.
var treeParts = [...]string{"manifests/", "charts/", "images/"} //nolint:gochecknoglobals // a table that nothing changes

// ignored is what .imageignore says.
type ignored struct {
	images, files []*pattern // the last one that matches decides
}

// pattern is one line of an .imageignore.
type pattern struct {
	where string // file:line
	glob  string // "*" is any text, "?" any one character
	back  bool   // "!": what matches is collected after all
	used  bool   // it has matched something
}

// readIgnore reads the .imageignore files of the tree, and more lines. The
// error names every bad line as file:line.
func readIgnore(tree fs.FS, more []byte) (*ignored, error) {
	g := &ignored{}
	err := g.read(contextIgnore, more)
	for _, name := range ignoreFiles {
		text, rerr := readSmall(tree, name, maxIgnore)
		if errors.Is(rerr, fs.ErrNotExist) {
			continue
		}
		if rerr == nil {
			rerr = g.read(name, text)
		}
		err = errors.Join(err, rerr)
	}
	return g, err
}

// read adds the lines of a text.
func (g *ignored) read(name string, text []byte) error {
	var bad []error
	n := 0
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		n++
		word := uncommented(string(line))
		if word == "" {
			continue
		}
		p := &pattern{where: fmt.Sprintf("%s:%d", name, n)}
		if p.glob, p.back = strings.CutPrefix(word, "!"); p.back {
			p.glob = strings.TrimSpace(p.glob)
		}
		if err := checkPattern(p.glob); err != nil {
			bad = append(bad, fmt.Errorf("%s: %q: %w", p.where, word, err))
			continue
		}
		if namesFile(p.glob) {
			p.glob = strings.TrimRight(p.glob, "/")
			g.files = append(g.files, p)
		} else {
			g.images = append(g.images, p)
		}
	}
	return errors.Join(bad...)
}

// namesFile reports whether a pattern is of files and not of images: below one of
// the directories that hold images, or YAML, which may be at the root.
func namesFile(glob string) bool {
	return slices.ContainsFunc(treeParts[:], func(part string) bool { return strings.HasPrefix(glob, part) }) ||
		strings.HasSuffix(glob, ".yaml") || strings.HasSuffix(glob, ".yml")
}

// uncommented returns a line without its comment and the blanks around it. A
// comment begins with a "#" at the start or after a blank.
func uncommented(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return strings.TrimSpace(line)
}

// checkPattern refuses what can match nothing.
func checkPattern(glob string) error {
	switch {
	case glob == "":
		return errors.New("! without a pattern after it")
	case !utf8.ValidString(glob) || strings.ContainsFunc(glob, unicode.IsControl):
		return errors.New("this is no text: write one pattern a line")
	case strings.ContainsFunc(glob, unicode.IsSpace):
		return errors.New("more than one word: write one pattern a line")
	case strings.HasPrefix(glob, "/") || strings.HasPrefix(glob, "./") || strings.HasPrefix(glob, "../"):
		return errors.New("files of the tree are named from its root, like manifests/extra.yaml or charts/web")
	}
	return nil
}

// image reports whether an image is not to be collected. text is the reference
// as it is written, which need not be one.
func (g *ignored) image(text string) bool {
	if g == nil || len(g.images) == 0 {
		return false
	}
	return decide(g.images, spellings(text))
}

// file reports whether a file or folder of the tree is not to be looked at,
// because it or a folder that it is in is named.
func (g *ignored) file(name string) bool {
	if g == nil || len(g.files) == 0 {
		return false
	}
	var names []string
	for name = path.Clean(name); name != "." && name != "/"; name = path.Dir(name) {
		names = append(names, name)
	}
	return decide(g.files, names)
}

// decide reports what the last matching pattern says of something with
// several names.
func decide(patterns []*pattern, names []string) bool {
	hidden := false
	for _, p := range patterns {
		if slices.ContainsFunc(names, func(name string) bool { return matches(p.glob, name) }) {
			hidden, p.used = !p.back, true
		}
	}
	return hidden
}

// spellings returns what an image may be called in a pattern: as it is written,
// with its full name and as docker shortens it, each with and without the tag.
func spellings(text string) []string {
	names := []string{text}
	add := func(ref string) {
		name, _, _ := strings.Cut(ref, "@")
		names = append(names, ref, name)
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			names = append(names, name[:i])
		}
	}
	add(text)
	if ref, err := artifact.ParseReference(text); err == nil {
		add(ref.String())
		add(ref.Familiar())
	}
	return names
}

// matches reports whether a pattern is all of s. It takes at most the product
// of their lengths.
func matches(glob, s string) bool {
	g, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, i
			g++
		case g < len(glob) && glob[g] == '?':
			g++
			i += size
		case g < len(glob) && glob[g] == s[i]:
			g++
			i++
		case star >= 0: // the last star takes one byte more
			mark++
			g, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// unused tells of patterns that matched nothing. Those of tarballs in images/
// are for others to say.
func (g *ignored) unused(note func(string)) {
	for _, p := range slices.Concat(g.images, g.files) {
		if !p.used && !strings.HasPrefix(p.glob, "images/") {
			note(fmt.Sprintf("%s: %s matches nothing: remove the line, or correct it", p.where, p.glob))
		}
	}
}
