package find

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// foreign are groups whose objects have fields called image or repository that
// are no images which the cluster runs: machines' disks, policies about images,
// reports on them, repositories that are watched.
var foreign = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"infrastructure.cluster.x-k8s.io": true,
	"machine.openshift.io":            true,
	"image.toolkit.fluxcd.io":         true,
	"image.openshift.io":              true,
	"constraints.gatekeeper.sh":       true,
	"templates.gatekeeper.sh":         true,
	"policy.sigstore.dev":             true,
	"policies.kyverno.io":             true,
	"wgpolicyk8s.io":                  true,
	"aquasecurity.github.io":          true,
}

// passed are fields that are not walked into, by group; "" is any. Metadata has
// labels and annotations, status is what was, a schema describes fields, and
// output is what is built.
var passed = map[string]map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"":           {"metadata": true, "annotations": true, "labels": true, "openAPIV3Schema": true, "output": true},
	"kyverno.io": {"validate": true, "verifyImages": true, "match": true, "exclude": true, "preconditions": true, "context": true},
}

// containerFields are the fields of containers besides image. A mapping that has one is a
// container, wherever it is: a step of a Tekton task, the container of a
// workflow's template.
var containerFields = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"command", "args", "env", "envFrom", "imagePullPolicy", "volumeMounts", "workingDir", "script", "livenessProbe", "readinessProbe",
}

// containerKeys are the fields that hold one container, or a list of them.
var containerKeys = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"containers": true, "initContainers": true, "ephemeralContainers": true, "sidecars": true, "steps": true,
	"container": true, "initContainer": true, "sidecar": true, "stepTemplate": true,
}

// clusterCharts are the kinds that have a chart rendered inside the cluster.
var clusterCharts = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"helm.cattle.io/HelmChart": true, "helm.toolkit.fluxcd.io/HelmRelease": true,
}

// customKind says what custom resource is walked through.
type customKind struct {
	group, kind string
}

// custom finds the images of an object whose kind is not Kubernetes' own. Its
// fields can be anything; what counts is said by mapping and scalar.
func (w *walk) custom(n *yaml.Node, group, kind string) {
	if foreign[group] || strings.HasSuffix(group, ".upbound.io") || strings.HasSuffix(group, ".crossplane.io") && group != "pkg.crossplane.io" && group != "apiextensions.crossplane.io" {
		return
	}
	at := customKind{group, kind}
	if clusterCharts[group+"/"+kind] || group == "argoproj.io" && kind == "Application" && str(get(get(get(n, "spec"), "source"), "chart")) != "" {
		w.note(w.line(resolved(n)), "the images of a chart that the cluster renders are not known here: put the chart into charts/ too, or name its images in manifests/imageList")
	}
	for _, f := range fields(n) {
		if f.key != "status" && !passed[""][f.key] {
			w.under(f.key, func() { w.any(f.value, f.key, at) })
		}
	}
}

// any walks through the value of a field of a custom resource. key is the
// nearest one above it.
func (w *walk) any(n *yaml.Node, key string, r customKind) {
	if n = resolved(n); n == nil || !w.enter(n, "custom "+key) {
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			name := str(get(item, "name"))
			if name == "" {
				name = strconv.Itoa(i)
			}
			w.under(name, func() { w.any(item, key, r) })
		}
	case yaml.MappingNode:
		apiVersion, kind := objectOf(n)
		if keys, ok := podSpecs[kind]; kind != "" && !(ok && at(n, keys...) == nil) { // Kyverno has the rest below data
			w.object(n, apiVersion, kind, true)
			return
		}
		w.mapping(n, key, r)
		for _, f := range fields(n) {
			if !passed[""][f.key] && !passed[r.group][f.key] {
				w.under(f.key, func() { w.any(f.value, below(key, f.key), r) })
			}
		}
	case yaml.ScalarNode:
		w.scalar(n, key, r)
	}
}

// below returns what the value of a field counts as: the fields of images are
// images, whatever they are called.
func below(key, field string) string {
	if key == "images" && !isImageKey(field) {
		return key
	}
	return field
}

// mapping finds the image that the fields of a mapping name together: a
// container, or registry, repository, tag and the like.
func (w *walk) mapping(n *yaml.Node, key string, r customKind) {
	w.parts(n, key, r)
	if isContainer(n, key) && !(r.group == "nvidia.com" && !containerKeys[key]) { // those are names without a repository
		w.container(n, true)
	}
}

// parts finds the image that several fields of a mapping name.
func (w *walk) parts(n *yaml.Node, key string, r customKind) {
	p, ok := partsOf(n, key)
	if !ok {
		return
	}
	if r.group == "nvidia.com" && p.digest == "" && !strings.HasPrefix(p.tag, "sha256:") && (strings.HasSuffix(p.name, "/driver") || strings.HasSuffix(p.name, "/vgpu-manager")) {
		w.enter(p.at, "found")
		w.note(w.line(p.at), fmt.Sprintf("the operator appends the node's system to the tag of %s: name the whole image in manifests/imageList", p.text()))
		return
	}
	written := p.text()
	switch ref, ok := likely(written, pinned); {
	case w.skip.image(written):
		w.enter(p.at, "found")
	case isParameter(written):
		w.parameter(p.at, written)
	case ok:
		w.under("image", func() { w.add(p.at, ref) })
	case p.tag == "" && p.digest == "":
		if _, ok := likely(written, named); ok && isImageKey(key) && w.enter(p.at, "found") {
			w.note(w.line(p.at), fmt.Sprintf("%s has no tag here, and what sets it is not known: name the image in manifests/imageList", written))
		}
	}
}

// isContainer reports whether a mapping with an image is a container.
func isContainer(n *yaml.Node, key string) bool {
	if at(n, "image") == nil {
		return false
	}
	if containerKeys[key] {
		return true
	}
	for _, f := range containerFields {
		if get(n, f) != nil {
			return true
		}
	}
	return false
}

// scalar finds the image that one field names. Its name says how much its value
// must look like one; see likeness.
func (w *walk) scalar(n *yaml.Node, key string, r customKind) {
	s := str(n)
	if key == "manifest" && r.group == "argoproj.io" { // the object that a step of a workflow makes
		w.embedded(n)
		return
	}
	var want likeness
	switch {
	case s == "":
		return
	case key == "image":
		want = named
	case key == "images" || key == "baseImage":
		want = pinned
	case isImageKey(key):
		want = placed
	case key == "package" && r.group == "pkg.crossplane.io": // Crossplane runs them
		want = placed
	case key == "url" && strings.HasPrefix(s, "docker://"): // disks that KubeVirt imports
		s, want = strings.TrimPrefix(s, "docker://"), named
	default:
		return
	}
	ref, ok := likely(s, want)
	switch {
	case w.skip.image(s):
	case ok:
		w.add(n, ref)
	case isParameter(s) && !strings.ContainsAny(s, "\n") && key == "image":
		w.parameter(n, s)
	}
}

// isImageKey reports whether a field is called image, or something that ends in
// it: sidecarImage, pause_image, imageName.
func isImageKey(key string) bool {
	for _, end := range []string{"Image", "_image", "-image", "ImageName", "imageName"} {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return key == "image" || key == "images"
}
