package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// settings are those of config.yaml and its folder.
type settings map[string]any

// forBoth, forServers: the settings that k3s knows (https://docs.k3s.io/cli/server,
// https://docs.k3s.io/cli/agent), as far as anybody uses them here.
//
//nolint:gochecknoglobals // a table that nothing changes
var forBoth = strings.Fields(`data-dir debug v node-name node-ip node-label node-taint node-external-ip token token-file server
	kubelet-arg kube-proxy-arg selinux docker snapshotter pause-image private-registry resolv-conf flannel-iface
	protect-kernel-defaults lb-server-port prefer-bundled-bin disable-default-registry-endpoint with-node-id`)

// forServers are settings of servers alone.
//
//nolint:gochecknoglobals // a table that nothing changes
var forServers = strings.Fields(`cluster-init agent-token agent-token-file tls-san cluster-cidr service-cidr cluster-dns cluster-domain
	service-node-port-range flannel-backend flannel-external-ip flannel-ipv6-masq write-kubeconfig-mode write-kubeconfig disable
	disable-cloud-controller disable-helm-controller disable-network-policy disable-kube-proxy egress-selector-mode embedded-registry
	secrets-encryption kube-apiserver-arg kube-controller-manager-arg kube-scheduler-arg etcd-arg datastore-endpoint
	datastore-cafile datastore-certfile datastore-keyfile
	etcd-snapshot-schedule-cron etcd-snapshot-retention etcd-expose-metrics https-listen-port advertise-address bind-address`)

// critical are the settings in which all servers agree.
//
//nolint:gochecknoglobals // a table that nothing changes
var critical = strings.Fields(`agent-token cluster-cidr service-cidr cluster-dns cluster-domain disable-cloud-controller disable-helm-controller
	disable-network-policy egress-selector-mode embedded-registry flannel-backend flannel-external-ip flannel-ipv6-masq secrets-encryption`)

func readConfig(server bool) (settings, error) {
	files := []string{root(configDir + "/config.yaml")}
	more, err := filepath.Glob(root(configDir + "/config.yaml.d/*.yaml"))
	if err != nil {
		return nil, err
	}
	out := settings{}
	for _, f := range append(files, more...) {
		raw, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		part := settings{}
		if err := yaml.Unmarshal(raw, &part); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for key, value := range part {
			if !slices.Contains(forBoth, key) && !(server && slices.Contains(forServers, key)) {
				return nil, fmt.Errorf("%s: flag provided but not defined: -%s", f, key)
			}
			out[key] = value
		}
	}
	if strings.Contains(fmt.Sprint(out), "⟨") {
		return nil, errors.New("the configuration holds a placeholder that nobody filled in")
	}
	if out["node-name"] == nil {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		out["node-name"] = name
	}
	return out, nil
}

func (s settings) text(key string) string {
	if v, ok := s[key]; ok && v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (s settings) list(key string) []string {
	switch v := s[key].(type) {
	case string:
		return strings.Split(v, ",")
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}

// critical returns what all servers have to agree in.
func (s settings) critical() map[string]string {
	out := map[string]string{}
	for _, key := range critical {
		if v := s.text(key); v != "" {
			out[key] = digest(v)
		}
	}
	if slices.Contains(s.list("disable"), "servicelb") {
		out["disable servicelb"] = "true"
	}
	return out
}

// token returns the password of a token: K10<hash>::<user>:<password> or the
// password alone.
func (s settings) token() string { return password(s.text("token")) }

func password(token string) string {
	if !strings.HasPrefix(token, "K10") {
		return token
	}
	_, credential, _ := strings.Cut(token, "::")
	if _, p, ok := strings.Cut(credential, ":"); ok {
		return p
	}
	return credential
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// nodePassword is made once for a machine.
func nodePassword() (string, error) {
	const path = "/etc/rancher/node/password"
	raw, err := os.ReadFile(root(path))
	if err == nil && len(strings.TrimSpace(string(raw))) > 0 {
		return strings.TrimSpace(string(raw)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	p := random()
	return p, writeFile(path, 0o600, []byte(p+"\n"))
}
