package k3s

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
	"github.com/sealrt/sealrt/runtime/release"
)

// imageConfigs are where an image may have its settings; the first that is
// there counts.
var imageConfigs = [...]string{"etc/k3s.yaml", "etc/k3s/k3s.yaml"} //nolint:gochecknoglobals // a table that nothing changes

// forAgent reports whether agents take a setting too: the others are of servers,
// and an agent that is told one does not start.
func forAgent(key string, v release.Release) bool {
	if key == "bind-address" || key == "enable-pprof" {
		return releases{line(31, 0)}.has(v) // before, of servers alone
	}
	return slices.Contains(bothFlags, key)
}

var _ runtime.Configured = Driver{}

// ConfigFiles are those that an image may have its settings in.
func (Driver) ConfigFiles() []string { return append(docker.ConfigFiles(), imageConfigs[:]...) }

// settings are those of a configuration of k3s.
type settings map[string]any

// lay puts further settings over these: what they say counts. A key that ends
// in + adds to a list, as in k3s (https://docs.k3s.io/installation/configuration,
// "Value Merge Behavior"); null takes a setting away.
func (s settings) lay(over settings) {
	for key, v := range over {
		name, adds := strings.CutSuffix(key, "+")
		switch {
		case v == nil:
			delete(s, name)
		case adds:
			s[name] = append(words(s[name]), words(v)...)
		default:
			s[name] = v
		}
	}
}

// on reports whether a setting is true.
func (s settings) on(key string) bool { return fmt.Sprint(s[key]) == "true" }

// text returns a setting as k3s would read it, or the other text.
func (s settings) text(key, otherwise string) string {
	if s[key] == nil {
		return otherwise
	}
	return strings.Join(words(s[key]), ",")
}

// words reads a setting that may be one text or several.
func words(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []string:
		return slices.Clone(v)
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

// list reads a setting whose texts may have commas between them.
func list(v any) []string {
	var out []string
	for _, w := range words(v) {
		out = append(out, strings.Split(w, ",")...)
	}
	return out
}

// ofImage returns what the image says.
func ofImage(c *runtime.Cluster, m runtime.Member) (settings, error) {
	out := settings{}
	if !c.Image().Configurable() {
		return out, nil
	}
	name, raw, err := c.OptionalFile(m, imageConfigs[:]...)
	said := settings{}
	if err == nil {
		err = yaml.Unmarshal(raw, &said)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.Image().Ref.Familiar(), name, err)
	}
	out.lay(said)
	return out, refuse(c, "the image's configuration", out)
}

// layDocuments puts the documents of the Clusterfile that are configurations of
// k3s over what is said before: they have neither apiVersion nor kind.
func layDocuments(c *runtime.Cluster, s settings) error {
	for _, o := range c.Others {
		if o.APIVersion != "" || o.Kind != "" {
			continue
		}
		where := fmt.Sprintf("the configuration of k3s in line %d of the Clusterfile", o.Line)
		said := settings{}
		if err := yaml.Unmarshal([]byte(o.Raw), &said); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if err := refuse(c, where, said); err != nil {
			return err
		}
		s.lay(said)
	}
	return nil
}

// settingsOf returns what k3s is told on one host.
func settingsOf(c *runtime.Cluster, m runtime.Member) (settings, error) {
	s, err := toldSettings(c, m)
	if err == nil {
		placeDatastoreFiles(s)
	}
	return s, err
}

// toldSettings returns what the image says, with what the Clusterfile says over it
// and what only sealrt knows, and with what the documents of k3s in the
// Clusterfile say over all.
func toldSettings(c *runtime.Cluster, m runtime.Member) (settings, error) {
	s, err := ofImage(c, m)
	if err != nil {
		return nil, err
	}
	if m.Role == runtime.Node {
		s["server"], s["token"] = endpoint(c), agentToken.String()
	} else {
		forServer(c, s)
	}
	forHost(c, m, s)
	keepImages(c, s)
	withDocker(c, s)
	if err := pullHere(c, s); err != nil {
		return nil, err
	}
	if err := layDocuments(c, s); err != nil {
		return nil, err
	}
	if m.Role == runtime.Node {
		v, err := releaseOf(c)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(s, func(key string, _ any) bool { return !forAgent(key, v) })
	}
	return s, nil
}

// ofServers returns what all servers are told alike.
func ofServers(c *runtime.Cluster) (settings, error) {
	return runtime.OfMasters(c, settingsOf)
}

// disabled names the components that are left out.
func disabled(c *runtime.Cluster) ([]string, error) {
	s, err := ofServers(c)
	return list(s["disable"]), err
}

// configuration returns the text of config.yaml on one host, without some
// settings.
func configuration(c *runtime.Cluster, m runtime.Member, without ...string) (string, error) {
	s, err := settingsOf(c, m)
	if err != nil {
		return "", err
	}
	for _, key := range without {
		delete(s, key)
	}
	raw, err := yaml.Marshal(s)
	return string(raw), err
}

// forHost adds what is a host's own.
func forHost(c *runtime.Cluster, m runtime.Member, s settings) {
	s["node-name"] = m.Hostname
	s["node-ip"] = nodeAddresses(c, m)
	if len(m.Labels) > 0 {
		labels := list(s["node-label"])
		for k, v := range m.Labels {
			labels = append(labels, k+"="+v)
		}
		slices.Sort(labels)
		s["node-label"] = slices.Compact(labels)
	}
	if len(m.Taints) > 0 {
		s["node-taint"] = append(list(s["node-taint"]), m.Taints...)
	}
	if dir := c.DataDir.Kubelet; dir != "" {
		s["kubelet-arg"] = append(words(s["kubelet-arg"]), "root-dir="+dir)
	}
}

// forServer adds what all servers must be told alike.
func forServer(c *runtime.Cluster, s settings) {
	s["token"], s["agent-token"] = serverToken.String(), agentToken.String()
	s["tls-san"] = c.APINames(list(s["tls-san"])...)
	pods, services := networks(c)
	for key, value := range map[string]string{
		"cluster-cidr": strings.Join(pods, ","), "service-cidr": strings.Join(services, ","), "cluster-dns": c.Network.ClusterDNS,
	} {
		if value != "" {
			s[key] = value
		}
	}
}

// endpoint is the URL that hosts join by.
func endpoint(c *runtime.Cluster) string {
	if c.Endpoint != "" {
		return "https://" + c.Endpoint
	}
	return fmt.Sprintf("https://%s:%d", c.EndpointHost(), apiPort)
}
