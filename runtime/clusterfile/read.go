package clusterfile

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what aliases may blow a file up to.
const maxNodes = 200_000

// maxDepth bounds data within data: an alias may stand within itself.
const maxDepth = 100

// reader puts a tree of YAML into our types. It knows no field by name: what
// there is, and what may stand there, is in the types and in fields.
type reader struct {
	*mistakes
	fields map[string]field
	lines  map[string]int // where a value is, by its path
	nodes  int
	depth  int // of data
}

// document reads our document.
func (r *reader) document(n *yaml.Node, f *File) {
	r.value(n, reflect.ValueOf(f).Elem(), "", field{})
	r.cross(f)
}

// line returns the line of a value, or the one that it would stand below.
func (r *reader) line(at string) int {
	for at != "" {
		if l, ok := r.lines[at]; ok {
			return l
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return r.lines[""]
}

// join makes the path of a field.
func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// value reads one value. at is its path, f what must be true of it.
func (r *reader) value(n *yaml.Node, v reflect.Value, at string, f field) {
	r.lines[at] = n.Line
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.exhausted(n.Line) {
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		if f.required {
			r.add(n.Line, "%s is empty: %s", at, f.doc)
		}
		return
	}
	switch v.Interface().(type) {
	case Strings:
		r.list(n, v, at, f)
		return
	case map[string]any:
		if data, ok := r.any(n, at).(map[string]any); ok {
			v.Set(reflect.ValueOf(data))
		} else {
			r.mistyped(n, at, "fields with values")
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		r.object(n, v, at)
	case reflect.Map:
		r.texts(n, v, at)
	case reflect.Slice:
		r.list(n, v, at, f)
	default:
		r.scalar(n, v, at, f)
	}
}

// pairs calls each with the keys and values of a mapping, and refuses keys that
// come twice.
func (r *reader) pairs(n *yaml.Node, at string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.mistyped(n, at, "fields with values")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch before, twice := seen[k.Value]; {
		case k.Tag == "!!merge":
			r.add(k.Line, "%s: << is not understood here: write the fields out", orFile(at))
		case k.Kind != yaml.ScalarNode:
			r.add(k.Line, "%s: the name of a field is a text", orFile(at))
		case twice:
			r.add(k.Line, "%s is given twice, first in line %d: keep one", join(at, k.Value), before)
		default:
			seen[k.Value] = k.Line
			each(k, v)
		}
	}
}

// exhausted reports whether the file has become too large.
func (r *reader) exhausted(line int) bool {
	r.nodes++
	if r.nodes <= maxNodes && r.depth > maxDepth {
		r.add(line, "data is more than %d levels deep: check the aliases", maxDepth)
		r.nodes = maxNodes + 2 // said once
	}
	if r.nodes == maxNodes+1 {
		r.add(line, "there are more than %d values: check the aliases", maxNodes)
	}
	return r.nodes > maxNodes
}

func orFile(at string) string {
	if at == "" {
		return "the document"
	}
	return at
}

// object reads the fields of one of our types.
func (r *reader) object(n *yaml.Node, v reflect.Value, at string) {
	index := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name := fieldName(v.Type().Field(i))
		index[name] = i
		names = append(names, name)
	}
	given := map[string]bool{}
	r.pairs(n, at, func(key, value *yaml.Node) {
		i, ok := index[key.Value]
		if !ok {
			r.unknown(key, at, names)
			return
		}
		given[key.Value] = true
		r.value(value, v.Field(i), join(at, key.Value), r.fields[v.Type().Name()+"."+key.Value])
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, name := range names {
		if f := r.fields[v.Type().Name()+"."+name]; f.required && !given[name] {
			r.add(n.Line, "%s is missing: %s", join(at, name), f.doc)
		}
	}
}

// unknown refuses a field. One that exists elsewhere is told where.
func (r *reader) unknown(key *yaml.Node, at string, names []string) {
	h := hint(key.Value, names)
	if h == "" {
		var places []string
		for name := range r.fields {
			if typ, field, _ := strings.Cut(name, "."); field == key.Value {
				places = append(places, place(typ)+field)
			}
		}
		slices.Sort(places)
		if len(places) > 0 {
			h = ": did you mean " + strings.Join(places, " or ") + "?"
		} else {
			h = ": here may stand " + strings.Join(names, ", ")
		}
	}
	r.add(key.Line, "unknown field %s%s", join(at, shorten(key.Value)), h)
}

// place is where the fields of a type stand.
func place(typ string) string {
	switch typ {
	case "File":
		return ""
	case "Metadata":
		return "metadata."
	case "Spec":
		return "spec."
	case "SSH":
		return "ssh."
	case "Host", "Hook":
		return "spec." + strings.ToLower(typ) + "s[]."
	case "Config":
		return "spec.config[]."
	}
	return "spec." + strings.ToLower(typ[:1]) + typ[1:] + "."
}

func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// list reads a list. Of texts, a single one need not be in a list.
func (r *reader) list(n *yaml.Node, v reflect.Value, at string, f field) {
	texts := v.Type().Elem().Kind() == reflect.String
	_, one := v.Interface().(Strings)
	items := n.Content
	switch {
	case n.Kind == yaml.SequenceNode:
	case one && n.Kind == yaml.ScalarNode:
		items = []*yaml.Node{n}
	case texts && n.Kind == yaml.ScalarNode:
		r.add(n.Line, "%s is %s, it must be a list: write [%s]", at, what(n), shorten(n.Value))
		return
	default:
		r.mistyped(n, at, "a list")
		return
	}
	if f.required && len(items) == 0 {
		r.add(n.Line, "%s is empty: %s", at, f.doc)
	}
	each := f
	each.required = true // what is nothing means nothing in a list
	if !texts {
		each.doc = "write its fields, or remove the dash"
	}
	for i, item := range items {
		place := at
		if n.Kind == yaml.SequenceNode {
			place = fmt.Sprintf("%s[%d]", at, i)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		r.value(item, e, place, each)
		v.Set(reflect.Append(v, e))
	}
}

// texts reads a map of texts: labels or settings.
func (r *reader) texts(n *yaml.Node, v reflect.Value, at string) {
	v.Set(reflect.MakeMap(v.Type()))
	isEnv := strings.HasSuffix(at, "env")
	r.pairs(n, at, func(key, value *yaml.Node) {
		place := join(at, key.Value)
		var err error
		if isEnv {
			err = checkEnv(key.Value)
		} else {
			err = checkKey(key.Value)
		}
		if err != nil {
			r.add(key.Line, "%s: %v", at, err)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		r.value(value, e, place, field{})
		text := e.String()
		switch {
		case isEnv && inClear(secretEnv, key.Value, text):
			r.add(value.Line, "%s: %v", place, errClear)
		case !isEnv && err == nil:
			if err := checkLabel(key.Value, text); err != nil {
				r.bad(value.Line, place, text, err)
			}
		}
		v.SetMapIndex(reflect.ValueOf(key.Value), e)
	})
}
