package clusterfile

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decimal is how a number is written: 022 is 18 to YAML, and 22 to people.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// boolean is what words mean that were true and false in YAML 1.1.
var boolean = map[string]string{"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"} //nolint:gochecknoglobals // a table that nothing changes

// scalar reads a text, a number, or true and false.
func (r *reader) scalar(n *yaml.Node, v reflect.Value, at string, f field) {
	want := map[reflect.Kind]string{reflect.String: "!!str", reflect.Int: "!!int", reflect.Int64: "!!int", reflect.Bool: "!!bool"}[v.Kind()]
	if n.Kind != yaml.ScalarNode || n.Tag != want && (want != "!!str" || n.Tag != "!!timestamp") {
		r.mistyped(n, at, map[string]string{"!!str": "a text", "!!int": "a whole number", "!!bool": "true or false"}[want])
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(strings.EqualFold(n.Value, "true"))
		return
	case reflect.Int, reflect.Int64:
		r.number(n, v, at, f)
		return
	}
	v.SetString(n.Value)
	switch {
	case n.Value == "":
		if f.required {
			r.add(n.Line, "%s is empty: %s", at, f.doc)
		}
	case strings.ContainsRune(n.Value, 0):
		r.add(n.Line, "%s holds a zero byte", at)
	case privatePE.MatchString(n.Value):
		r.add(n.Line, "%s: %v", at, errClear)
	case f.oneOf != nil && !slices.Contains(f.oneOf, n.Value):
		r.add(n.Line, "%s is %q: write %s%s", at, shorten(n.Value), choices(f.oneOf), hint(n.Value, f.oneOf))
	case f.check != nil:
		if err := f.check(n.Value); err != nil {
			r.bad(n.Line, at, n.Value, err)
		} else if urlWithIn.MatchString(n.Value) && inClear(secretKey, "", n.Value) {
			r.add(n.Line, "%s: %v", at, errClear)
		}
	}
}

func choices(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

func (r *reader) number(n *yaml.Node, v reflect.Value, at string, f field) {
	i, err := strconv.ParseInt(n.Value, 0, 64)
	switch {
	case !decimal.MatchString(n.Value):
		r.add(n.Line, "%s is %s: write the number with decimal digits, and no zero in front", at, shorten(n.Value))
	case err != nil || v.OverflowInt(i):
		r.add(n.Line, "%s is %s: that is no number that fits here", at, shorten(n.Value))
	case i < 0 && f.max == 0:
		r.add(n.Line, "%s is %d: it cannot be negative", at, i)
	case i < int64(f.min) || f.max > 0 && i > int64(f.max):
		r.add(n.Line, "%s is %d: write a number from %d to %d", at, i, f.min, f.max)
	default:
		v.SetInt(i)
	}
}

// mistyped refuses a value of another type.
func (r *reader) mistyped(n *yaml.Node, at, want string) {
	more := ""
	plain := n.Kind == yaml.ScalarNode && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case plain && want == "true or false" && boolean[strings.ToLower(n.Value)] != "":
		more = ": write " + boolean[strings.ToLower(n.Value)]
	case plain && want == "a whole number" && n.Tag == "!!float" && strings.HasPrefix(n.Value, "0"):
		more = ": write it with decimal digits, and no zero in front"
	case n.Kind == yaml.ScalarNode && want == "a text":
		more = fmt.Sprintf(": put it in quotes, %q", shorten(n.Value))
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && (want == "a whole number" || want == "true or false") && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		more = ": write it without quotes"
	}
	r.add(n.Line, "%s is %s, it must be %s%s", orFile(at), what(n), want, more)
}

// what names the type of a value.
func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields with values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	}
	return "a text"
}
