package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Ports of the service where nothing else is said.
const (
	DefaultPort       = 5555 // of every host, on loopback
	DefaultMasterPort = 5557 // of masters, for the other hosts
)

// Files of the service, in its directory.
const (
	SettingsFile = "settings.json"
	MastersFile  = "masters"
	CAFile       = "ca.crt"
	CertFile     = "host.crt"
	KeyFile      = "host.key"
	imagesDir    = "images" // that were pushed, or fetched from another master
)

// Settings are what the service of one host is told. Other files lie in the
// directory of its settings.
type Settings struct {
	Cluster string `json:"cluster"`
	Host    string `json:"host"`             // its name, in what it says
	Port    int    `json:"port"`             // on loopback
	Listen  string `json:"listen,omitempty"` // HOST:PORT for other hosts; masters only
}

// Master reports whether other hosts are served too.
func (s Settings) Master() bool { return s.Listen != "" }

// ReadSettings reads a file of settings.
func ReadSettings(file string) (Settings, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Settings{}, fmt.Errorf("image service: %w", err)
	}
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Settings{}, fmt.Errorf("image service: %s: %w", file, err)
	}
	if s.Port <= 0 || s.Port > 65535 {
		return Settings{}, fmt.Errorf("image service: %s: port %d", file, s.Port)
	}
	return s, nil
}

// Format returns the text of the settings.
func (s Settings) Format() (string, error) {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return "", fmt.Errorf("settings of the image service: %w", err)
	}
	return string(raw) + "\n", nil
}

// besides returns where a file of the service lies that belongs to the settings
// in file.
func besides(file, name string) string { return filepath.Join(filepath.Dir(file), name) }

// Config is etc/registry_config.yml of a cluster image: what its author sets of
// the image service. The Clusterfile wins.
type Config struct {
	Port       int  `yaml:"port" json:"port"`             // of every host, on loopback; 0: DefaultPort
	MasterPort int  `yaml:"masterPort" json:"masterPort"` // of masters; 0: DefaultMasterPort
	Upstream   bool `yaml:"upstream" json:"upstream"`     // registries may be asked for what is not here
}

// ParseConfig reads such a file; name stands in errors. A key that is not known
// is an error with its line.
func ParseConfig(name string, text []byte) (Config, error) {
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: %s: known are port, masterPort and upstream", name, plainly(err))
	}
	for _, p := range []struct {
		key  string
		port int
	}{{"port", c.Port}, {"masterPort", c.MasterPort}} {
		if p.port < 0 || p.port > 65535 {
			return Config{}, fmt.Errorf("%s: %s: %d is no port", name, p.key, p.port)
		}
	}
	return c, nil
}

// plainly leaves out what the parser says of itself.
func plainly(err error) string {
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		return strings.NewReplacer(" in type registry.Config", "").Replace(strings.Join(typed.Errors, "; "))
	}
	return strings.TrimPrefix(err.Error(), "yaml: ")
}
