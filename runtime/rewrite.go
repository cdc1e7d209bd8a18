package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/artifact"
)

// imageKey are the keys whose value is an image: image of a container, and what
// custom resources call alike. An operator is told its images in variables.
var imageKey = regexp.MustCompile(`(?i)(image|^value)$`)

// RewriteImages returns Kubernetes objects in which the images that are inside
// have the names that they get in the registry. Comments and order stay. What
// pods name besides, which the cluster has to get elsewhere, is returned too.
func RewriteImages(objects []byte, inside []string, r RegistryView) (out []byte, others []string, err error) {
	w := rewriting{inside: inside, registry: r}
	dec := yaml.NewDecoder(bytes.NewReader(objects))
	var docs []*yaml.Node
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if err := w.node(&n); err != nil {
			return nil, nil, err
		}
		docs = append(docs, &n)
	}
	if !w.changed {
		return objects, w.others, nil
	}
	out, err = yamlText(docs...)
	return out, w.others, err
}

type rewriting struct {
	inside   []string
	registry RegistryView
	changed  bool
	others   []string
}

func (w *rewriting) node(n *yaml.Node) error {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && c.Kind == yaml.ScalarNode {
			if key := n.Content[i-1].Value; imageKey.MatchString(key) {
				if err := w.scalar(key, c); err != nil {
					return fmt.Errorf("line %d: %w", c.Line, err)
				}
			}
			continue
		}
		if err := w.node(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *rewriting) scalar(key string, n *yaml.Node) error {
	if !strings.ContainsAny(n.Value, ":/@") && key != "image" {
		return nil // a word that is no image
	}
	if !w.has(n.Value) {
		if key == "image" && !strings.HasPrefix(n.Value, w.registry.Prefix) && !slices.Contains(w.others, n.Value) {
			w.others = append(w.others, n.Value)
		}
		return nil
	}
	to, err := w.registry.image(n.Value)
	if err != nil {
		return err
	}
	n.Value, w.changed = to, true
	return nil
}

// has reports whether an image is inside: by its name and digest, or its whole
// name. What is no reference is not.
func (w *rewriting) has(name string) bool {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return false
	}
	if h, pinned := ref.Digest(); pinned && slices.Contains(w.inside, ref.Name()+"@"+h.String()) {
		return true
	}
	return slices.Contains(w.inside, ref.String())
}
