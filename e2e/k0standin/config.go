package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// config is what of a ClusterConfig counts here.
type config struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		API struct {
			Address         string   `json:"address"`
			ExternalAddress string   `json:"externalAddress"`
			SANs            []string `json:"sans"`
		} `json:"api"`
		Storage struct {
			Type string `json:"type"`
			Etcd struct {
				PeerAddress string `json:"peerAddress"`
			} `json:"etcd"`
		} `json:"storage"`
		Network struct {
			NodeLocalLoadBalancing struct {
				Enabled bool `json:"enabled"`
			} `json:"nodeLocalLoadBalancing"`
		} `json:"network"`
		Images struct {
			DefaultPullPolicy string `json:"default_pull_policy"`
		} `json:"images"`
	} `json:"spec"`

	alike string // a digest of all that controllers agree in
}

// fields of the specification that k0s knows
// (docs.k0sproject.io, "Configuration options").
var fields = strings.Fields("api storage network images controllerManager scheduler workerProfiles extensions installConfig install konnectivity telemetry featureGates") //nolint:gochecknoglobals // a table that nothing changes

func readConfig(path string) (*config, error) {
	if path == "" {
		path = "/etc/k0s/k0s.yaml"
	}
	raw, err := os.ReadFile(root(path))
	if err != nil {
		return nil, err
	}
	return parseConfig(path, raw)
}

func parseConfig(path string, raw []byte) (*config, error) {
	c, all := &config{}, map[string]any{}
	if err := errors.Join(yaml.Unmarshal(raw, c), yaml.Unmarshal(raw, &all)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	spec, _ := all["spec"].(map[string]any)
	for key := range spec {
		if !slices.Contains(fields, key) {
			return nil, fmt.Errorf("%s: unknown field %q", path, "spec."+key)
		}
	}
	switch {
	case c.APIVersion != "k0s.k0sproject.io/v1beta1" || c.Kind != "ClusterConfig":
		return nil, fmt.Errorf("%s: it is a %s %s and no ClusterConfig", path, c.APIVersion, c.Kind)
	case strings.Contains(string(raw), "⟨"):
		return nil, errors.New("the configuration holds a placeholder that nobody filled in")
	case net.ParseIP(c.Spec.API.Address) == nil:
		return nil, fmt.Errorf("spec: api: address: invalid value: %q: invalid IP address", c.Spec.API.Address)
	case c.Spec.Storage.Type == "etcd" && c.Spec.Storage.Etcd.PeerAddress != c.Spec.API.Address:
		return nil, fmt.Errorf("spec: storage: etcd: peerAddress %q is not the host's", c.Spec.Storage.Etcd.PeerAddress)
	case c.Spec.API.ExternalAddress != "" && c.Spec.Network.NodeLocalLoadBalancing.Enabled:
		return nil, errors.New("node-local load balancing cannot be used in conjunction with an external Kubernetes API server address")
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.ReplaceAll(string(text), `"`+c.Spec.API.Address+`"`, "HOST")))
	c.alike = hex.EncodeToString(sum[:])
	return c, nil
}

// validate says nothing where all is well, as k0s does; "-" is standard input.
func validate(path string) error {
	if path != "-" {
		_, err := readConfig(path)
		return err
	}
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	_, err = parseConfig(path, raw)
	return err
}

// hostname is the name of the host's node.
func hostname() (string, error) {
	if name := os.Getenv("STANDIN_HOSTNAME"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	return strings.ToLower(name), err
}
