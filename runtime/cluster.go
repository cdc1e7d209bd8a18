package runtime

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
)

// Clusterfile returns the document that describes c: one entry for each host.
// Secrets are named by where they are.
func (c *Cluster) Clusterfile() *clusterfile.Document {
	c = c.asWritten()
	f := &clusterfile.Document{
		File: clusterfile.File{
			APIVersion: clusterfile.APIVersion,
			Kind:       clusterfile.Kind,
			Metadata:   clusterfile.Metadata{Name: c.Name},
			Spec:       c.Spec,
		},
		Others: c.Others,
	}
	f.Spec.Image, f.Spec.Hosts = nil, nil
	for _, i := range c.Images {
		f.Spec.Image = append(f.Spec.Image, i.Ref.String())
		for _, p := range i.Patches {
			f.Spec.Image = append(f.Spec.Image, p.String())
		}
	}
	for _, m := range c.Members {
		f.Spec.Hosts = append(f.Spec.Hosts, clusterfile.Host{
			Address: clusterfile.Strings{m.Address}, Role: string(m.Role), Hostname: m.Hostname, NodeIP: m.NodeIP, OtherNodeIP: m.OtherIP,
			Arch: m.Arch, Init: m.Init, Labels: own(c.Labels, m.Labels), Taints: beyond(c.Taints, m.Taints), Env: m.Env, SSH: differing(c.SSH, m.SSH),
		})
	}
	return f
}

// MembersOf returns the hosts of a specification one by one, each with what
// the specification says for all.
func MembersOf(s clusterfile.Spec) ([]Member, error) {
	var out []Member
	for _, h := range s.Hosts {
		for _, list := range h.Address {
			addresses, err := host.ParseAddresses(list)
			if err != nil {
				return nil, err
			}
			for _, a := range addresses {
				m := Member{
					Address: a.String(), Role: Role(h.Role), Hostname: h.Hostname, NodeIP: h.NodeIP, OtherIP: h.OtherNodeIP, Arch: h.Arch, Init: h.Init,
					Labels: over(s.Labels, h.Labels), Taints: slices.Concat(s.Taints, beyond(s.Taints, h.Taints)), Env: h.Env, SSH: reach(s.SSH, h.SSH),
				}
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// over returns what the second map says over the first.
func over(all, own map[string]string) map[string]string {
	if len(all)+len(own) == 0 {
		return nil
	}
	out := maps.Clone(all)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, own)
	return out
}

// reach returns how one host is reached: as it says itself, else as all are.
func reach(all, own clusterfile.SSH) clusterfile.SSH {
	return clusterfile.SSH{
		User:           cmp.Or(own.User, all.User),
		Port:           cmp.Or(own.Port, all.Port),
		Identity:       cmp.Or(own.Identity, all.Identity),
		Become:         cmp.Or(own.Become, all.Become),
		ProxyJump:      cmp.Or(own.ProxyJump, all.ProxyJump),
		AcceptNew:      own.AcceptNew || all.AcceptNew,
		Password:       cmp.Or(own.Password, all.Password),
		BecomePassword: cmp.Or(own.BecomePassword, all.BecomePassword),
	}
}

// own returns what the second map says beyond the first.
func own(all, of map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range of {
		if before, ok := all[k]; !ok || before != v {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// beyond returns what the second list has beyond the first.
func beyond(all, of []string) []string {
	var out []string
	for _, s := range of {
		if !slices.Contains(all, s) {
			out = append(out, s)
		}
	}
	return out
}

// differing returns how one host is reached where that is not how all are.
func differing(all, of clusterfile.SSH) clusterfile.SSH {
	unless := func(a, b string) string {
		if a == b {
			return ""
		}
		return b
	}
	out := clusterfile.SSH{
		User: unless(all.User, of.User), Identity: unless(all.Identity, of.Identity), Become: unless(all.Become, of.Become),
		ProxyJump: unless(all.ProxyJump, of.ProxyJump), AcceptNew: of.AcceptNew && !all.AcceptNew,
		Password: unless(all.Password, of.Password), BecomePassword: unless(all.BecomePassword, of.BecomePassword),
	}
	if of.Port != all.Port {
		out.Port = of.Port
	}
	return out
}
