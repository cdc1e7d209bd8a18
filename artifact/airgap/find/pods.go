package find

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/artifact"
)

// podSpecs says where the kinds of Kubernetes hold a pod spec
// (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/).
var podSpecs = map[string][]string{ //nolint:gochecknoglobals // a table that nothing changes
	"Pod":                   {"spec"},
	"PodTemplate":           {"template", "spec"},
	"ReplicationController": {"spec", "template", "spec"},
	"ReplicaSet":            {"spec", "template", "spec"},
	"Deployment":            {"spec", "template", "spec"},
	"StatefulSet":           {"spec", "template", "spec"},
	"DaemonSet":             {"spec", "template", "spec"},
	"Job":                   {"spec", "template", "spec"},
	"DeploymentConfig":      {"spec", "template", "spec"}, // OpenShift's, from before API groups
	"CronJob":               {"spec", "jobTemplate", "spec", "template", "spec"},
}

// containerLists are the fields of a pod spec that hold containers.
var containerLists = [...]string{"initContainers", "containers", "ephemeralContainers"} //nolint:gochecknoglobals // a table that nothing changes

// injected is what Istio's documentation has its gateways say in the place of
// an image: the sidecar injector replaces it.
const injected = "auto"

// pod finds the images of a pod spec: those of its containers, and those that
// are mounted (volumes[].image.reference).
func (w *walk) pod(spec *yaml.Node, loose bool) {
	if !isMapping(spec) || !w.enter(spec, fmt.Sprint("pod ", loose)) {
		return
	}
	for _, list := range containerLists {
		w.under(list, func() {
			for _, c := range sequence(get(spec, list)) {
				w.under(str(get(c, "name")), func() { w.container(c, loose) })
			}
		})
	}
	w.under("volumes", func() {
		for _, v := range sequence(get(spec, "volumes")) {
			if n := at(v, "image", "reference"); n != nil {
				w.under(str(get(v, "name")), func() { w.image(n, loose) })
			}
		}
	})
}

// container finds the image of a container, and those that its environment and
// arguments name: they are kept on request, and told of otherwise.
func (w *walk) container(c *yaml.Node, loose bool) {
	if !isMapping(c) || !w.enter(c, fmt.Sprint("container ", loose)) {
		return
	}
	if n := at(c, "image"); n != nil { // without the field it is a patch, or a webhook has something to fill in
		w.under("image", func() { w.image(n, loose) })
	}
	if w.o.EnvImages || w.o.Note != nil {
		w.environment(c)
	}
}

// image reads the image of a container. Where Kubernetes reads the field itself
// everything that is no reference is an error: such a pod never starts. In a
// custom resource, loose, an operator may fill in parameters or patterns.
//
// An empty image is no error: kubectl refuses it unless a webhook fills it in,
// and no image is missing because of it.
func (w *walk) image(n *yaml.Node, loose bool) {
	written := strings.TrimSpace(n.Value)
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && written == injected:
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || written == ""):
		if !loose {
			w.note(w.line(n), "a container without an image, which Kubernetes refuses unless a webhook sets it")
		}
	case n.Kind != yaml.ScalarNode && loose: // custom looks at it
	case n.Kind != yaml.ScalarNode || n.Tag != "!!str" && !loose:
		w.refuse(n, errors.New("the image of a container is a string: write it in quotes"))
	case w.skip.image(written):
	case strings.Contains(written, "{{") || loose && isParameter(written):
		w.parameter(n, written)
	case loose && isPattern(written):
	default:
		ref, err := artifact.ParseReference(written)
		switch {
		case err == nil:
			w.add(n, ref)
		case loose:
			w.note(w.line(n), fmt.Sprintf("%v: if it is an image, name it in manifests/imageList", err))
		default:
			w.refuse(n, err)
		}
	}
}

// add keeps a finding. A node counts once, whichever rules find it.
func (w *walk) add(n *yaml.Node, ref artifact.Reference) {
	if w.enter(n, "found") {
		w.keep(ref, w.line(n))
	}
}

// keep keeps a finding in a line.
func (w *walk) keep(ref artifact.Reference, line int) {
	w.found = append(w.found, finding{ref: ref, line: line, kind: w.kind, name: w.name, path: strings.Join(w.path[1:], "/")})
}

// refuse keeps an error about a node.
func (w *walk) refuse(n *yaml.Node, err error) {
	if w.enter(n, "found") {
		w.bad = append(w.bad, fmt.Errorf("%s: %w; correct it, or name it in .imageignore", w.where(w.line(n)), err))
	}
}

// parameter tells of an image that is not known before something runs.
func (w *walk) parameter(n *yaml.Node, written string) {
	if w.enter(n, "found") {
		w.note(w.line(n), fmt.Sprintf("the image %s is filled in later: name what it becomes in manifests/imageList", written))
	}
}

// isParameter reports whether a text holds something that is to be replaced, in
// one of the usual languages: {{ }}, $( ), ${ }, <% %>.
func isParameter(s string) bool {
	for _, mark := range []string{"{{", "$(", "${", "<%", "%{"} {
		if strings.Contains(s, mark) {
			return true
		}
	}
	return false
}

// isPattern reports whether a text holds characters of patterns, as policies
// have them where pods have images.
func isPattern(s string) bool { return strings.ContainsAny(s, "*?!|<>^") }
