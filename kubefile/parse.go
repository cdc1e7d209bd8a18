package kubefile

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Parse reads a Kubefile. The name is used in errors only. The error of a file
// with mistakes is an Errors that holds all of them, the first 50 if there are
// more; any other error comes from r. Files over 1 MiB, lines over 60 KiB and
// instructions over 24 KiB, heredocs not counted, are mistakes. Beside an
// Errors comes a File of what could be understood, or nil; it is good for
// finding more mistakes, and for nothing else.
func Parse(name string, r io.Reader) (*File, error) {
	m := &mistakes{file: name}
	src, err := read(r, m)
	if err != nil {
		return nil, err
	}
	var f *File
	if len(m.list) == 0 {
		f = parse(name, src, m)
	}
	if errs := m.sorted(); len(errs) > 0 {
		return f, errs
	}
	return f, nil
}

func parse(name string, src *source, m *mistakes) *File {
	src.directives(m)
	b := newFileBuilder(&File{Name: name, Escape: src.escape}, m)
	if src.blank() {
		m.add(Position{1, 1}, "", "the file has no instructions", "a Kubefile needs at least one, such as COPY . .")
		return nil
	}
	skip := ""
	var before *parser.Node
	for _, node := range nodes(src, m) {
		if m.full() {
			break
		}
		s := newStatement(src, m, node)
		if before != nil && before.EndLine+1 == node.StartLine && isCommand(before.Value) {
			s.before = strings.ToUpper(before.Value)
		}
		before = node
		if skip != "" {
			if s.text.string == skip {
				skip = ""
			}
			continue
		}
		if i := s.instruction(); i != nil {
			b.add(i)
			b.note(i, s)
			continue
		}
		skip = s.strayHeredoc()
	}
	b.finish()
	return b.file
}

// isCommand tells whether an instruction holds a command, which may go over several lines.
func isCommand(keyword string) bool {
	return slices.Contains([]string{"RUN", "CMD", "ENTRYPOINT"}, strings.ToUpper(keyword))
}

// nodes returns the instructions as BuildKit's parser sees them. That parser
// stops at the first mistake, so the mistake's lines are erased and the rest is
// parsed again.
func nodes(src *source, m *mistakes) []*parser.Node {
	for !m.full() && !src.blank() {
		result, err := src.parse()
		if err == nil {
			return result.AST.Children
		}
		first, last := 1, len(src.lines)
		var at *parser.LocationError
		if errors.As(err, &at) && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
			lines := at.Locations[0]
			first, last = lines[0].Start.Line, lines[len(lines)-1].End.Line
		}
		first = min(max(first, 1), len(src.lines))
		syntaxMistake(src.join(first), innermost(err).Error(), m)
		if !src.erase(first, last) {
			return nil
		}
	}
	return nil
}

// syntaxMistake adds what BuildKit's parser said of an instruction.
func syntaxMistake(t text, message string, m *mistakes) {
	keyword, _, _ := strings.Cut(strings.ToUpper(t.string), " ")
	at, offending, hint := t.at(0), t.string, ""
	switch {
	case strings.Contains(message, "unterminated heredoc"):
		message, hint = "the heredoc has no end", "end it with a line that holds nothing but its name"
		if names := heredocNames(t.string); len(names) == 1 {
			hint = "end it with a line that holds nothing but " + names[0]
		}
		if i := strings.Index(t.string, "<<"); i >= 0 {
			at, offending = t.at(i), t.string[i:]
		}
	case strings.Contains(message, "comprised of strings"):
		message, hint = "the elements of the JSON form must be strings", `write ["word", "word"]`
		if i := strings.Index(t.string, "["); i >= 0 {
			at, offending = t.at(i), t.string[i:]
		}
	case strings.Contains(message, "can't find = in "):
		word := message[strings.Index(message, "= in ")+len("= in "):]
		if quoted, err := strconv.QuotedPrefix(word); err == nil {
			word, _ = strconv.Unquote(quoted)
		}
		message, hint = fmt.Sprintf("%s takes name=value pairs, not %q", keyword, shorten(word)),
			`put a value that has spaces in quotes: name="a value"`
		whole := regexp.MustCompile(`\s(` + regexp.QuoteMeta(word) + `)(\s|$)`)
		if i := whole.FindStringSubmatchIndex(t.string); i != nil {
			at, offending = t.at(i[2]), word
		}
	case strings.Contains(message, "must have two arguments"):
		message, hint = keyword+" without a value", fmt.Sprintf("write %s <name>=<value>", keyword)
	}
	m.add(at, shorten(offending), message, hint)
}

// heredocNames returns the names of what look like heredocs' markers in a text.
func heredocNames(text string) []string {
	var names []string
	for _, word := range strings.Fields(text) {
		if h, err := parser.ParseHeredoc(word); err == nil && h != nil {
			names = append(names, h.Name)
		}
	}
	return names
}

// fileBuilder puts instructions into stages and checks what they have to do
// with each other.
type fileBuilder struct {
	file     *File
	mistakes *mistakes
	names    map[string]int         // stages by name
	seen     map[string]Instruction // first of its keyword in the stage
	copies   []stageCopy
	late     bool // a FROM after other instructions was reported
}

func newFileBuilder(f *File, m *mistakes) *fileBuilder {
	return &fileBuilder{file: f, mistakes: m, names: map[string]int{}, seen: map[string]Instruction{}}
}

// stageCopy is a COPY --from in a stage.
type stageCopy struct {
	from  string
	at    Position
	stage int
}

// note keeps what the checks of finish need.
func (b *fileBuilder) note(i Instruction, s *statement) {
	if i, ok := i.(*Copy); ok && i.From != "" {
		b.copies = append(b.copies, stageCopy{i.From, s.flagPos("from"), len(b.file.Stages) - 1})
	}
}

func (b *fileBuilder) add(i Instruction) {
	f := b.file
	switch i := i.(type) {
	case *From:
		b.addStage(i)
		return
	case *Arg:
		if len(f.Stages) == 0 {
			f.Args = append(f.Args, i)
			return
		}
	}
	if len(f.Stages) == 0 {
		stage := &Stage{From: &From{Position: i.Pos(), Image: "scratch", Implied: true}}
		for n, arg := range f.Args {
			if n == 0 {
				stage.From.Position = arg.Position
			}
			stage.Instructions = append(stage.Instructions, arg)
		}
		f.Args, f.Stages = nil, []*Stage{stage}
	}
	stage := f.Stages[len(f.Stages)-1]
	b.checkOnce(i)
	stage.Instructions = append(stage.Instructions, i)
}

func (b *fileBuilder) addStage(from *From) {
	if len(b.file.Stages) > 0 && b.file.Stages[0].From.Implied && !b.late {
		b.late = true
		b.mistakes.add(from.Position, "FROM", "FROM after other instructions",
			"only ARG may precede the first FROM: move it up, or begin the file with FROM scratch AS <name>")
	}
	if earlier, ok := b.names[from.As]; ok {
		b.mistakes.add(from.Position, from.As, fmt.Sprintf("a second stage named %q", from.As),
			fmt.Sprintf("the first is in line %d: choose another name", b.file.Stages[earlier].From.Line))
	} else if from.As != "" {
		b.names[from.As] = len(b.file.Stages)
	}
	b.file.Stages = append(b.file.Stages, &Stage{From: from})
	clear(b.seen)
}

// checkOnce refuses what would silently replace or contradict an earlier
// instruction of the stage.
func (b *fileBuilder) checkOnce(i Instruction) {
	earlier, ok := b.seen[i.Keyword()]
	if !ok {
		b.seen[i.Keyword()] = i
		return
	}
	switch i := i.(type) {
	case *Cmd, *Entrypoint:
		b.mistakes.add(i.Pos(), i.Keyword(), fmt.Sprintf("a second %s in this stage", i.Keyword()),
			fmt.Sprintf("only one can take effect: remove it, or join it with line %d by &&", earlier.Pos().Line))
	case *Base:
		if first, ok := earlier.(*Base); ok && first.None != i.None {
			b.mistakes.add(i.Pos(), "BASE", "BASE none and BASE rootfs cache in one stage",
				fmt.Sprintf("remove one of them; the other is in line %d", earlier.Pos().Line))
		}
	}
}

// finish makes the checks that need the whole file.
func (b *fileBuilder) finish() {
	if len(b.file.Stages) == 0 && len(b.mistakes.list) == 0 {
		b.mistakes.add(b.file.Args[0].Position, "ARG", "nothing to build: the file has only ARG instructions",
			"add FROM and what is to be in the image")
	}
	for _, c := range b.copies {
		b.checkCopyFrom(c)
	}
}

// checkCopyFrom refuses --from with a stage that is not finished by then.
func (b *fileBuilder) checkCopyFrom(c stageCopy) {
	message := fmt.Sprintf("--from=%s is no stage before this one", shorten(c.from))
	if n, err := strconv.Atoi(c.from); err == nil {
		if n < 0 || n >= c.stage {
			b.mistakes.add(c.at, c.from, message,
				"stages count from 0; better give the stage a name with FROM <image> AS <name>")
		}
		return
	}
	if n, ok := b.names[strings.ToLower(c.from)]; ok && n >= c.stage {
		b.mistakes.add(c.at, c.from, message,
			fmt.Sprintf("that stage begins in line %d: move it up", b.file.Stages[n].From.Line))
	}
}

// mistakes collects errors.
type mistakes struct {
	file string
	list Errors
}

// add adds a mistake. Beyond the limit it adds nothing.
func (m *mistakes) add(at Position, offending, message, hint string) {
	if !m.full() {
		m.list = append(m.list, &Error{File: m.file, Pos: at, Text: offending, Message: message, Hint: hint})
	}
}

// full tells whether there are so many mistakes that more would not help.
func (m *mistakes) full() bool { return len(m.list) >= maxErrors }

// sorted returns the mistakes by position.
func (m *mistakes) sorted() Errors {
	m.list.Sort()
	return m.list
}

// shorten returns s, cut to what fits into an error.
func shorten(s string) string {
	const limit = 60
	s = strings.TrimRight(s, "\r\n")
	n := 0
	for i := range s {
		if n++; n > limit {
			return s[:i] + "…"
		}
	}
	return s
}
