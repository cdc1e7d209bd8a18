package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// The strategies of a config document.
const (
	strategyMerge   = "merge"
	strategyReplace = "replace"
)

// textKey is where a config document has the content of a file that is neither
// YAML, JSON nor TOML.
const textKey = "text"

// configured returns a file with a config document in it. Maps are merged, key
// by key; everything else, lists too, becomes the user's; null removes the key.
func configured(name string, file []byte, doc clusterfile.Config) ([]byte, error) {
	data, _ := exact(doc.Data).(map[string]any)
	if doc.Strategy != "" && doc.Strategy != strategyMerge && doc.Strategy != strategyReplace {
		return nil, fmt.Errorf("strategy %q: write %s or %s", doc.Strategy, strategyMerge, strategyReplace)
	}
	replace := doc.Strategy == strategyReplace
	switch path.Ext(strings.TrimSuffix(name, TemplateSuffix)) {
	case ".yaml", ".yml":
		if replace {
			return yamlText(data)
		}
		return mergedYAML(file, data)
	case ".json":
		have := map[string]any{}
		if !replace && len(bytes.TrimSpace(file)) > 0 {
			dec := json.NewDecoder(bytes.NewReader(file))
			dec.UseNumber()
			if err := dec.Decode(&have); err != nil {
				return nil, err
			}
		}
		raw, err := json.MarshalIndent(mergedMap(have, data), "", "  ")
		return append(raw, '\n'), err
	case ".toml":
		have := map[string]any{}
		if !replace {
			if err := toml.Unmarshal(file, &have); err != nil {
				return nil, err
			}
		}
		return toml.Marshal(mergedMap(have, data))
	}
	text, ok := data[textKey].(string)
	if !replace || !ok || len(data) > 1 {
		return nil, fmt.Errorf("it is neither YAML, JSON nor TOML: such a file can only be replaced, with strategy: %s and data: {%s: ...}", strategyReplace, textKey)
	}
	return []byte(text), nil
}

// mergedMap returns the map with the data in it.
func mergedMap(have, data map[string]any) map[string]any {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range data {
		own, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap:
			theirs, _ := out[k].(map[string]any)
			out[k] = mergedMap(theirs, own)
		default:
			out[k] = v
		}
	}
	return out
}

// exact returns a value in which whole numbers are integers: a document that
// was read as JSON has floating point numbers only, and 1e+07 is no port.
func exact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, w := range v {
			out[k] = exact(w)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, w := range v {
			out[i] = exact(w)
		}
		return out
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	}
	return v
}

// mergedYAML merges data into a file of YAML, whose order and comments stay. Of
// several documents it is the one of the same kind.
func mergedYAML(file []byte, data map[string]any) ([]byte, error) {
	var docs []*yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(file))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(n.Content) == 1 && n.Content[0].Kind == yaml.MappingNode {
			docs = append(docs, &n)
		} else if n.Content[0].Tag != "!!null" {
			return nil, fmt.Errorf("line %d: a document that is no map takes no data: use strategy: %s", n.Line, strategyReplace)
		}
	}
	to, err := documentFor(docs, data)
	if err != nil {
		return nil, err
	}
	if to == nil {
		to = &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
		docs = append(docs, to)
	}
	if err := mergeNode(to.Content[0], data); err != nil {
		return nil, err
	}
	return yamlText(docs...)
}

// documentFor returns the document that the data is for; nil is a new one.
func documentFor(docs []*yaml.Node, data map[string]any) (*yaml.Node, error) {
	kind, _ := data["kind"].(string)
	if kind == "" && len(docs) > 1 {
		var kinds []string
		for _, d := range docs {
			kinds = append(kinds, scalar(d.Content[0], "kind"))
		}
		return nil, fmt.Errorf("it has several documents: say in data which one, kind: %s", strings.Join(kinds, " or "))
	}
	for _, d := range docs {
		if have := scalar(d.Content[0], "kind"); kind == "" || have == kind || have == "" && len(docs) == 1 {
			return d, nil
		}
	}
	return nil, nil
}

// scalar returns the value of a key of a map, or "".
func scalar(n *yaml.Node, key string) string {
	if i := valueAt(n, key); i >= 0 {
		return n.Content[i].Value
	}
	return ""
}

// valueAt returns the place of a key's value in a map, or -1.
func valueAt(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i + 1
		}
	}
	return -1
}

// mergeNode merges data into a map. New keys go to its end, in their own order.
func mergeNode(n *yaml.Node, data map[string]any) error {
	for _, k := range slices.Sorted(maps.Keys(data)) {
		i := valueAt(n, k)
		own, isMap := data[k].(map[string]any)
		if data[k] == nil {
			if i >= 0 {
				n.Content = slices.Delete(n.Content, i-1, i+1)
			}
			continue
		}
		if i >= 0 && isMap {
			at := n.Content[i]
			if at.Kind == yaml.AliasNode { // what the anchor means elsewhere stays
				at = clone(at.Alias)
				n.Content[i] = at
			}
			if at.Kind == yaml.MappingNode {
				if err := mergeNode(at, own); err != nil {
					return err
				}
				continue
			}
		}
		v := data[k]
		if isMap {
			v = mergedMap(nil, own)
		}
		var fresh yaml.Node
		if err := fresh.Encode(v); err != nil {
			return err
		}
		if i >= 0 {
			n.Content[i] = &fresh
		} else {
			var key yaml.Node
			if err := key.Encode(k); err != nil { // quoted where it looks like something else
				return err
			}
			n.Content = append(n.Content, &key, &fresh)
		}
	}
	return nil
}

// clone copies a node and what is below it, without its anchor.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Anchor, c.Content = "", nil
	for _, child := range n.Content {
		c.Content = append(c.Content, clone(child))
	}
	return &c
}

// yamlText writes documents.
func yamlText[T any](docs ...T) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, d := range docs {
		if err := enc.Encode(d); err != nil {
			return nil, err
		}
	}
	err := enc.Close()
	return out.Bytes(), err
}
