package find

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/artifact"
)

// environment finds what looks like an image in the environment variables and
// arguments of a container: a reference with a registry and a tag or digest,
// and one without a registry where the name says image.
func (w *walk) environment(c *yaml.Node) {
	for _, e := range sequence(get(c, "env")) {
		w.under("env/"+str(get(e, "name")), func() { w.value(at(e, "value"), "", str(get(e, "name"))) })
	}
	for _, list := range []string{"command", "args"} {
		before := "" // the flag that has its value in the next argument
		for _, a := range sequence(get(c, list)) {
			a = resolved(a)
			arg := str(a)
			name, value, ok := strings.Cut(arg, "=")
			switch {
			case ok && strings.HasPrefix(name, "-"):
				w.under(list+"/"+name, func() { w.value(a, value, name) })
			case !strings.HasPrefix(arg, "-"):
				w.under(list+"/"+before, func() { w.value(a, "", before) })
			}
			if before = ""; strings.HasPrefix(arg, "-") && !ok {
				before = arg
			}
		}
	}
}

// value looks at the value of a variable or flag: part, or all of the node. It
// may be a list of images, each with something like a version before it.
func (w *walk) value(n *yaml.Node, part, name string) {
	if part == "" {
		part = str(n)
	}
	want := addressed
	if strings.Contains(strings.ToLower(name), "image") {
		want = pinned
	}
	words := strings.FieldsFunc(part, func(r rune) bool { return unicode.IsSpace(r) || r == ',' })
	for _, word := range words {
		if len(words) > 1 {
			word, want = word[strings.LastIndexByte(word, '=')+1:], addressed
		}
		ref, ok := likely(word, want)
		if !ok || w.skip.image(word) || !w.enter(n, "found "+word) {
			continue
		}
		if w.o.EnvImages {
			w.keep(ref, w.line(n))
		} else {
			w.unasked = append(w.unasked, finding{ref: ref, line: w.line(n)})
		}
	}
}

// tellUnasked tells once of images that only EnvImages collects.
func (w *walk) tellUnasked() {
	found := map[artifact.Reference]bool{}
	for _, f := range w.found {
		found[f.ref] = true
	}
	left := slices.DeleteFunc(w.unasked, func(f finding) bool { return found[f.ref] })
	if len(left) > 0 {
		also := ""
		if n := len(left) - 1; n > 0 {
			also = fmt.Sprintf(" and %d more images", n)
		}
		w.note(left[0].line, fmt.Sprintf("%s%s in environment variables or arguments here: only BASE --env collects such images", left[0].ref.Familiar(), also))
	}
}
