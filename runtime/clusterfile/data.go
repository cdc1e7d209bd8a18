package clusterfile

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// any reads data that is somebody else's: texts, numbers, lists, fields. It is
// data that JSON can hold too.
func (r *reader) any(n *yaml.Node, at string) any {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.exhausted(n.Line) {
		return nil
	}
	r.depth++
	defer func() { r.depth-- }()
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		r.pairs(n, at, func(key, value *yaml.Node) {
			place := join(at, key.Value)
			if value.Kind == yaml.ScalarNode && value.Tag == "!!str" && inClear(secretKey, key.Value, value.Value) {
				r.add(value.Line, "%s: %v", place, errClear)
			}
			out[key.Value] = r.any(value, place)
		})
		return out
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, c := range n.Content {
			out = append(out, r.any(c, fmt.Sprintf("%s[%d]", at, i)))
		}
		return out
	}
	if n.Tag == "!!str" || n.Tag == "!!timestamp" {
		if privatePE.MatchString(n.Value) {
			r.add(n.Line, "%s: %v", at, errClear)
		}
		return n.Value
	}
	var v any
	err := n.Decode(&v)
	if err == nil {
		_, err = json.Marshal(v)
	}
	if _, isBytes := v.([]byte); err != nil || isBytes {
		r.add(n.Line, "%s is %q: only texts, numbers, true, false and null can stand here", at, shorten(n.Value))
		return nil
	}
	return v
}
