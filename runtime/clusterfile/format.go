package clusterfile

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Format writes a document as Parse reads it: fields in the order of our types,
// empty ones left away, and the distribution's documents as they were.
// Comments of the user's are not kept.
func Format(d *Document) ([]byte, error) { return write(d, &writer{fields: fields()}) }

// Explain writes a document with every field that there is, those that are not
// given with their defaults, and with comments that say what they are.
func Explain(d *Document) ([]byte, error) {
	return write(d, &writer{all: true, fields: fields(), told: map[string]bool{}})
}

func write(d *Document, w *writer) ([]byte, error) {
	n, err := w.value(reflect.ValueOf(d.File), true)
	if err != nil {
		return nil, fmt.Errorf("write the Clusterfile: %w", err)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return nil, fmt.Errorf("write the Clusterfile: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write the Clusterfile: %w", err)
	}
	for _, o := range d.Others {
		out.WriteString("---\n" + strings.TrimLeft(o.Raw, "\r\n"))
		if !strings.HasSuffix(o.Raw, "\n") {
			out.WriteByte('\n')
		}
	}
	return out.Bytes(), nil
}

// writer turns our types into a tree of YAML.
type writer struct {
	all    bool // fields that are not given too, with comments
	fields map[string]field
	told   map[string]bool // types whose fields were explained once
}

// value writes one value.
func (w *writer) value(v reflect.Value, explain bool) (*yaml.Node, error) {
	switch s := v.Interface().(type) {
	case Strings:
		if len(s) == 1 && !w.all {
			return scalar(s[0])
		}
	case map[string]any:
		n := &yaml.Node{}
		return n, n.Encode(s)
	}
	switch v.Kind() {
	case reflect.Struct:
		return w.object(v, explain)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			item, err := w.value(v.Index(i), explain && i == 0)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		if v.Type().Elem().Kind() == reflect.String {
			n.Style = yaml.FlowStyle
		}
		return n, nil
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, k := range keys {
			key, err := scalar(k.String())
			if err != nil {
				return nil, err
			}
			item, err := scalar(v.MapIndex(k).Interface())
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, key, item)
		}
		return n, nil
	}
	return scalar(v.Interface())
}

func scalar(v any) (*yaml.Node, error) {
	n := &yaml.Node{}
	return n, n.Encode(v)
}

// object writes the fields of one of our types.
func (w *writer) object(v reflect.Value, explain bool) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	typ := v.Type()
	all := w.all && explain && !w.told[typ.Name()]
	if w.all {
		w.told[typ.Name()] = true
	}
	for i := range typ.NumField() {
		name, f := fieldName(typ.Field(i)), v.Field(i)
		given := !empty(f)
		d := w.fields[typ.Name()+"."+name]
		optional := strings.Contains(typ.Field(i).Tag.Get("json"), ",omit")
		if !given && (!all && optional || name == "revision") || !given && !w.all && !d.required {
			continue
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
		if all {
			key.HeadComment = comment(d)
		}
		item, err := w.field(f, d, given, all)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, item)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n, nil
}

// field writes the value of a field, or its default.
func (w *writer) field(f reflect.Value, d field, given, all bool) (*yaml.Node, error) {
	if !given && all && d.preset != "" {
		n := &yaml.Node{}
		if err := yaml.Unmarshal([]byte(d.preset), n); err != nil {
			return nil, err
		}
		return n.Content[0], nil
	}
	return w.value(f, all)
}

// empty reports whether a field says nothing: an empty map that data holds says
// something, one of ours does not.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

// comment is what stands above a field.
func comment(d field) string {
	text := d.doc
	if len(d.oneOf) > 1 && len(d.oneOf) < 9 {
		text += " One of " + strings.Join(d.oneOf, ", ") + "."
	}
	if d.preset != "" && !d.required {
		text += " Default: " + d.preset + "."
	}
	return wrap(text, 96)
}

// wrap breaks a text into lines.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
