package mirrors

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var service = Mirror{Endpoint: "http://127.0.0.1:5555", Registries: []string{"docker.io", "registry.k8s.io"}}

func TestRegistries(t *testing.T) {
	got, err := Registries([]string{"registry.k8s.io/pause:3", "docker.io/library/a:1", "quay.io:5000/x@sha256:" + strings.Repeat("a", 64), "docker.io/b/c:2"})
	if diff := cmp.Diff([]string{"docker.io", "quay.io:5000", "registry.k8s.io"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := Registries([]string{"Not A Name"}); err == nil {
		t.Error("a bad name is taken")
	}
}

func TestHosts(t *testing.T) {
	upstream, external := service, Mirror{Endpoint: "https://harbor.example.com/k8s", Registries: []string{"quay.io", "harbor.example.com"}, CAFile: "/ca.crt"}
	upstream.Upstream, upstream.Others = true, true
	others := Mirror{Endpoint: service.Endpoint, Others: true}
	tests := []struct {
		name string
		m    Mirror
		want map[string]string
	}{
		{"the service alone", service, map[string]string{
			"/d/docker.io/hosts.toml": note + `server = "http://127.0.0.1:5555"
capabilities = ["pull", "resolve"]

[host."http://127.0.0.1:5555"]
  capabilities = ["pull", "resolve"]
`,
			"/d/registry.k8s.io/hosts.toml": note + `server = "http://127.0.0.1:5555"
capabilities = ["pull", "resolve"]

[host."http://127.0.0.1:5555"]
  capabilities = ["pull", "resolve"]
`,
		}},
		{"with upstream, and others", upstream, map[string]string{
			"/d/docker.io/hosts.toml":       note + "\n[host.\"http://127.0.0.1:5555\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
			"/d/registry.k8s.io/hosts.toml": note + "\n[host.\"http://127.0.0.1:5555\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
			"/d/_default/hosts.toml":        note + "\n[host.\"http://127.0.0.1:5555\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
		}},
		{"others alone", others, map[string]string{
			"/d/_default/hosts.toml": note + `server = "http://127.0.0.1:5555"
capabilities = ["pull", "resolve"]

[host."http://127.0.0.1:5555"]
  capabilities = ["pull", "resolve"]
`,
		}},
		{"a registry of the user's", external, map[string]string{
			"/d/quay.io/hosts.toml": note + `server = "https://harbor.example.com/v2/k8s"
capabilities = ["pull", "resolve"]
override_path = true
ca = "/ca.crt"

[host."https://harbor.example.com/v2/k8s"]
  capabilities = ["pull", "resolve"]
  override_path = true
  ca = "/ca.crt"
`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files, err := Hosts(tt.m, "/d", "")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, f := range files {
				got[f.Path] = f.Data
				var any map[string]any
				if _, err := toml.Decode(f.Data, &any); err != nil {
					t.Errorf("%s: %v", f.Path, err)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRegistriesOfTheImageStandBehindTheMirror(t *testing.T) {
	existing := `
mirrors:
  docker.io: {endpoint: ["http://127.0.0.1:5555", "https://mine.example.com", "https://proxy.example.com/v2/hub"]}
  quay.io:
  "*": {endpoint: ["http://all.example.com:5000/v2"]}
configs:
  mine.example.com: {auth: {username: me, password: secret}, tls: {ca_file: /ca.crt, cert_file: /c.crt, key_file: /c.key, insecure_skip_verify: true}}
`
	files, err := Hosts(Mirror{Endpoint: "http://127.0.0.1:5555", Registries: []string{"ghcr.io"}}, "/d", existing)
	if err != nil {
		t.Fatal(err)
	}
	const ours = note + "server = \"http://127.0.0.1:5555\"\ncapabilities = [\"pull\", \"resolve\"]\n\n[host.\"http://127.0.0.1:5555\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	want := []File{
		{"/d/_default/hosts.toml", ours + "\n[host.\"http://all.example.com:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n", 0o644},
		{"/d/docker.io/hosts.toml", ours + `
[host."https://mine.example.com"]
  capabilities = ["pull", "resolve"]
  ca = "/ca.crt"
  client = [["/c.crt", "/c.key"]]
  skip_verify = true
  [host."https://mine.example.com".header]
    authorization = "Basic bWU6c2VjcmV0"

[host."https://proxy.example.com/v2/hub"]
  capabilities = ["pull", "resolve"]
  override_path = true
`, 0o600},
		{"/d/ghcr.io/hosts.toml", ours, 0o644},
		{"/d/quay.io/hosts.toml", ours, 0o644},
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	for _, f := range files {
		var any map[string]any
		if _, err := toml.Decode(f.Data, &any); err != nil {
			t.Errorf("%s: %v", f.Path, err)
		}
	}
	for _, bad := range []string{
		"mirrors: []", "mirrors: {docker.io: {endpoint: [mine]}}", "mirrors: {docker.io: {rewrite: {a: b}}}", "mirrors: {../x: {}}",
		"configs: {x: {auth: {token: t}}}", "mirors: {}",
	} {
		if _, err := Hosts(service, "/d", bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestBadMirrorsAreRefused(t *testing.T) {
	for _, m := range []Mirror{{}, {Endpoint: "127.0.0.1:5555"}, {Endpoint: "ftp://x"}, {Endpoint: "http://u:p@x"}, {Endpoint: "http://x", Registries: []string{"../../etc"}}, {Endpoint: "http://x", Registries: []string{""}}} {
		if _, err := Hosts(m, "/d", ""); err == nil {
			t.Errorf("%v is taken", m)
		}
	}
}

func TestContainerdConfig(t *testing.T) {
	const debian = "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\"\n"
	const three = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry] # default\n  config_path = ''\n  foo = 1\n"
	tests := []struct {
		name, config, want, dir string
	}{
		{"none", "", "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n", CertsDir},
		{"Debian's", debian, debian + "\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n", CertsDir},
		{"containerd 2's default", three, "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry] # default\n  config_path = \"/etc/containerd/certs.d\"\n  foo = 1\n", CertsDir},
		{"set by the user", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/my/certs:/other\"\n", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/my/certs:/other\"\n", "/my/certs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, dir, err := ContainerdConfig(tt.config)
			if diff := cmp.Diff(tt.want, got); diff != "" || dir != tt.dir || err != nil {
				t.Error(diff, dir, err)
			}
			again, _, err := ContainerdConfig(got)
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
	for name, config := range map[string]string{
		"version 1":    "[plugins.cri.registry]\n",
		"mirrors":      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"x\"]\n",
		"inline table": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nregistry = {foo = 1}\n",
		"no TOML":      "version = \n",
	} {
		if got, _, err := ContainerdConfig(config); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestK3s(t *testing.T) {
	existing := `
mirrors:
  docker.io:
    endpoint: ["https://mine.example.com", "http://127.0.0.1:5555"]
  quay.io:
    rewrite: {"^x": "y"}
configs:
  mine.example.com: {auth: {username: me, password: secret}}
unknown: kept
`
	all := service
	all.Others = true
	f, err := K3s(all, existing)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := yaml.Unmarshal([]byte(f.Data), &got); err != nil {
		t.Fatal(err)
	}
	yaml.Unmarshal([]byte(`
mirrors:
  docker.io: {endpoint: ["http://127.0.0.1:5555", "https://mine.example.com"]}
  registry.k8s.io: {endpoint: ["http://127.0.0.1:5555"]}
  "*": {endpoint: ["http://127.0.0.1:5555"]}
  quay.io:
    rewrite: {"^x": "y"}
configs:
  mine.example.com: {auth: {username: me, password: secret}}
unknown: kept
`), &want)
	if diff := cmp.Diff(want, got); diff != "" || f.Path != RegistriesFile || f.Mode != 0o600 {
		t.Error(diff, f)
	}
	again, err := K3s(all, f.Data)
	if diff := cmp.Diff(f, again); diff != "" || err != nil {
		t.Error(diff, err)
	}
	external := Mirror{Endpoint: "https://harbor.example.com:8443/k8s/", Registries: []string{"docker.io"}, CAFile: "/ca.crt"}
	f, err = K3s(external, "null")
	if err != nil {
		t.Fatal(err)
	}
	got, want = nil, nil
	yaml.Unmarshal([]byte(f.Data), &got)
	yaml.Unmarshal([]byte(`
mirrors:
  docker.io: {endpoint: ["https://harbor.example.com:8443"], rewrite: {"^(.*)$": "k8s/$1"}}
configs:
  harbor.example.com:8443: {tls: {ca_file: /ca.crt}}
`), &want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"mirrors: []", "mirrors: {docker.io: {endpoint: x}}", "mirrors: [", existing} {
		if _, err := K3s(external, bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestK0s(t *testing.T) {
	for schema, plugin := range map[int]string{2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.images"} {
		files, err := K0s(service, schema, "")
		if err != nil || len(files) != 3 {
			t.Fatal(files, err)
		}
		var c containerdConfig
		if _, err := toml.Decode(files[2].Data, &c); err != nil || c.Version != schema || c.Plugins[plugin].Registry.ConfigPath != "/etc/k0s/containerd.d/certs.d" {
			t.Error(files[2], err)
		}
		if files[0].Path != "/etc/k0s/containerd.d/certs.d/docker.io/hosts.toml" {
			t.Error(files[0])
		}
	}
	if _, err := K0s(service, 1, ""); err == nil {
		t.Error("version 1 is taken")
	}
}

func TestDocker(t *testing.T) {
	tests := []struct {
		name, existing string
		m              Mirror
		want           string // "": nothing is written
	}{
		{"no file", "", service, `{"registry-mirrors": ["http://127.0.0.1:5555"]}`},
		{"merged", `{"data-root": "/d", "max": 12345678901234567890, "registry-mirrors": ["https://mine", "http://127.0.0.1:5555/"]}`, service,
			`{"data-root": "/d", "max": 12345678901234567890, "registry-mirrors": ["http://127.0.0.1:5555", "https://mine"]}`},
		{"no image of docker.io", "{}", Mirror{Endpoint: service.Endpoint, Registries: []string{"quay.io"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, changed, err := Docker(tt.m, tt.existing)
			if err != nil || changed != (tt.want != "") {
				t.Fatal(f, changed, err)
			}
			if !changed {
				return
			}
			var got, want map[string]json.RawMessage
			json.Unmarshal([]byte(f.Data), &got)
			json.Unmarshal([]byte(tt.want), &want)
			for key := range want {
				if compact(got[key]) != compact(want[key]) {
					t.Errorf("%s: %s", key, got[key])
				}
			}
			if len(got) != len(want) {
				t.Error(f.Data)
			}
		})
	}
	for _, bad := range []string{"{", `{"registry-mirrors": "x"}`} {
		if _, _, err := Docker(service, bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if _, _, err := Docker(Mirror{Endpoint: "https://h/p", Registries: []string{"docker.io"}}, ""); err == nil || !strings.Contains(err.Error(), "prefix") {
		t.Error(err)
	}
}

func compact(raw json.RawMessage) string {
	return strings.NewReplacer(" ", "", "\n", "").Replace(string(raw))
}
