package clusterfile

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
)

// schemaID is where the schema is published.
const schemaID = "https://github.com/sealrt/sealrt/blob/main/docs/clusterfile.schema.json"

// object is an object of JSON.
type object map[string]any

// Schema returns the JSON schema of a Clusterfile
// (https://json-schema.org/draft/2020-12/schema), for editors and other tools.
// What Parse checks beyond it, such as a host that is given twice, a schema
// cannot say. The documents of distributions are not in it.
func Schema() ([]byte, error) {
	s := &schema{fields: fields()}
	root := s.object(reflect.TypeFor[File]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = schemaID
	root["title"] = "Clusterfile of sealrt"
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(root)
	return out.Bytes(), err
}

type schema struct{ fields map[string]field }

func (s *schema) object(t reflect.Type) object {
	properties := object{}
	required := []string{}
	for i := range t.NumField() {
		name := fieldName(t.Field(i))
		f := s.fields[t.Name()+"."+name]
		properties[name] = s.property(t.Field(i).Type, f)
		if f.required {
			required = append(required, name)
		}
	}
	out := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// property is the schema of one field.
func (s *schema) property(t reflect.Type, f field) object {
	p := s.typed(t, f)
	p["description"] = f.doc
	if f.preset != "" {
		var v any = f.preset
		if t.Kind() != reflect.String {
			if err := json.Unmarshal([]byte(f.preset), &v); err != nil {
				v = f.preset
			}
		}
		p["default"] = v
	}
	return p
}

func (s *schema) typed(t reflect.Type, f field) object {
	each := f
	each.required = true // what is nothing means nothing in a list
	switch t {
	case reflect.TypeFor[Strings]():
		many := object{"type": "array", "items": text(each)}
		if f.required {
			many["minItems"] = 1
		}
		return object{"anyOf": []object{text(f), many}}
	case reflect.TypeFor[map[string]any]():
		return orNothing(object{"type": "object"}, f)
	}
	switch t.Kind() {
	case reflect.Struct:
		return orNothing(s.object(t), f)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return orNothing(object{"type": "array", "items": s.object(t.Elem())}, f)
		}
		return orNothing(object{"type": "array", "items": text(each)}, f)
	case reflect.Map:
		return orNothing(texts(f), f)
	case reflect.Bool:
		return orNothing(object{"type": "boolean"}, f)
	case reflect.Int, reflect.Int64:
		n := object{"type": "integer", "minimum": f.min}
		if f.max > 0 {
			n["maximum"] = f.max
		}
		return orNothing(n, f)
	}
	return text(f)
}

// text is the schema of one text.
func text(f field) object {
	t := object{"type": "string"}
	optional := ""
	if !f.required {
		optional = "?"
	}
	switch {
	case f.oneOf != nil:
		list := []any{}
		for _, word := range f.oneOf {
			list = append(list, word)
		}
		if !f.required {
			list = append(list, "", nil)
		}
		t["enum"] = list
	case f.pattern != "":
		t["pattern"] = "^(" + f.pattern + ")" + optional + "$"
	case f.required:
		t["minLength"] = 1
	}
	return orNothing(t, f)
}

// texts is the schema of settings or labels.
func texts(f field) object {
	value := object{}
	if f.values != "" {
		value["pattern"] = "^(" + f.values + ")?$"
	}
	value["type"] = []string{"string", "null"}
	return object{"type": "object", "propertyNames": object{"pattern": "^(" + f.pattern + ")$"}, "additionalProperties": value}
}

// orNothing lets a field that may be left away also be there without a value.
func orNothing(o object, f field) object {
	if !f.required {
		o["type"] = []any{o["type"], "null"}
	}
	return o
}

// Reference returns the table of all fields as docs/clusterfile.md has it, in
// Markdown.
func Reference() string {
	var out bytes.Buffer
	out.WriteString("| field | type | what it is | default |\n|---|---|---|---|\n")
	all := fields()
	var rows func(t reflect.Type, at string)
	rows = func(t reflect.Type, at string) {
		for i := range t.NumField() {
			name := fieldName(t.Field(i))
			f, typ := all[t.Name()+"."+name], t.Field(i).Type
			what, inner, next := kindOf(typ), typ, join(at, name)
			if typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct {
				inner, next = typ.Elem(), next+"[]"
			}
			doc := f.doc
			if len(f.oneOf) > 1 {
				doc += " One of: " + choices(f.oneOf) + "."
			}
			if f.required {
				doc += " **Required.**"
			}
			out.WriteString("| `" + next + "` | " + what + " | " + doc + " | " + quoted(f.preset) + " |\n")
			if inner.Kind() == reflect.Struct && next != "spec.hosts[].ssh" {
				rows(inner, next)
			}
		}
	}
	rows(reflect.TypeFor[File](), "")
	return out.String()
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	if _, err := strconv.Atoi(s); err == nil {
		return s
	}
	return "`" + s + "`"
}

// kindOf names a type for people.
func kindOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Strings]():
		return "text or list"
	case reflect.TypeFor[map[string]any]():
		return "data"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "fields"
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "texts by name"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "number"
	}
	return "text"
}
