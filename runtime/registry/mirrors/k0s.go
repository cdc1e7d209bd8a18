package mirrors

import "fmt"

// Places of k0s (docs.k0sproject.io, "Runtime", "k0s-managed dynamic runtime
// configuration"): it puts the files *.toml of the folder into the
// configuration of its containerd.
const (
	k0sDropIn = "/etc/k0s/containerd.d/sealrt-registry.toml"
	k0sCerts  = "/etc/k0s/containerd.d/certs.d"
)

// K0s returns the files for the containerd of k0s. schema is the version of
// containerd's configuration: 3 from k0s v1.36 on, which refuses files of
// version 2; before it, 2. existing is as for Hosts.
func K0s(m Mirror, schema int, existing string) ([]File, error) {
	plugin, ok := registryTable(schema)
	if !ok {
		return nil, fmt.Errorf("k0s: containerd's configuration has no version %d", schema)
	}
	files, err := Hosts(m, k0sCerts, existing)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%sversion = %d\n\n[plugins.%q.registry]\n  config_path = %q\n", note, schema, plugin, k0sCerts)
	return append(files, File{Path: k0sDropIn, Data: text, Mode: 0o644}), nil
}
