package find

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kustomizationNames are the names that kustomize knows.
var kustomizationNames = [...]string{"kustomization.yaml", "kustomization.yml", "Kustomization"} //nolint:gochecknoglobals // a table that nothing changes

// maxKustomized is how much one kustomization may refer to, in bytes and files.
const (
	maxKustomized      = 64 << 20
	maxKustomizedFiles = 10_000
)

// kustomization is one kustomization of the tree and all that it refers to.
type kustomization struct {
	file  string
	files map[string][]byte // of the tree, by name: what it refers to, and what those refer to
	parts map[string]bool   // the files that are kustomizations
	texts map[string][]byte // what was read for this and other kustomizations
	err   error             // why it cannot be rendered
	size  int
}

// kustomizations are those of a tree.
type kustomizations struct {
	roots   map[string]*kustomization // by file
	covered map[string]bool           // files that a kustomization refers to
}

// at returns the kustomization that a file is the beginning of, or nil.
func (k kustomizations) at(name string) *kustomization { return k.roots[name] }

// covers reports whether a file is part of a kustomization, or what only says
// how to make one.
func (k kustomizations) covers(name string) bool { return k.covered[name] }

// group finds the kustomizations among the files of a tree. Those that another
// one refers to are its parts.
func group(tree fs.FS, names []string) kustomizations {
	g := kustomizations{roots: map[string]*kustomization{}, covered: map[string]bool{}}
	var all []*kustomization
	parts, texts := map[string]bool{}, map[string][]byte{}
	for _, name := range names {
		if !slices.Contains(kustomizationNames[:], path.Base(name)) || !isKustomization(tree, name) {
			continue
		}
		k := &kustomization{file: name, files: map[string][]byte{}, parts: map[string]bool{}, texts: texts}
		k.err = k.gather(tree, name)
		all = append(all, k)
		for file := range k.files {
			g.covered[file] = true
			parts[file] = parts[file] || file != name
		}
	}
	reached := map[string]bool{}
	for _, k := range all {
		if !parts[k.file] {
			g.roots[k.file] = k
			for file := range k.files {
				reached[file] = true
			}
		}
	}
	for _, k := range all { // those that refer to each other have no beginning: rendering says so
		if !reached[k.file] {
			g.roots[k.file] = k
			for file := range k.files {
				reached[file] = true
			}
		}
	}
	return g
}

// isKustomization reports whether a file of that name is one for kustomize, and
// not an object, such as Flux has of the same kind.
func isKustomization(tree fs.FS, name string) bool {
	text, err := readSmall(tree, name, maxManifest)
	if err != nil {
		return false // said by who reads it
	}
	var n yaml.Node
	if yaml.Unmarshal(text, &n) != nil {
		return true
	}
	v := ""
	if len(n.Content) > 0 {
		v = str(get(n.Content[0], "apiVersion"))
	}
	return v == "" || strings.HasPrefix(v, "kustomize.config.k8s.io/")
}

// gather reads a kustomization and what it refers to.
func (k *kustomization) gather(tree fs.FS, name string) error {
	text, err := k.read(tree, name)
	if err != nil {
		return err
	}
	k.parts[name] = true
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		bad := document{}.moved(err)
		return fmt.Errorf("%s:%d: no YAML: %w: correct it, or name the file in .imageignore", name, bad.line, bad)
	}
	if len(doc.Content) == 0 {
		return nil // kustomize says that it is empty
	}
	for _, key := range []string{"helmCharts", "helmChartInflationGenerator"} {
		if n := get(doc.Content[0], key); n != nil && len(n.Content) > 0 {
			return fmt.Errorf("%s:%d: charts of a kustomization are not rendered: put the chart into charts/, and the kustomization without it here", name, n.Line)
		}
	}
	for _, r := range references(doc.Content[0]) {
		r.file = name
		if err := k.follow(tree, path.Dir(name), r); err != nil {
			return err
		}
	}
	return nil
}

// read reads a file and keeps it.
func (k *kustomization) read(tree fs.FS, name string) ([]byte, error) {
	text, ok := k.texts[name]
	if !ok {
		var err error
		if text, err = readSmall(tree, name, maxManifest); err != nil {
			return nil, err
		}
		k.texts[name] = text
	}
	k.files[name] = text
	if k.size += len(text); k.size > maxKustomized || len(k.files) > maxKustomizedFiles {
		return nil, fmt.Errorf("%s: a kustomization of more than %d bytes or %d files: name it in .imageignore and its images in manifests/imageList", k.file, maxKustomized, maxKustomizedFiles)
	}
	return text, nil
}

// follow reads what the kustomization in a directory refers to.
func (k *kustomization) follow(tree fs.FS, dir string, r reference) error {
	if isRemote(r.name) {
		return fmt.Errorf("%s:%d: %s is fetched from elsewhere, and nothing is fetched to look for images: put a copy below manifests/ and refer to that, or name the kustomization in .imageignore and its images in manifests/imageList",
			r.file, r.line, r.name)
	}
	name := path.Join(dir, r.name)
	if !fs.ValidPath(name) || k.files[name] != nil {
		return nil // kustomize says what is wrong with a path that leaves the tree
	}
	fi, err := fs.Stat(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // likewise
	}
	if err != nil {
		return fmt.Errorf("%s:%d: %w", r.file, r.line, err)
	}
	if !fi.IsDir() {
		text, err := k.read(tree, name)
		if err != nil || !r.config {
			return err
		}
		return k.configured(tree, dir, name, text)
	}
	for _, base := range kustomizationNames {
		file := path.Join(name, base)
		if _, err := fs.Stat(tree, file); err != nil || k.parts[file] {
			continue
		}
		if err := k.gather(tree, file); err != nil {
			return err
		}
	}
	return nil
}

// configured reads what the configuration of a generator or transformer refers
// to, from the directory of the kustomization.
func (k *kustomization) configured(tree fs.FS, dir, name string, text []byte) error {
	for _, doc := range documents(text) {
		var n yaml.Node
		if yaml.Unmarshal(doc.text, &n) != nil || len(n.Content) == 0 {
			continue // kustomize says what is wrong with it
		}
		for _, r := range configReferences(n.Content[0], "", nil) {
			r.file, r.line = name, doc.line+r.line
			if err := k.follow(tree, dir, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// reference is a path in a kustomization.
type reference struct {
	name   string
	file   string // that has it
	line   int
	config bool // the file configures a generator or transformer
}

// references returns the paths in a kustomization
// (https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/).
// Text that may stand in the place of a path is looked at like the file.
func references(n *yaml.Node) []reference {
	var found []reference
	add := func(n *yaml.Node, config bool) {
		switch s := str(n); {
		case s == "":
		case !strings.Contains(s, "\n"):
			found = append(found, reference{name: s, line: n.Line, config: config})
		case config:
			var doc yaml.Node
			if yaml.Unmarshal([]byte(s), &doc) == nil && len(doc.Content) > 0 {
				for _, r := range configReferences(doc.Content[0], "", nil) {
					found = append(found, reference{name: r.name, line: n.Line})
				}
			}
		}
	}
	for _, key := range []string{"resources", "bases", "components", "crds", "configurations", "patchesStrategicMerge"} {
		for _, item := range sequence(get(n, key)) {
			add(resolved(item), false)
		}
	}
	for _, key := range []string{"generators", "transformers", "validators"} {
		for _, item := range sequence(get(n, key)) {
			add(resolved(item), true)
		}
	}
	for _, key := range []string{"patches", "patchesJson6902", "replacements"} {
		for _, item := range sequence(get(n, key)) {
			add(at(item, "path"), false)
		}
	}
	add(at(n, "openapi", "path"), false)
	for _, key := range []string{"configMapGenerator", "secretGenerator"} {
		for _, item := range sequence(get(n, key)) {
			found = configReferences(item, "", found)
		}
	}
	return found
}

// configKeys are the fields of generators and transformers that hold paths.
var configKeys = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	"path": true, "paths": true, "files": true, "env": true, "envs": true, "resources": true, "configurations": true,
}

// configReferences adds the paths in the configuration of a generator or
// transformer. A file may be given as key=path.
func configReferences(n *yaml.Node, key string, found []reference) []reference {
	switch {
	case n == nil:
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			found = configReferences(item, key, found)
		}
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			found = configReferences(n.Content[i+1], n.Content[i].Value, found)
		}
	case n.Kind == yaml.ScalarNode && configKeys[key] && str(n) != "" && !strings.Contains(str(n), "\n"):
		s := str(n)
		if _, after, ok := strings.Cut(s, "="); ok && key != "path" && !isRemote(s) {
			s = after
		}
		found = append(found, reference{name: s, line: n.Line})
	}
	return found
}

// elsewhere matches what kustomize reads over the network, or with git.
var elsewhere = regexp.MustCompile(`(?i)://|^https?:|^git::|^[a-z][a-z0-9-]*@|^github\.com[/:]`)

// isRemote reports whether kustomize would fetch a path.
func isRemote(name string) bool { return elsewhere.MatchString(name) }
