package find

import (
	"strconv"
	"strings"
	"text/template/parse"
	"unicode"
	"unicode/utf8"

	"helm.sh/helm/v4/pkg/chart/common"
)

// A rendered line is not the line of the template that it comes from. So charts
// with images are rendered a second time, from templates with marks that say
// which line a text comes from. A mark has a number between two signs that
// nobody writes; where the second text without its marks is not the first one,
// no line is known.
const (
	markStart = '⟦'
	markEnd   = '⟧'
)

// markTemplate puts marks into a template: before each text and action, and at
// the start of each line of text. What is between define and end has none, for
// others compute with what it becomes; it counts at the line that includes it. A
// template that cannot be read is left as it is.
func markTemplate(t *common.File) {
	tree := parse.New(t.Name)
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(string(t.Data), "", "", map[string]*parse.Tree{}); err != nil || tree.Root == nil {
		return
	}
	m := &marker{text: string(t.Data)}
	m.list(tree.Root)
	if !m.lost {
		m.out.WriteString(m.text[m.done:])
		t.Data = []byte(m.out.String())
	}
}

// marker puts marks into the text of one template, from start to end.
type marker struct {
	text string
	done int // how much of the text is in out
	line int // how many lines that has ended
	out  strings.Builder
	lost bool // the parser's places are not those of the text
}

// mark copies the text up to a place and puts a mark there, in what stands
// around it.
func (m *marker) mark(pos int, before, after string) {
	if pos < m.done {
		m.lost = true
		return
	}
	m.out.WriteString(m.text[m.done:pos])
	m.line += strings.Count(m.text[m.done:pos], "\n")
	m.done = pos
	m.out.WriteString(before + string(markStart) + strconv.Itoa(m.line+1) + string(markEnd) + after)
}

// list marks the nodes of a list.
func (m *marker) list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			m.textNode(n)
		case *parse.ActionNode, *parse.TemplateNode:
			m.action(int(n.Position()))
		case *parse.IfNode:
			m.list(n.List)
			m.list(n.ElseList)
		case *parse.RangeNode:
			m.list(n.List)
			m.list(n.ElseList)
		case *parse.WithNode:
			m.list(n.List)
			m.list(n.ElseList)
		}
	}
}

// textNode marks a text and its lines.
func (m *marker) textNode(n *parse.TextNode) {
	pos, text := int(n.Pos), string(n.Text)
	if !strings.HasPrefix(m.text[pos:], text) {
		m.lost = true
		return
	}
	m.mark(pos, "", "")
	for i := range len(text) {
		if text[i] == '\n' {
			m.mark(pos+i+1, "", "")
		}
	}
}

// action marks an action. One that removes the blanks before it goes on to do so.
func (m *marker) action(pos int) {
	open := strings.LastIndex(m.text[:pos], "{{")
	switch {
	case open < 0:
		m.lost = true
	case strings.HasPrefix(m.text[open:], "{{-"):
		m.mark(open+len("{{-"), ` "`, `"}}{{`)
	default:
		m.mark(open, "", "")
	}
}

// linesOf returns for each line of a rendered text which line of the template
// its first word comes from, or 0 if that is not known. marked is the text
// rendered with marks.
func linesOf(text, marked string) []int {
	lines, with := strings.Split(text, "\n"), strings.Split(marked, "\n")
	from := make([]int, len(lines))
	if len(lines) != len(with) {
		return from
	}
	now := 0
	for i, line := range with {
		var bare strings.Builder
		started := false
		for line != "" {
			if n, rest, ok := cutMark(line); ok {
				now, line = n, rest
				continue
			}
			c, size := utf8.DecodeRuneInString(line)
			if !started && !unicode.IsSpace(c) {
				from[i], started = now, true
			}
			bare.WriteString(line[:size])
			line = line[size:]
		}
		if bare.String() != lines[i] {
			from[i] = 0
		}
	}
	return from
}

// cutMark takes a mark from the start of a text.
func cutMark(text string) (line int, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, string(markStart))
	if !ok {
		return 0, "", false
	}
	number, rest, ok := strings.Cut(text, string(markEnd))
	line, err := strconv.Atoi(number)
	return line, rest, ok && err == nil
}
