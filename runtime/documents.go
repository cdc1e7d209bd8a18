package runtime

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// WithDocuments returns a text of YAML with the Clusterfile's documents of these
// kinds in it: what they say wins, false and empty values included, and null
// takes a key away. A kind that the text does not have comes to its end.
func (c *Cluster) WithDocuments(text string, kinds ...string) (string, error) {
	raw := []byte(text)
	for _, o := range c.Others {
		if !slices.Contains(kinds, o.Kind) {
			continue
		}
		var data map[string]any
		err := yaml.Unmarshal([]byte(o.Raw), &data)
		if err == nil {
			raw, err = mergedYAML(raw, data)
		}
		if err != nil {
			return "", fmt.Errorf("%s in line %d of the Clusterfile: %w", o.Kind, o.Line, err)
		}
	}
	return string(raw), nil
}

// OnlyDocuments refuses documents of the Clusterfile that a driver does not take:
// they would change nothing.
func (c *Cluster) OnlyDocuments(taken func(clusterfile.Other) bool) error {
	for _, o := range c.Others {
		if taken(o) {
			continue
		}
		name := strings.TrimSpace(o.APIVersion + " " + o.Kind)
		if name == "" {
			name = "a configuration of k3s"
		}
		return fmt.Errorf("line %d of the Clusterfile: %s has no effect on such a cluster in this version of sealrt: take the document out", o.Line, name)
	}
	return nil
}
