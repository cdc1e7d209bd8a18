package kubefile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// flagKind says how a flag is written.
type flagKind int

const (
	oneValue flagKind = iota
	manyValues
	noValue // --name, --name=true or --name=false
)

// flagSpec is a flag that an instruction knows.
type flagSpec struct {
	name string
	kind flagKind
	// check returns what is wrong with a value, or "". It is not called for
	// values with variables.
	check func(value string) string
}

// flagsOf returns the flags of an instruction.
func flagsOf(keyword string) []flagSpec {
	switch keyword {
	case "FROM":
		return []flagSpec{{"platform", oneValue, checkPlatform}}
	case "COPY":
		return []flagSpec{{"from", oneValue, nil}, {"chmod", oneValue, checkMode}, {"chown", oneValue, checkOwner},
			{"exclude", manyValues, nil}, {"link", noValue, nil}, {"parents", noValue, nil}}
	case "ADD":
		return []flagSpec{{"checksum", oneValue, checkChecksum}, {"chmod", oneValue, checkMode}, {"chown", oneValue, checkOwner},
			{"exclude", manyValues, nil}, {"link", noValue, nil}}
	case "RUN":
		return []flagSpec{{"mount", manyValues, checkMount}, {"network", oneValue, checkNetwork}}
	case "BASE":
		return []flagSpec{{"platform", oneValue, checkPlatforms}, {"list", oneValue, nil}, {"keep-archives", noValue, nil}, {"env", noValue, nil}}
	}
	return nil
}

// flagAdvice returns what to do about a flag of Dockerfiles that Kubefiles do
// not know, or of another instruction.
func flagAdvice(keyword, name string) string {
	switch keyword + " --" + name {
	case "ADD --from", "RUN --from":
		return "write COPY --from"
	case "ADD --parents":
		return "write COPY --parents"
	case "ADD --keep-git-dir":
		return "ADD reads no git repositories: give the URL of an archive, such as https://github.com/OWNER/NAME/archive/refs/tags/TAG.tar.gz"
	case "ADD --unpack":
		return "ADD unpacks archives of the context and no remote ones: write COPY to keep one as it is, RUN tar to unpack a remote one"
	case "COPY --checksum":
		return "only ADD fetches remote files"
	case "COPY --platform", "RUN --platform":
		return "the platform is that of the stage: FROM --platform"
	case "RUN --security", "RUN --device":
		return "the build sandbox grants no further rights: remove it"
	}
	return ""
}

// flags are the values of an instruction's flags by name.
type flags map[string][]string

func (f flags) value(name string) string {
	if len(f[name]) == 0 {
		return ""
	}
	return f[name][0]
}

func (f flags) isTrue(name string) bool { return f.value(name) == "true" }

// flags checks the flags of the statement and returns their values.
func (s *statement) flags() flags {
	known := flagsOf(s.keyword)
	result := flags{}
	for n, written := range s.node.Flags {
		at := s.pos()
		if n < len(s.flagOffsets) {
			at = s.text.at(s.flagOffsets[n])
		}
		fail := func(message, hint string) {
			s.badFlags = true
			s.mistakes.add(at, shorten(written), message, hint)
		}
		written, ok := fromBytes(written)
		if !ok {
			fail("the flag is cut within a character", `put the value in double quotes: --name="value"`)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(written, "--"), "=")
		i := slices.IndexFunc(known, func(f flagSpec) bool { return f.name == name })
		if i < 0 {
			fail(unknownFlag(s.keyword, name, known))
			continue
		}
		spec := known[i]
		if spec.kind == noValue && !hasValue {
			value = "true"
		}
		switch message, hint := spec.mistake(value, s.src.escape); {
		case message != "":
			fail(message, hint)
		case spec.kind != manyValues && len(result[name]) > 0:
			fail(fmt.Sprintf("--%s is given twice", name), "remove one of them")
		default:
			result[name] = append(result[name], value)
		}
	}
	return result
}

// mistake returns what is wrong with a value of the flag.
func (f flagSpec) mistake(value string, escape rune) (message, hint string) {
	switch {
	case f.kind == noValue && value == "":
		return fmt.Sprintf("--%s= without a value", f.name), fmt.Sprintf("write --%s", f.name)
	case value == "":
		return fmt.Sprintf("--%s without a value", f.name), fmt.Sprintf("write --%s=<value>, without spaces around the =", f.name)
	case f.kind == noValue && value != "true" && value != "false":
		return fmt.Sprintf("--%s is true or false, not %q", f.name, shorten(value)), fmt.Sprintf("write --%s", f.name)
	}
	if strings.Contains(value, "<<") || escape == '`' && strings.ContainsAny(value, `'\`) {
		return fmt.Sprintf("--%s=%s: << and, with the escape character `, single quotes and backslashes cannot stand in a flag", f.name, shorten(value)), ""
	}
	if err := expandable(value, escape); err != nil && f.kind != noValue && f.name != "from" {
		return fmt.Sprintf("%v in --%s=%s", err, f.name, shorten(value)), "correct it"
	}
	if f.check != nil && !strings.Contains(value, "$") {
		if wrong := f.check(value); wrong != "" {
			return fmt.Sprintf("--%s=%s: %s", f.name, shorten(value), wrong), ""
		}
	}
	return "", ""
}

func unknownFlag(keyword, name string, known []flagSpec) (message, hint string) {
	message = fmt.Sprintf("unknown flag --%s in %s", shorten(name), keyword)
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	if hint := flagAdvice(keyword, name); hint != "" {
		return message, hint
	}
	if match, ok := suggest.Search(name, names, false); ok {
		return message, fmt.Sprintf("did you mean --%s?", strings.ToLower(match))
	}
	switch {
	case slices.Contains(names, strings.ToLower(name)):
		return message, fmt.Sprintf("did you mean --%s?", strings.ToLower(name))
	case slices.Contains([]string{"CMD", "ENTRYPOINT", "MAINTAINER"}, keyword):
		return message, fmt.Sprintf("text that begins with -- is written %s -- --%s", keyword, shorten(name))
	case len(names) == 0:
		return message, keyword + " has no flags"
	}
	return message, fmt.Sprintf("%s knows --%s", keyword, strings.Join(names, ", --"))
}

// fromBytes undoes what BuildKit's flag reader does to text: it takes every
// byte for a character. It returns false if that also cut the flag in two, at
// a byte which that reader takes for a space.
func fromBytes(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b), utf8.Valid(b)
}

// findFlags returns where the flags after the keyword at an offset begin, and
// where what follows them does. It walks as BuildKit's parser does.
func findFlags(t string, keyword int, escape rune) (offsets []int, rest int) {
	i := strings.IndexAny(t[keyword:], "\t\v\f\r ")
	if i < 0 {
		return nil, len(t)
	}
	i += keyword
	for {
		for i < len(t) && unicode.IsSpace(rune(t[i])) {
			i++
		}
		if !strings.HasPrefix(t[i:], "--") {
			return offsets, i
		}
		start := i
		end, length := skipWord(t, i, escape)
		i = end
		if length == len("--") {
			return offsets, i
		}
		offsets = append(offsets, start)
	}
}

// skipWord returns the end of the word at an offset, and the number of bytes
// which are left of it without quotes and escapes.
func skipWord(t string, i int, escape rune) (end, length int) {
	var quote byte
	for ; i < len(t) && (quote != 0 || !unicode.IsSpace(rune(t[i]))); i++ {
		switch c := t[i]; {
		case rune(c) == escape && i+1 < len(t):
			i++
			length++
		case rune(c) == escape:
		case quote == c:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		default:
			length++
		}
	}
	return i, length
}

// The forms of values.
var (
	platformRule = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$`)
	modeRule     = regexp.MustCompile(`^[0-7]{3,4}$`)
	ownerRule    = regexp.MustCompile(`^[^:\s]*(:[^:\s]+)?$`)
	checksumRule = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$`)
)

func checkPlatform(value string) string {
	if platformRule.MatchString(value) {
		return ""
	}
	return "a platform is written os/arch or os/arch/variant, such as linux/arm64"
}

func checkPlatforms(value string) string {
	for p := range strings.SplitSeq(value, ",") {
		if wrong := checkPlatform(p); wrong != "" {
			return wrong
		}
	}
	return ""
}

func checkMode(value string) string {
	if modeRule.MatchString(value) {
		return ""
	}
	return "a mode is three or four octal digits, such as 0755"
}

func checkOwner(value string) string {
	if ownerRule.MatchString(value) {
		return ""
	}
	return "an owner is written user, user:group or :group"
}

func checkChecksum(value string) string {
	if checksumRule.MatchString(value) {
		return ""
	}
	return "a checksum is written sha256: and 64 hexadecimal digits"
}

func checkNetwork(value string) string {
	if slices.Contains([]string{"none", "host", "default"}, value) {
		return ""
	}
	return "a network is none, host or default"
}

// checkMount asks BuildKit, which knows the many options of mounts.
func checkMount(value string) string {
	parsed, err := instructions.ParseInstruction(&parser.Node{
		Value: "run",
		Flags: []string{"--mount=" + value},
		Next:  &parser.Node{Value: "true"},
	})
	if run, ok := parsed.(*instructions.RunCommand); err == nil && ok {
		err = run.Expand(func(word string) (string, error) { return word, nil })
	}
	if err != nil {
		return innermost(err).Error()
	}
	return ""
}
