package kubefile

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// statement is one instruction of the source while it is being read.
type statement struct {
	src         *source
	mistakes    *mistakes
	node        *parser.Node
	keyword     string
	before      string // keyword of the command that ends in the line before, "" if there is none
	text        text
	start       int // offset of the keyword
	flagOffsets []int
	rest        int // offset of the first argument
	badFlags    bool
}

func newStatement(src *source, m *mistakes, node *parser.Node) *statement {
	s := &statement{src: src, mistakes: m, node: node, keyword: strings.ToUpper(node.Value), text: src.join(node.StartLine)}
	s.start = max(0, strings.IndexFunc(s.text.string, func(r rune) bool { return !unicode.IsSpace(r) }))
	t := strings.TrimRightFunc(s.text.string, unicode.IsSpace)
	s.flagOffsets, s.rest = findFlags(t, s.start, src.escape)
	s.rest = len(t) - len(strings.TrimLeftFunc(t[s.rest:], unicode.IsSpace))
	return s
}

// pos returns where the keyword begins.
func (s *statement) pos() Position { return s.text.at(s.start) }

// instruction returns the typed instruction, nil if there is none.
func (s *statement) instruction() Instruction {
	if strings.TrimSpace(s.text.string) == "" {
		s.fail("", "a line continuation without an instruction", "remove it")
		return nil
	}
	if !s.checkCharacters() {
		return nil
	}
	read := reader(s.keyword)
	if read == nil {
		message, hint := unknownInstruction(s.node.Value, s.before, s.pos().Column > 1, s.src.escape)
		s.fail(s.node.Value, message, hint)
		return nil
	}
	return read(s)
}

// checkCharacters refuses what an instruction cannot hold.
func (s *statement) checkCharacters() bool {
	t := s.text.string
	if len(t) > maxInstruction {
		s.fail(shorten(t), fmt.Sprintf("the instruction is longer than %d KiB", maxInstruction>>10),
			"put the commands into a script, COPY and RUN it")
		return false
	}
	for i, r := range t {
		if !unicode.IsControl(r) || r == '\t' {
			continue
		}
		hint := "remove it"
		if r == '\r' {
			hint = "convert the file's line endings to newlines"
		}
		s.mistakes.add(s.text.at(i), string(r), fmt.Sprintf("control character U+%04X in an instruction", r), hint)
		return false
	}
	if t = strings.TrimSpace(t); s.src.continued(t) {
		s.mistakes.add(s.text.at(len(t)-1), string(s.src.escape), fmt.Sprintf("a lone %c at the end of the instruction", s.src.escape),
			fmt.Sprintf("remove the space after it, or double it: %[1]c%[1]c", s.src.escape))
		return false
	}
	return true
}

// strayHeredoc returns the name of the first heredoc of a statement that cannot
// have one, if its end is found; "" otherwise. The lines up to there are no
// instructions.
func (s *statement) strayHeredoc() string {
	if len(s.node.Heredocs) > 0 {
		return ""
	}
	for _, name := range heredocNames(s.text.string) {
		for _, line := range s.src.lines[s.node.EndLine:] {
			if strings.TrimSpace(line) == name {
				return name
			}
		}
	}
	return ""
}

// fail adds a mistake at the keyword.
func (s *statement) fail(offending, message, hint string) {
	s.mistakes.add(s.pos(), shorten(offending), message, hint)
}

// flagPos returns where a flag is written, the keyword's place if it is not.
func (s *statement) flagPos(name string) Position {
	for _, offset := range s.flagOffsets {
		if strings.HasPrefix(s.text.string[offset:], "--"+name) {
			return s.text.at(offset)
		}
	}
	return s.pos()
}

// failAt adds a mistake at argument number n.
func (s *statement) failAt(args []string, n int, message, hint string) {
	offset := s.rest
	for i := 0; i <= n; i++ {
		found := strings.Index(s.text.string[offset:], args[i])
		if found < 0 {
			offset = 0
			break
		}
		if offset += found; i < n {
			offset += len(args[i])
		}
	}
	s.mistakes.add(s.text.at(offset), shorten(args[n]), message, hint)
}

// missing adds the mistake that the instruction has no arguments, unless they
// may have been taken for flags.
func (s *statement) missing(what, usage string) {
	if s.badFlags {
		return
	}
	s.fail(s.node.Value, fmt.Sprintf("%s without %s", s.keyword, what), "write "+usage)
}

// args returns the words or strings of the instruction.
func (s *statement) args() []string {
	var args []string
	for n := s.node.Next; n != nil; n = n.Next {
		args = append(args, n.Value)
	}
	return args
}

func (s *statement) json() bool { return s.node.Attributes["json"] }

// checkJSON refuses what was meant to be a JSON array but is none, and would
// therefore be taken for words.
func (s *statement) checkJSON() bool {
	rest := s.text.string[s.rest:]
	if s.json() || !likeArray(rest) {
		return true
	}
	s.mistakes.add(s.text.at(s.rest), shorten(rest), "this looks like the JSON form but is no JSON array of strings",
		`write ["word", "word"] with double quotes, commas and nothing after the bracket`)
	return false
}

// likeArray tells whether text begins as only a JSON array does; the test
// program [ has a space after its name.
func likeArray(text string) bool {
	return strings.HasPrefix(text, `["`) || strings.HasPrefix(text, "['")
}

// checkWords refuses arguments that cannot be expanded.
func (s *statement) checkWords(args []string) bool {
	ok := true
	for n := range args {
		ok = s.checkWord(args, n) && ok
	}
	return ok
}

// checkWord refuses argument number n if it cannot be expanded.
func (s *statement) checkWord(args []string, n int) bool {
	err := expandable(args[n], s.src.escape)
	if err == nil {
		return true
	}
	hint := fmt.Sprintf("correct it, or write %c before the character to take it literally", s.src.escape)
	if paths := s.keyword == "COPY" || s.keyword == "ADD"; paths && !s.json() && strings.ContainsAny(args[n], `'"`) {
		hint = fmt.Sprintf(`paths with spaces are written %s ["a b", "dest"]`, s.keyword)
	}
	s.failAt(args, n, fmt.Sprintf("%v in %s", err, shorten(args[n])), hint)
	return false
}

// checkPaths is checkWords up to the first mistake: words that only quotes hold
// together are one mistake.
func (s *statement) checkPaths(args []string) bool {
	for n := range args {
		if !s.checkWord(args, n) {
			return false
		}
	}
	return true
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// isName tells whether a word can name a variable.
func isName(word string) bool {
	return variableName.MatchString(word)
}

// isWord tells whether BuildKit's parser takes text for a single word.
func isWord(text string, escape rune) bool {
	var quote rune
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == escape && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case unicode.IsSpace(r):
			return false
		}
	}
	return quote == 0 && !escaped
}
