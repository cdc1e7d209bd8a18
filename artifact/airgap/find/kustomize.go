package find

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	k8syaml "sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
)

// images finds the images of what the kustomization renders.
func (k *kustomization) images(skip *ignored, o Options) ([]airgap.Image, error) {
	if k.err != nil {
		return nil, k.err
	}
	if k.isComponent() {
		note(o, "%s is a component that no kustomization here refers to: its images are not collected", k.file)
		return nil, nil
	}
	rendered, err := k.render(withoutSchemas)
	if err != nil && k.defines() { // a patch may be for what was left out
		rendered, err = k.render(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: correct it, or name the file in .imageignore", k.file, k.cause(err))
	}
	sources := k.sources(o)
	var images []airgap.Image
	var bad []error
	for _, r := range rendered.Resources() {
		if r.GetKind() == "CustomResourceDefinition" {
			continue
		}
		text, err := r.AsYAML()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.file, err)
		}
		w := look(text, func(int) string { return k.file }, skip, o)
		bad = append(bad, w.bad...)
		for _, f := range w.found {
			from, ok := sources.of(f)
			if ok && skip.file(from.file) {
				continue
			}
			images = append(images, airgap.Image{Ref: f.ref, Where: k.place(f, from)})
		}
	}
	return images, errors.Join(bad...)
}

// isComponent reports whether it can only be part of another kustomization.
func (k *kustomization) isComponent() bool {
	var n yaml.Node
	return yaml.Unmarshal(k.files[k.file], &n) == nil && len(n.Content) > 0 && str(get(n.Content[0], "kind")) == types.ComponentKind
}

// render runs kustomize on a copy of the files in memory. There are no plugins,
// and nothing that it could fetch: see follow. Objects are what change makes of
// them, if there is one.
func (k *kustomization) render(change func([]byte) []byte) (rendered resmap.ResMap, err error) {
	defer func() {
		if p := recover(); p != nil { // kustomize has those for a bad schema
			err = fmt.Errorf("kustomize: %v", p)
		}
	}()
	mem := memory{FileSystem: filesys.MakeFsInMemory(), files: map[string][]byte{}, dirs: map[string]bool{"/": true}}
	schema := false
	for name, text := range k.files {
		if k.parts[name] {
			text = k.modern(name, text)
			schema = schema || bytes.Contains(text, []byte("openapi:"))
		} else if change != nil && holdsObjects(name) {
			text = change(text)
		}
		mem.add(name, text)
	}
	if schema { // it stays set for all that follow
		defer openapi.ResetOpenAPI()
	}
	o := krusty.MakeDefaultOptions()
	o.LoadRestrictions = types.LoadRestrictionsNone // there is nothing outside
	o.Reorder = krusty.ReorderOptionUnspecified
	return krusty.MakeKustomizer(o).Run(mem, "/"+path.Dir(k.file))
}

// modern writes a kustomization in the fields of today. For the older ones
// kustomize writes warnings to the terminal.
func (k *kustomization) modern(name string, text []byte) []byte {
	fields := map[string]any{}
	if k8syaml.Unmarshal(text, &fields) != nil || len(fields) == 0 {
		return text // kustomize says what is wrong with it
	}
	list := func(key string) []any {
		l, _ := fields[key].([]any)
		delete(fields, key)
		return l
	}
	add := func(key string, more ...any) {
		if len(more) > 0 {
			l, _ := fields[key].([]any)
			fields[key] = append(l, more...)
		}
	}
	add("resources", list("bases")...)
	add("images", list("imageTags")...)
	add("patches", list("patchesJson6902")...)
	for _, p := range list("patchesStrategicMerge") {
		patch, _ := p.(string)
		field := "patch"
		if k.files[path.Join(path.Dir(name), patch)] != nil {
			field = "path"
		}
		add("patches", map[string]any{field: patch})
	}
	if l := fields["commonLabels"]; l != nil {
		add("labels", map[string]any{"pairs": l, "includeSelectors": true})
		delete(fields, "commonLabels")
	}
	if fields["vars"] != nil && !k.needsVars() {
		delete(fields, "vars")
	}
	out, err := k8syaml.Marshal(fields)
	if err != nil {
		return text
	}
	return out
}

// needsVars reports whether an image may be filled in by vars, which are old too
// and have no equal.
func (k *kustomization) needsVars() bool {
	for _, text := range k.files {
		if bytes.Contains(text, []byte("$(")) && imageVar.Match(text) {
			return true
		}
	}
	return false
}

// imageVar matches a var in the field of an image.
var imageVar = regexp.MustCompile(`(?i)image[^\n]*\$\(`)

// cause returns what kustomize says, with the names of files as the tree has
// them.
func (k *kustomization) cause(err error) string {
	return strings.NewReplacer("'/", "'", `"/`, `"`, " /manifests", " manifests").Replace(strings.TrimSpace(err.Error()))
}

// source is a place in a file that a kustomization is made of.
type source struct {
	file, object string // object is its name
	line         int
	ref          artifact.Reference
}

// sources are the images in the files of a kustomization, by kind and field.
type sources map[string][]source

// sources looks for images in the files themselves, to know the lines.
func (k *kustomization) sources(o Options) sources {
	found := sources{}
	for _, name := range slices.Sorted(maps.Keys(k.files)) {
		if !holdsObjects(name) || k.parts[name] {
			continue
		}
		for _, f := range look(withoutSchemas(k.files[name]), lineOf(name), nil, Options{EnvImages: o.EnvImages}).found {
			key := f.kind + "/" + f.path
			found[key] = append(found[key], source{name, f.name, f.line, f.ref})
		}
	}
	return found
}

// of returns the place that a finding in a rendered object is from: the object
// of that name, which prefixes and suffixes may have made longer; of several, as
// of a patch and what it changes, the one that has just this image.
func (s sources) of(f finding) (source, bool) {
	var best source
	score := -1
	for _, p := range s[f.kind+"/"+f.path] {
		if !strings.Contains(f.name, p.object) {
			continue
		}
		fits := 2 * len(p.object)
		if p.ref == f.ref {
			fits++
		}
		if fits > score {
			best, score = p, fits
		}
	}
	return best, score >= 0
}

// place returns where a finding is asked for: the kustomization, with the line
// of the images entry that makes it what it is, and the line in the file that
// the object is from, as far as there are such.
func (k *kustomization) place(f finding, from source) string {
	where := k.file
	if from.ref != f.ref {
		where = k.transformed(f.ref)
	}
	if from.file != "" {
		where = fmt.Sprintf("%s: %s:%d", where, from.file, from.line)
	}
	return where
}

// transformed returns the place of the images entry that makes a reference,
// and the name of the kustomization when there is none.
func (k *kustomization) transformed(ref artifact.Reference) string {
	for _, name := range slices.Sorted(maps.Keys(k.parts)) {
		var n yaml.Node
		if yaml.Unmarshal(k.files[name], &n) != nil || len(n.Content) == 0 {
			continue
		}
		for _, entry := range sequence(get(n.Content[0], "images")) {
			made := str(get(entry, "newName"))
			if made == "" {
				made = str(get(entry, "name"))
			}
			tag := text(get(entry, "newTag"))
			made = compose("", made, tag, str(get(entry, "digest")))
			if r, err := artifact.ParseReference(made); err == nil && r.Name() == ref.Name() && (r == ref || tag == "") {
				return fmt.Sprintf("%s:%d", name, resolved(entry).Line)
			}
		}
	}
	return k.file
}
