package kubefile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// The forms of names.
var (
	stageName   = regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`)
	heredocName = regexp.MustCompile(`^[\pL\pN_.+@%-]+$`)
)

// from always returns a stage, so that the instructions after a bad FROM are
// not taken for those of the stage before it.
func (s *statement) from() Instruction {
	flags, args := s.flags(), s.args()
	i := &From{Position: s.pos(), Platform: flags.value("platform")}
	const usage = "FROM <image> or FROM <image> AS <name>"
	switch {
	case len(args) == 0:
		s.missing("an image", usage+"; FROM scratch begins with nothing")
		return i
	case len(args) > 1 && !strings.EqualFold(args[1], "AS"):
		s.failAt(args, 1, fmt.Sprintf("unexpected %q after the image", shorten(args[1])), "write "+usage)
		return i
	case len(args) == 2:
		s.failAt(args, 1, "AS without a name", "write "+usage)
		return i
	case len(args) > 3:
		s.failAt(args, 3, fmt.Sprintf("unexpected %q after the stage's name", shorten(args[3])), "write "+usage)
		return i
	}
	s.checkWords(args[:1])
	i.Image = args[0]
	if len(args) == 3 {
		i.As = strings.ToLower(args[2])
		switch {
		case !stageName.MatchString(i.As):
			s.failAt(args, 2, fmt.Sprintf("%q cannot name a stage", shorten(args[2])),
				"a name begins with a letter and goes on with letters, digits, dots, dashes and underscores")
		case i.As == "scratch":
			s.failAt(args, 2, `"scratch" cannot name a stage`, "it is the empty image: choose another name")
		}
	}
	return i
}

func (s *statement) arg() Instruction {
	s.flags()
	words := s.args()
	if len(words) == 0 {
		s.missing("a name", "ARG <name> or ARG <name>=<default>")
		return nil
	}
	i := &Arg{Position: s.pos()}
	for n, word := range words {
		name, value, set := strings.Cut(word, "=")
		if !isName(name) {
			s.failAt(words, n, fmt.Sprintf("%q cannot name a variable", shorten(name)),
				"a name begins with a letter or underscore: ARG <name>=<default>")
		}
		i.Pairs = append(i.Pairs, Pair{Name: name, Value: value, Set: set})
	}
	s.checkWords(words)
	return i
}

func (s *statement) env() Instruction {
	pairs := s.pairs(func(name string) bool { return isName(name) })
	if pairs == nil {
		return nil
	}
	return &Env{Position: s.pos(), Pairs: pairs}
}

func (s *statement) label() Instruction {
	pairs := s.pairs(func(name string) bool { return name != "" && isWord(name, s.src.escape) })
	if pairs == nil {
		return nil
	}
	return &Label{Position: s.pos(), Pairs: pairs}
}

// pairs returns the names and values of ENV and LABEL, nil if there are none.
func (s *statement) pairs(valid func(name string) bool) []Pair {
	s.flags()
	words := s.args() // name, value, "=" or "", and so on
	if len(words) == 0 {
		s.missing("a name and a value", s.keyword+" <name>=<value>")
		return nil
	}
	var pairs []Pair
	for n := 0; n+2 < len(words); n += 3 {
		name, value := words[n], words[n+1]
		if !valid(name) {
			s.failAt(words, n, fmt.Sprintf("%q cannot be a name", shorten(name)), fmt.Sprintf("write %s <name>=<value>", s.keyword))
		} else if s.checkWord(words, n) {
			s.checkWord(words, n+1)
		}
		pairs = append(pairs, Pair{Name: name, Value: value, Set: true})
	}
	return pairs
}

func (s *statement) maintainer() Instruction {
	name := s.single("a name", "MAINTAINER <name>, or better LABEL org.opencontainers.image.authors=<name>")
	if name == "" {
		return nil
	}
	return &Maintainer{Position: s.pos(), Name: name}
}

func (s *statement) workdir() Instruction {
	path := s.single("a path", "WORKDIR <path>")
	if path == "" || !s.checkWords([]string{path}) {
		return nil
	}
	return &Workdir{Position: s.pos(), Path: path}
}

func (s *statement) user() Instruction {
	name := s.single("a user", "USER <user> or USER <user>:<group>")
	if name == "" || !s.checkWords([]string{name}) {
		return nil
	}
	return &User{Position: s.pos(), Name: name}
}

// single returns the whole text after the keyword, "" if there is none.
func (s *statement) single(what, usage string) string {
	s.flags()
	args := s.args()
	if len(args) == 0 {
		s.missing(what, usage)
		return ""
	}
	return args[0]
}

func (s *statement) copy() Instruction {
	flags := s.flags()
	i := &Copy{
		Position: s.pos(),
		From:     flags.value("from"), Chown: flags.value("chown"), Chmod: flags.value("chmod"),
		Exclude: flags["exclude"], Link: flags.isTrue("link"), Parents: flags.isTrue("parents"),
	}
	var ok bool
	i.Sources, i.Heredocs, i.Dest, ok = s.sourcesAndDest()
	if i.From != "" && len(i.Heredocs) > 0 {
		s.mistakes.add(s.flagPos("from"), "--from", "COPY --from with a heredoc", "write two instructions: a heredoc comes from no other stage")
	}
	if !ok {
		return nil
	}
	return i
}

func (s *statement) add() Instruction {
	flags := s.flags()
	i := &Add{
		Position: s.pos(),
		Chown:    flags.value("chown"), Chmod: flags.value("chmod"), Checksum: flags.value("checksum"),
		Exclude: flags["exclude"], Link: flags.isTrue("link"),
	}
	var ok bool
	i.Sources, i.Heredocs, i.Dest, ok = s.sourcesAndDest()
	if i.Checksum != "" && ok && len(i.Sources)+len(i.Heredocs) != 1 {
		s.mistakes.add(s.flagPos("checksum"), "--checksum", "--checksum with several sources", "write one ADD for each")
	}
	if !ok {
		return nil
	}
	return i
}

// sourcesAndDest reads the arguments of COPY and ADD. It returns false if they
// make no sense.
func (s *statement) sourcesAndDest() (sources []string, docs []Heredoc, dest string, ok bool) {
	args := s.args()
	usage := fmt.Sprintf("%s <source>... <destination>", s.keyword)
	if !s.checkJSON() {
		return nil, nil, "", false
	}
	switch len(args) {
	case 0:
		s.missing("a source and a destination", usage)
		return nil, nil, "", false
	case 1:
		s.failAt(args, 0, s.keyword+" without a destination", "write "+usage)
		return nil, nil, "", false
	}
	if slices.Contains(args, "") {
		s.fail(s.node.Value, "an empty path", "write "+usage)
		return nil, nil, "", false
	}
	ok = true
	last := len(args) - 1
	for n, arg := range args {
		if h := s.heredoc(arg); h == nil {
			sources = append(sources, arg)
		} else if n == last {
			s.failAt(args, n, "a heredoc as the destination", fmt.Sprintf("write %s <<%s <destination>", s.keyword, h.Name))
			return nil, nil, "", false
		} else {
			ok = s.checkHeredoc(args, n, h, docs) && ok
			docs = append(docs, *h)
		}
	}
	if len(docs) != len(s.node.Heredocs) {
		at := s.pos()
		if i := strings.Index(s.text.string, "<<"); i >= 0 {
			at = s.text.at(i)
		}
		s.mistakes.add(at, "<<", "the heredoc's marker is not one word", "write <<EOF, without spaces after << and in the name")
		return nil, nil, "", false
	}
	return sources[:len(sources)-1], docs, args[last], s.checkPaths(args) && ok
}

// heredoc returns the heredoc that a word is the marker of, or nil.
func (s *statement) heredoc(word string) *Heredoc {
	if s.json() {
		return nil
	}
	h, err := parser.ParseHeredoc(word)
	if err != nil || h == nil {
		return nil
	}
	for _, doc := range s.node.Heredocs {
		if doc.Name == h.Name {
			return &Heredoc{Name: doc.Name, Content: doc.Content, Expand: doc.Expand, Chomp: doc.Chomp}
		}
	}
	return &Heredoc{Name: h.Name}
}

func (s *statement) checkHeredoc(args []string, n int, h *Heredoc, earlier []Heredoc) bool {
	if !heredocName.MatchString(h.Name) {
		s.failAt(args, n, fmt.Sprintf("%q cannot name a heredoc", shorten(h.Name)), "write letters, digits, dots, dashes and underscores")
		return false
	}
	if slices.ContainsFunc(earlier, func(e Heredoc) bool { return e.Name == h.Name }) {
		s.failAt(args, n, fmt.Sprintf("a second heredoc named %q", h.Name), "choose another name: it is the file's name")
		return false
	}
	return true
}

func (s *statement) run() Instruction {
	flags := s.flags()
	command, shell, ok := s.command("RUN <command>")
	if !ok {
		return nil
	}
	if len(command) == 0 {
		s.missing("a command", `RUN <command> or RUN ["program", "argument"]`)
		return nil
	}
	if !shell && !s.checkProgram(command) {
		return nil
	}
	i := &Run{Position: s.pos(), Command: command, Shell: shell, Mounts: flags["mount"], Network: flags.value("network")}
	for _, h := range s.node.Heredocs {
		i.Heredocs = append(i.Heredocs, Heredoc{Name: h.Name, Content: h.Content, Expand: h.Expand, Chomp: h.Chomp})
	}
	return i
}

func (s *statement) cmd() Instruction {
	s.flags()
	command, shell, ok := s.command("CMD <command>")
	if !ok {
		return nil
	}
	return &Cmd{Position: s.pos(), Command: command, Shell: shell}
}

func (s *statement) entrypoint() Instruction {
	s.flags()
	command, shell, ok := s.command("ENTRYPOINT <command>")
	if !ok {
		return nil
	}
	return &Entrypoint{Position: s.pos(), Command: command, Shell: shell}
}

func (s *statement) shell() Instruction {
	s.flags()
	command, text, ok := s.command(`SHELL ["/bin/sh", "-c"]`)
	switch {
	case !ok:
		return nil
	case text:
		s.failAt(command, 0, "SHELL takes the JSON form only", `write SHELL ["/bin/sh", "-c"]`)
		return nil
	case len(command) == 0:
		s.missing("a program", `SHELL ["/bin/sh", "-c"]`)
		return nil
	}
	return &Shell{Position: s.pos(), Command: command}
}

// command reads a command in its JSON form, or its shell form. It returns false
// if it found a mistake.
func (s *statement) command(usage string) (command []string, shell, ok bool) {
	command = s.args()
	switch {
	case !s.checkJSON():
		return nil, false, false
	case !s.json() && len(command) == 0:
		s.missing("a command", usage)
		return nil, false, false
	case s.json() && len(command) > 0 && command[0] == "":
		s.fail(s.node.Value, "the program's name is empty", `write ["program", "argument"]`)
		return nil, false, false
	}
	return command, !s.json(), true
}

// checkProgram refuses a RUN of the JSON form whose program is a whole command line: there are programs with a space in the
// name, but the shell form can call them too.
func (s *statement) checkProgram(command []string) bool {
	if !strings.Contains(strings.TrimSpace(command[0]), " ") {
		return true
	}
	hint := fmt.Sprintf(`write %s ["program", "argument"]`, s.keyword)
	if len(command) == 1 {
		hint = fmt.Sprintf("write %s %s", s.keyword, shorten(command[0]))
	}
	s.mistakes.add(s.text.at(s.rest), shorten(command[0]),
		fmt.Sprintf("no program is called %q: in the JSON form each argument is a string of its own", shorten(command[0])), hint)
	return false
}

func (s *statement) base() Instruction {
	flags := s.flags()
	i := &Base{
		Position: s.pos(),
		Platform: flags.value("platform"), List: flags.value("list"), KeepArchives: flags.isTrue("keep-archives"), Env: flags.isTrue("env"),
	}
	const usage = "BASE rootfs cache or BASE none"
	words := strings.Fields(s.text.string[s.rest:])
	switch {
	case len(words) == 0:
		s.missing("arguments", usage)
		return nil
	case strings.EqualFold(words[0], "none"):
		i.None = true
		if len(words) > 1 {
			s.failAt(words, 1, fmt.Sprintf("unexpected %q after BASE none", shorten(words[1])), "remove it")
			return nil
		}
		if len(s.node.Flags) > 0 {
			s.fail(s.node.Flags[0], "BASE none takes no flags", "remove them")
			return nil
		}
		return i
	}
	for n, want := range []string{"rootfs", "cache"} {
		if n >= len(words) {
			s.failAt(words, n-1, fmt.Sprintf("BASE %s without %q", words[0], want), "write "+usage)
			return nil
		}
		if !strings.EqualFold(words[n], want) {
			s.failAt(words, n, fmt.Sprintf("unexpected %q after BASE", shorten(words[n])), "write "+usage)
			return nil
		}
	}
	if len(words) > 2 {
		s.failAt(words, 2, fmt.Sprintf("unexpected %q after BASE rootfs cache", shorten(words[2])), "write "+usage+"; flags stand before the words")
		return nil
	}
	return i
}
