package find

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
)

// maxDocument is the largest YAML document that is looked at, in bytes. etcd
// takes objects of 1.5 MiB; Lists may be larger.
const maxDocument = 16 << 20

// inObjects finds the images of the Kubernetes objects in a YAML or JSON text.
// where makes a place of a line of the text, 1-based. Documents without
// apiVersion and kind are none and name no images.
func inObjects(text []byte, where func(line int) string, skip *ignored, o Options) ([]airgap.Image, error) {
	w := look(text, where, skip, o)
	var images []airgap.Image
	for _, f := range w.found {
		images = append(images, airgap.Image{Ref: f.ref, Where: where(f.line)})
	}
	return images, errors.Join(w.bad...)
}

// look walks through the objects of a text.
func look(text []byte, where func(line int) string, skip *ignored, o Options) *walk {
	w := &walk{where: where, skip: skip, o: o, noted: map[notePlace]bool{}}
	w.text(text)
	return w
}

// walk goes through objects and keeps what it finds.
type walk struct {
	where func(line int) string
	skip  *ignored
	o     Options

	base    int                // lines of the text before the document
	kind    string             // of the object in the document
	name    string             // likewise
	path    []string           // what leads to the node: the object, then keys
	seen    seen               // what was visited of the document
	found   []finding          // in the order of the walk
	unasked []finding          // what EnvImages would add
	bad     []error            // places that cannot be read
	noted   map[notePlace]bool // what Note was told, to tell it once
}

// seen are the nodes visited of a document. Aliases make a node appear many
// times; each is visited once for each way of looking at it.
type seen map[visit]bool

type visit struct {
	node *yaml.Node
	as   string
}

// notePlace is a line that the user was told of.
type notePlace struct {
	line int
	text string
}

// finding is one image of an object.
type finding struct {
	ref  artifact.Reference
	line int    // of the text, 1-based
	kind string // of the object in the document
	name string // likewise
	path string // which field of it, the same in each text that has it
}

// text walks through the documents of a text.
func (w *walk) text(text []byte) {
	template, noted := bytes.Contains(text, []byte("{{")), false
	for _, d := range documents(text) {
		if len(d.text) > maxDocument {
			w.bad = append(w.bad, fmt.Errorf("%s: a document of %d bytes: at most %d are looked at; split it, or name the file in .imageignore and its images in manifests/imageList",
				w.where(d.line+1), len(d.text), maxDocument))
			continue
		}
		err := d.nodes(func(n *yaml.Node, line int) {
			w.base, w.seen, w.path = line, seen{}, nil
			w.top(n)
		})
		var bad *yamlError
		switch {
		case !errors.As(err, &bad):
		case template && !noted: // once: most documents of such a file are like that
			noted = true
			w.note(bad.line, "a template, which is no YAML before it is filled in: name its images in manifests/imageList")
		case template:
		default:
			w.bad = append(w.bad, fmt.Errorf("%s: no YAML: %w: correct it, or name the file in .imageignore", w.where(bad.line), bad))
		}
	}
	slices.SortStableFunc(w.found, func(a, b finding) int { return a.line - b.line })
	w.tellUnasked()
}

// embedded walks through the objects of a text in a field.
func (w *walk) embedded(n *yaml.Node) {
	if !w.enter(n, "text") {
		return
	}
	first := n.Line // of the text; below the line of a | or >
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		first++
	}
	sub := look([]byte(n.Value), func(line int) string { return w.where(w.base + first - 1 + line) }, w.skip, w.o)
	for _, f := range sub.found {
		w.keep(f.ref, w.base+first-1+f.line)
	}
	w.bad = append(w.bad, sub.bad...)
}

// top walks through the value of a document.
func (w *walk) top(n *yaml.Node) {
	if apiVersion, kind := objectOf(n); kind != "" {
		w.object(n, apiVersion, kind, false)
		return
	}
	for _, item := range sequence(n) { // what generators write; kubectl wants a List
		if apiVersion, kind := objectOf(item); kind != "" {
			w.object(item, apiVersion, kind, false)
		}
	}
}

// objectOf returns apiVersion and kind of a Kubernetes object, and "" for
// anything else.
func objectOf(n *yaml.Node) (apiVersion, kind string) {
	apiVersion, kind = str(get(n, "apiVersion")), str(get(n, "kind"))
	if apiVersion == "" || kind == "" {
		return "", ""
	}
	return apiVersion, kind
}

// builtin are the API groups of Kubernetes itself: their objects hold images in
// pod specs alone. All other groups are those of custom resources.
var builtin = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"": true, "apps": true, "batch": true, "extensions": true, "autoscaling": true, "policy": true,
	"admissionregistration.k8s.io": true, "apiextensions.k8s.io": true, "apiregistration.k8s.io": true,
	"authentication.k8s.io": true, "authorization.k8s.io": true, "certificates.k8s.io": true,
	"coordination.k8s.io": true, "discovery.k8s.io": true, "events.k8s.io": true,
	"flowcontrol.apiserver.k8s.io": true, "kustomize.config.k8s.io": true, "networking.k8s.io": true,
	"node.k8s.io": true, "rbac.authorization.k8s.io": true, "resource.k8s.io": true,
	"scheduling.k8s.io": true, "storage.k8s.io": true, "storagemigration.k8s.io": true,
}

// core are the kinds of the group without a name that have no pod specs. Others
// that say so are OpenShift's old ones, like DeploymentConfig and Template, or
// objects whose group was forgotten.
var core = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"Binding": true, "ComponentStatus": true, "ConfigMap": true, "Endpoints": true, "Event": true, "LimitRange": true,
	"Namespace": true, "Node": true, "PersistentVolume": true, "PersistentVolumeClaim": true, "ResourceQuota": true,
	"Secret": true, "Service": true, "ServiceAccount": true,
}

// object walks through one object. loose is whether it is part of a custom
// resource, where fields may hold parameters.
func (w *walk) object(n *yaml.Node, apiVersion, kind string, loose bool) {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	if !w.enter(n, fmt.Sprint("object ", kind, loose)) {
		return
	}
	if one, isList := strings.CutSuffix(kind, "List"); isList && sequence(get(n, "items")) != nil {
		w.list(sequence(get(n, "items")), apiVersion, one, loose)
		return
	}
	name := str(at(n, "metadata", "name"))
	if len(w.path) == 0 {
		w.kind, w.name = kind, name
	}
	w.under(kind+"/"+name, func() {
		if keys, ok := podSpecs[kind]; ok && builtin[group] {
			w.pod(at(n, keys...), loose)
		} else if !builtin[group] || group == "" && !core[kind] {
			w.custom(n, group, kind)
		}
	})
}

// list walks through the items of a List, which need not say their kind when
// the list is one of a kind.
func (w *walk) list(list []*yaml.Node, apiVersion, kind string, loose bool) {
	for _, item := range list {
		if v, k := objectOf(item); k != "" {
			w.object(item, v, k, loose)
		} else if kind != "" {
			w.object(item, apiVersion, kind, loose)
		}
	}
}

// enter reports whether a node is visited this way for the first time.
func (w *walk) enter(n *yaml.Node, as string) bool {
	n = resolved(n)
	if n == nil || w.seen[visit{n, as}] {
		return false
	}
	w.seen[visit{n, as}] = true
	return true
}

// under walks with one more key in the path.
func (w *walk) under(key string, fn func()) {
	w.path = append(w.path, key)
	fn()
	w.path = w.path[:len(w.path)-1]
}

// line returns the line of the text that a node is in.
func (w *walk) line(n *yaml.Node) int { return w.base + n.Line }

// note tells the user something about a line, once.
func (w *walk) note(line int, text string) {
	if w.o.Note == nil || w.noted[notePlace{line, text}] {
		return
	}
	w.noted[notePlace{line, text}] = true
	w.o.Note(w.where(line) + ": " + text)
}
