package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

// checkNetwork refuses what is no network.
func checkNetwork(n clusterfile.Network) error {
	for flag, list := range map[string]clusterfile.Strings{"--pod-cidr": n.PodCIDR, "--service-cidr": n.ServiceCIDR} {
		for _, cidr := range list {
			if p, err := netip.ParsePrefix(cidr); err != nil || p != p.Masked() {
				return usageError{fmt.Errorf("%s %q: write a network like 10.244.0.0/16", flag, list)}
			}
		}
	}
	return nil
}

// continued completes what is asked of a cluster with what it was made with:
// a second run repeats nothing that the first one was told. It refuses to
// forget a host, and to change what a cluster that stands was made with.
func continued(s *state.Folder, name string, asked *clusterfile.Spec) error {
	before, err := s.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := runtime.MembersOf(*asked)
	if err != nil {
		return err
	}
	then, err := runtime.MembersOf(before.Spec)
	if err != nil {
		return err
	}
	roles := map[string]runtime.Role{}
	for _, m := range now {
		roles[m.Name()] = m.Role
	}
	for _, m := range then {
		switch role, ok := roles[m.Name()]; {
		case !ok:
			return fmt.Errorf("host %s is a %s of the cluster %s, and this command does not name it: name all hosts of the cluster, or reset it first", m.Name(), m.Role, name)
		case role != m.Role:
			return fmt.Errorf("host %s is a %s of the cluster %s, not a %s: name it with --%ss, or reset the cluster first", m.Name(), m.Role, name, role, m.Role)
		}
	}
	asked.SSH = merged(asked.SSH, before.Spec.SSH)
	_, err = os.Stat(s.KubeconfigPath())
	stands := err == nil
	values := []struct {
		what   string
		asked  *clusterfile.Strings
		before clusterfile.Strings
	}{
		{"--pod-cidr", &asked.Network.PodCIDR, before.Spec.Network.PodCIDR},
		{"--service-cidr", &asked.Network.ServiceCIDR, before.Spec.Network.ServiceCIDR},
	}
	for _, v := range values {
		if len(*v.asked) == 0 {
			*v.asked = v.before
		} else if stands && !slices.Equal(*v.asked, v.before) {
			return fixed(name, v.what, v.before.String())
		}
	}
	texts := []struct {
		what          string
		asked         *string
		before, usual string
	}{
		{"spec.endpoint", &asked.Endpoint, before.Spec.Endpoint, ""},
		{"spec.runtime", &asked.Runtime, before.Spec.Runtime, "containerd"},
		{"spec.network.clusterDNS", &asked.Network.ClusterDNS, before.Spec.Network.ClusterDNS, ""},
		{"spec.dataDir.sealrt", &asked.DataDir.Sealrt, before.Spec.DataDir.Sealrt, runtime.Home},
		{"spec.dataDir.containerd", &asked.DataDir.Containerd, before.Spec.DataDir.Containerd, ""},
		{"spec.dataDir.kubelet", &asked.DataDir.Kubelet, before.Spec.DataDir.Kubelet, ""},
		{"spec.dataDir.etcd", &asked.DataDir.Etcd, before.Spec.DataDir.Etcd, ""},
	}
	for _, v := range texts {
		if *v.asked == "" {
			*v.asked = v.before
		} else if stands && cmp.Or(*v.asked, v.usual) != cmp.Or(v.before, v.usual) {
			return fixed(name, v.what, v.before)
		}
	}
	for k, v := range before.Spec.Env {
		if _, ok := asked.Env[k]; !ok {
			asked.Env[k] = v
		}
	}
	for k, v := range asked.Env {
		if old, ok := before.Spec.Env[k]; stands && (!ok || old != v) {
			return fixed(name, "-e "+k, old)
		}
	}
	return nil
}

// changeable refuses what the distribution cannot make of a cluster that stands
// as it was. nil: there is none.
func (k *known) changeable(before *clusterfile.Document) error {
	if _, err := os.Stat(k.state.KubeconfigPath()); before == nil || errors.Is(err, fs.ErrNotExist) {
		return nil // what was never made to its end is nothing yet
	}
	made, err := loadImages(k.state)
	if errors.Is(err, fs.ErrNotExist) || err == nil && made[0].Kind.Distro != k.driver.Name() {
		return nil // an upgrade refuses that
	}
	if err != nil {
		return err
	}
	members, err := runtime.MembersOf(before.Spec)
	if err != nil {
		return err
	}
	was := &runtime.Cluster{Spec: before.Spec, Name: k.cluster.Name, Members: members, Others: before.Others, Images: []runtime.Image{made[0].image()}}
	is := *k.cluster
	is.Images = is.Images[:1]
	if image := k.cluster.Image(); image.Digest == made[0].Digest {
		was.Images[0] = image // states of before do not have its settings
	} else if was.Images[0].Configurable() {
		is.Images = []runtime.Image{was.Images[0]} // the settings of another image are an upgrade's
	}
	if err := runtime.CheckChange(k.driver, was, &is); err != nil {
		return fmt.Errorf("the cluster %s stands: %w", k.cluster.Name, err)
	}
	return nil
}

// fixed refuses to change what a cluster was made with.
func fixed(cluster, what, before string) error {
	if before == "" {
		before = "the default"
	}
	return fmt.Errorf("the cluster %s stands, and was made with %s for %s: that cannot be changed by this version of sealrt: leave it away, or reset the cluster first", cluster, before, what)
}

// knownSettings refuses a setting that no image knows: one that is mistyped
// would change nothing.
func knownSettings(images []runtime.Image, settings map[string]string) error {
	for name := range settings {
		known, err := asksFor(images, name)
		if err != nil {
			return err
		}
		if !known {
			return usageError{fmt.Errorf("-e %s: no image has such a setting (%s has: %s)", name, images[0].Ref.Familiar(), strings.Join(names(images[0].Env), ", "))}
		}
	}
	return nil
}

// asksFor reports whether an image has the setting in its ENV, or a template
// that names it.
func asksFor(images []runtime.Image, name string) (bool, error) {
	found := false
	for _, i := range images {
		found = found || slices.Contains(names(i.Env), name)
		err := fs.WalkDir(i.Files, ".", func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, runtime.TemplateSuffix) {
				return err
			}
			text, err := fs.ReadFile(i.Files, file)
			found = found || strings.Contains(string(text), name)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	return found, nil
}

// names returns the names of variables, K=V.
func names(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		out = append(out, name)
	}
	return out
}

// parseSettings reads -e NAME=VALUE.
func parseSettings(list []string) (map[string]string, error) {
	settings := map[string]string{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usageError{fmt.Errorf("-e %q: write NAME=VALUE", kv)}
		}
		if err := clusterfile.CheckSetting(k, v); err != nil {
			return nil, usageError{fmt.Errorf("-e %s: %w", k, err)}
		}
		if file, ok := strings.CutPrefix(v, "file:"); ok && !strings.HasPrefix(file, "~/") {
			abs, err := filepath.Abs(file) // later commands are called elsewhere
			if err != nil {
				return nil, err
			}
			v = "file:" + abs
		}
		settings[k] = v
	}
	return settings, nil
}
