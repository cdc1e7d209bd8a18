package find

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is one key of a mapping and its value.
type field struct {
	key   string
	value *yaml.Node
}

// resolved returns the node that an alias stands for, or the node. It is nil
// for nil.
func resolved(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// get returns the value of a key, or nil. Of keys that are given twice the last
// one counts, as it does for kubectl; then those of merged mappings.
func get(n *yaml.Node, key string) *yaml.Node {
	n = resolved(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	merges := false
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		switch k := n.Content[i]; {
		case isMerge(k):
			merges = true
		case k.Kind == yaml.ScalarNode && k.Value == key:
			return resolved(n.Content[i+1])
		}
	}
	if !merges {
		return nil
	}
	for _, f := range fields(n) {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

// at returns what a path of keys leads to, or nil.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = get(n, key)
	}
	return resolved(n)
}

// fields returns the keys of a mapping with what is merged into it, each once.
func fields(n *yaml.Node) []field {
	n = resolved(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var found []field
	collect(n, map[string]bool{}, map[*yaml.Node]bool{}, &found)
	return found
}

// collect adds the keys of a mapping that are not there yet. Each mapping is
// visited once: a second visit would add nothing.
func collect(n *yaml.Node, have map[string]bool, visited map[*yaml.Node]bool, to *[]field) {
	if visited[n] {
		return
	}
	visited[n] = true
	first := len(*to)
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		k := resolved(n.Content[i])
		if k == nil || k.Kind != yaml.ScalarNode || isMerge(k) || have[k.Value] {
			continue
		}
		have[k.Value] = true
		*to = append(*to, field{k.Value, resolved(n.Content[i+1])})
	}
	for i, j := first, len(*to)-1; i < j; i, j = i+1, j-1 {
		(*to)[i], (*to)[j] = (*to)[j], (*to)[i] // back to the order of the text
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		for _, from := range items(n.Content[i+1]) {
			if from = resolved(from); from != nil && from.Kind == yaml.MappingNode {
				collect(from, have, visited, to)
			}
		}
	}
}

// isMerge reports whether a key is "<<", https://yaml.org/type/merge.html.
func isMerge(k *yaml.Node) bool { return k.Kind == yaml.ScalarNode && k.Tag == "!!merge" }

// items returns the elements of a sequence, or a value alone.
func items(n *yaml.Node) []*yaml.Node {
	n = resolved(n)
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// sequence returns the elements of a sequence, and nothing for anything else.
func sequence(n *yaml.Node) []*yaml.Node {
	if n = resolved(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// str returns a string without the blanks around it, and "" for anything else.
func str(n *yaml.Node) string {
	if n = resolved(n); n == nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		return ""
	}
	return strings.TrimSpace(n.Value)
}

// text returns a string or number as it is written, and "" for anything else.
// Tags like 1.25 are often not quoted.
func text(n *yaml.Node) string {
	n = resolved(n)
	if n != nil && n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		return n.Value
	}
	return str(n)
}

// isMapping reports whether n is one.
func isMapping(n *yaml.Node) bool {
	n = resolved(n)
	return n != nil && n.Kind == yaml.MappingNode
}
