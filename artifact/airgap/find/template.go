package find

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/Masterminds/sprig/v3"

	"github.com/sealrt/sealrt/artifact/airgap"
)

// templateSuffix ends the names of templates, as in package runtime, which
// fills them in when there is a cluster.
const templateSuffix = ".tmpl"

// inTemplate finds the images of a template of objects. It is filled in with
// the defaults of the cluster image, which are all that is known before there is
// a cluster. One that needs more is told to the user.
func inTemplate(tree fs.FS, name string, skip *ignored, o Options) ([]airgap.Image, error) {
	raw, err := readSmall(tree, name, maxManifest)
	if err != nil {
		return nil, err
	}
	text, lines, err := fill(name, string(raw), o.Env)
	if err != nil {
		line, cause := templateCause(name, err)
		note(o, "%s:%d: what this template becomes is not known before there is a cluster: %s: name its images in manifests/imageList", name, line, cause)
		return nil, nil // a template is no mistake
	}
	where := func(line int) string {
		if line <= len(lines) {
			line = lines[line-1]
		}
		return fmt.Sprintf("%s:%d", name, line)
	}
	return inObjects(text, where, skip, o)
}

// fill returns what a template becomes, and for each of its lines the line of
// the template that it is from. Functions and settings are those of package
// runtime; see Render there.
func fill(name, raw string, env map[string]string) ([]byte, []int, error) {
	functions := sprig.HermeticTxtFuncMap()
	functions["image"] = func(name string) string { return name }
	t, err := template.New(name).Funcs(functions).Option("missingkey=error").Parse(raw)
	if err != nil {
		return nil, nil, err
	}
	if env == nil {
		env = map[string]string{}
	}
	if !strings.ContainsRune(raw, mark) {
		for _, part := range t.Templates() {
			markLines(part.Root, raw)
		}
	}
	out := limited{left: maxManifest}
	if err := t.Execute(&out, map[string]any{"Env": env}); err != nil {
		return nil, nil, err
	}
	text, lines := unmark(out.Bytes())
	return text, lines, nil
}

// limited is a buffer that does not grow without end: a template can count to
// anything.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("it becomes more than %d bytes", maxManifest)
	}
	return l.Buffer.Write(p)
}

// mark stands around line numbers in what a template becomes.
const mark = '\x00'

// markLines writes into the texts of a template which line of it they are from.
func markLines(n parse.Node, raw string) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, c := range n.Nodes {
			markLines(c, raw)
		}
	case *parse.TextNode:
		line := 1 + strings.Count(raw[:min(int(n.Pos), len(raw))], "\n")
		var b bytes.Buffer
		fmt.Fprintf(&b, "%c%d%c", mark, line, mark)
		for part := range bytes.Lines(n.Text) {
			b.Write(part)
			if part[len(part)-1] == '\n' {
				line++
				fmt.Fprintf(&b, "%c%d%c", mark, line, mark)
			}
		}
		n.Text = b.Bytes()
	case *parse.IfNode:
		markLines(n.List, raw)
		markLines(n.ElseList, raw)
	case *parse.RangeNode:
		markLines(n.List, raw)
		markLines(n.ElseList, raw)
	case *parse.WithNode:
		markLines(n.List, raw)
		markLines(n.ElseList, raw)
	}
}

// unmark removes the marks again and returns the line that each line is from.
func unmark(marked []byte) (text []byte, lines []int) {
	line := 1
	for l := range bytes.Lines(marked) {
		first := 0
		for {
			before, rest, ok := bytes.Cut(l, []byte{mark})
			text = append(text, before...)
			if !ok {
				break
			}
			number, after, ok := bytes.Cut(rest, []byte{mark})
			if !ok {
				break
			}
			n, err := strconv.Atoi(string(number))
			if err == nil {
				line = n
			}
			if first == 0 || len(bytes.TrimSpace(before)) == 0 {
				first = line
			}
			l = after
		}
		if first == 0 {
			first = line // of a value of several lines
		}
		lines = append(lines, first)
	}
	return text, lines
}

// templatePlace is the line in an error of package text/template, which has no
// other place for it.
var templatePlace = regexp.MustCompile(`^:(\d+)(?::\d+)?: `)

// templateCause returns the line that a template's error is about, and what it
// says.
func templateCause(name string, err error) (line int, cause string) {
	cause = strings.TrimPrefix(err.Error(), "template: "+name)
	place := templatePlace.FindStringSubmatch(cause)
	if place == nil {
		return 1, cause
	}
	line, aerr := strconv.Atoi(place[1])
	if aerr != nil {
		line = 1
	}
	cause = strings.TrimPrefix(cause[len(place[0]):], "executing "+strconv.Quote(name)+" at ")
	return line, cause
}
