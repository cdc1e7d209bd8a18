package mirrors

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// registries is a registries.yaml as k3s has it (docs.k3s.io, "Private Registry
// Configuration"): cluster images bring one, whatever their distribution.
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string          `json:"endpoint"`
		Rewrite  map[string]string `json:"rewrite"`
	} `json:"mirrors"`
	Configs map[string]access `json:"configs"`
}

// access is how a registry is trusted, and who asks it.
type access struct {
	Auth struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"` // base64 of both
		IdentityToken string `json:"identity_token"`
		Token         string `json:"token"`
	} `json:"auth"`
	TLS struct {
		CAFile             string `json:"ca_file"`
		CertFile           string `json:"cert_file"`
		KeyFile            string `json:"key_file"`
		InsecureSkipVerify bool   `json:"insecure_skip_verify"`
	} `json:"tls"`
}

// parseRegistries reads such a file. What containerd cannot be told in a
// hosts.toml is an error.
func parseRegistries(text string) (registries, error) {
	var r registries
	if err := yaml.UnmarshalStrict([]byte(text), &r); err != nil {
		return r, fmt.Errorf("registries.yaml: %w", err)
	}
	for name, m := range r.Mirrors {
		if len(m.Rewrite) > 0 {
			return r, fmt.Errorf("registries.yaml: mirrors.%s.rewrite: containerd rewrites no names, k3s alone does: leave it out", name)
		}
	}
	for name, c := range r.Configs {
		if c.Auth.IdentityToken != "" || c.Auth.Token != "" {
			return r, fmt.Errorf("registries.yaml: configs.%s.auth: containerd is told a username and a password here, no token", name)
		}
	}
	return r, nil
}

// settings are the lines of a hosts.toml for one registry, and whether a password
// is among them. header is the name of its table of headers.
func (a access) settings(header string) (lines string, secret bool) {
	var b strings.Builder
	if a.TLS.CAFile != "" {
		b.WriteString("ca = " + strconv.Quote(a.TLS.CAFile) + "\n")
	}
	if a.TLS.CertFile != "" {
		fmt.Fprintf(&b, "client = [[%q, %q]]\n", a.TLS.CertFile, a.TLS.KeyFile)
	}
	if a.TLS.InsecureSkipVerify {
		b.WriteString("skip_verify = true\n")
	}
	basic := a.Auth.Auth
	if a.Auth.Username != "" {
		basic = base64.StdEncoding.EncodeToString([]byte(a.Auth.Username + ":" + a.Auth.Password))
	}
	if basic == "" {
		return b.String(), false
	}
	fmt.Fprintf(&b, "[%s]\n  authorization = %q\n", header, "Basic "+basic)
	return b.String(), true
}

// endpoint is the table of one endpoint of a registry in a hosts.toml.
func (r registries) endpoint(where string) (table string, secret bool, err error) {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", false, fmt.Errorf("registries.yaml: endpoint %q: write https://HOST or http://HOST:PORT", where)
	}
	override := ""
	if at := strings.Trim(u.Path, "/"); at != "" && at != "v2" {
		override = "override_path = true\n"
	} else {
		where = u.Scheme + "://" + u.Host
	}
	name := "host." + strconv.Quote(where)
	settings, secret := r.Configs[u.Host].settings(name + ".header")
	return "\n[" + name + "]\n" + indent(able+override+settings), secret, nil
}

// behind returns what stands behind the mirror in the hosts.toml of a registry.
func (r registries) behind(registry, mirror string) (tables string, secret bool, err error) {
	for _, where := range r.Mirrors[registry].Endpoint {
		if strings.TrimSuffix(where, "/") == mirror {
			continue
		}
		table, hides, err := r.endpoint(where)
		if err != nil {
			return "", false, err
		}
		tables, secret = tables+table, secret || hides
	}
	return tables, secret, nil
}

// all are the registries of a list, and those that the file has mirrors for.
func (r registries) all(list []string) []string {
	list = slices.Clone(list)
	for name := range r.Mirrors {
		if name != "*" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}
