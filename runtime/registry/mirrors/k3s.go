package mirrors

import (
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"
)

// ImageRegistries is where an image may have registries of its own, as k3s writes
// them, in its tree.
const ImageRegistries = "etc/registries.yaml"

// RegistriesFile is where k3s reads its registries (docs.k3s.io,
// "Private Registry Configuration"). It reads them when it starts.
const RegistriesFile = "/etc/rancher/k3s/registries.yaml"

// K3s returns the file of registries with the mirror first, and behind it what
// existing, the text of such a file or "", has. Settings that are there win.
//
// k3s asks the registry itself at last, unless it is started with
// --disable-default-registry-endpoint, which is the driver's to say. The
// wildcard that Others needs is known from k3s v1.26.13, v1.27.10, v1.28.6 and
// v1.29.1 on.
func K3s(m Mirror, existing string) (File, error) {
	at, err := m.parse()
	if err != nil {
		return File{}, err
	}
	doc := map[string]any{}
	if err := yaml.Unmarshal([]byte(existing), &doc); err != nil {
		return File{}, fmt.Errorf("registries.yaml: %w", err)
	}
	if doc == nil { // the file was: null
		doc = map[string]any{}
	}
	mirrors, err := object(doc, "mirrors")
	if err != nil {
		return File{}, err
	}
	registries := slices.Clone(m.Registries)
	if m.Others {
		registries = append(registries, "*")
	}
	for _, r := range registries {
		if r == at.host {
			continue
		}
		entry, err := object(mirrors, r)
		if err != nil {
			return File{}, err
		}
		endpoints, ok := entry["endpoint"].([]any)
		if entry["endpoint"] != nil && !ok {
			return File{}, fmt.Errorf("registries.yaml: mirrors.%s.endpoint is no list", r)
		}
		endpoints = slices.DeleteFunc(endpoints, func(e any) bool { return e == at.root })
		entry["endpoint"] = append([]any{at.root}, endpoints...)
		if at.prefix != "" {
			if err := rewrite(entry, r, at.prefix); err != nil {
				return File{}, err
			}
		}
	}
	if err := trust(doc, at.host, m.CAFile); err != nil {
		return File{}, err
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return File{}, fmt.Errorf("registries.yaml: %w", err)
	}
	return File{Path: RegistriesFile, Data: note + string(text), Mode: 0o600}, nil // it may hold passwords
}

// rewrite puts the prefix before repositories. k3s applies rewrites to all
// endpoints of an entry, so that nothing else may stand there.
func rewrite(entry map[string]any, registry, prefix string) error {
	if list, _ := entry["endpoint"].([]any); len(list) > 1 || entry["rewrite"] != nil {
		return fmt.Errorf("registries.yaml: mirrors.%s has endpoints or rewrites of its own, and the registry of the cluster needs a rewrite to %s/: leave one of them out", registry, prefix)
	}
	entry["rewrite"] = map[string]any{"^(.*)$": prefix + "/$1"}
	return nil
}

// trust has k3s verify a registry by the certificates in a file.
func trust(doc map[string]any, host, caFile string) error {
	if caFile == "" {
		return nil
	}
	configs, err := object(doc, "configs")
	if err != nil {
		return err
	}
	config, err := object(configs, host)
	if err != nil {
		return err
	}
	tls, err := object(config, "tls")
	if err != nil {
		return err
	}
	if _, ok := tls["ca_file"]; !ok {
		tls["ca_file"] = caFile
	}
	return nil
}

// object returns the object below a key, made where there is none.
func object(in map[string]any, key string) (map[string]any, error) {
	if in[key] == nil {
		in[key] = map[string]any{}
	}
	o, ok := in[key].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("registries.yaml: %s is no object", key)
	}
	o = maps.Clone(o)
	in[key] = o
	return o, nil
}
