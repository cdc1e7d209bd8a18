package registry

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/sealrt/sealrt/artifact"
)

// location is a repository in a registry.
type location struct {
	domain, path string
	insecure     bool // registries.conf says not to verify
	mirror       bool
}

func upstream(ref artifact.Reference) location {
	return location{domain: ref.Domain(), path: ref.Path()}
}

// system says to the containers libraries where their files are.
func (r *Client) system() *types.SystemContext {
	sys := &types.SystemContext{AuthFilePath: r.o.AuthFile}
	if r.o.RegistriesConf != "" { // with the drop-ins beside it, not the system's
		sys.SystemRegistriesConfPath, sys.SystemRegistriesConfDirPath = r.o.RegistriesConf, r.o.RegistriesConf+".d"
	}
	return sys
}

// configured returns what registries.conf says about ref, or nil (containers-registries.conf(5)).
func (r *Client) configured(ref artifact.Reference) (*sysregistriesv2.Registry, error) {
	reg, err := sysregistriesv2.FindRegistry(r.system(), ref.String())
	if err != nil {
		return nil, fmt.Errorf("%s: read registries.conf: %w", ref.Familiar(), err)
	}
	if reg != nil && reg.Blocked {
		return nil, fmt.Errorf("%s: registry %s is blocked by registries.conf (%s): name the image in another registry, or unblock this one there", ref.Familiar(), reg.Prefix,
			sysregistriesv2.ConfigurationSourceDescription(r.system()))
	}
	return reg, nil
}

// target returns where ref is written to: its own registry, unless that is blocked.
func (r *Client) target(ref artifact.Reference) (location, error) {
	l := upstream(ref)
	reg, err := r.configured(ref)
	if reg != nil {
		l.insecure = reg.Insecure
	}
	return l, err
}

// sources lists where ref can be read, mirrors first.
func (r *Client) sources(ref artifact.Reference) ([]location, error) {
	reg, err := r.configured(ref)
	if reg == nil || err != nil {
		return []location{upstream(ref)}, err
	}
	named, err := reference.ParseNormalizedNamed(ref.Name())
	if err == nil {
		if h, ok := ref.Digest(); ok {
			named, err = reference.ParseNormalizedNamed(ref.Name() + "@" + h.String())
		} else if ref.Tag() != "" {
			named, err = reference.ParseNormalizedNamed(ref.Name() + ":" + ref.Tag())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	list, err := reg.PullSourcesFromReference(named)
	if err != nil {
		return nil, fmt.Errorf("%s: registries.conf: %w", ref.Familiar(), err)
	}
	out := make([]location, 0, len(list))
	for i, s := range list {
		out = append(out, location{
			domain: reference.Domain(s.Reference), path: reference.Path(s.Reference),
			insecure: s.Endpoint.Insecure, mirror: i < len(list)-1,
		})
	}
	return out, nil
}

// fromSources calls try for each place that ref can be read from until one has what is asked for. A mirror that cannot
// be reached is not asked again. When all fail the error is that of the registry itself, with those of the mirrors.
func (r *Client) fromSources(ctx context.Context, ref artifact.Reference, try func(location) error) error {
	list, err := r.sources(ref)
	if err != nil {
		return err
	}
	var tried []error
	for _, l := range list {
		if err := r.isDead(l); err != nil {
			tried = append(tried, err)
			continue
		}
		err := try(l)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !l.mirror {
			return errors.Join(append([]error{err}, tried...)...)
		}
		err = fmt.Errorf("mirror %s: %w", l.domain, err)
		r.bury(l, err)
		tried = append(tried, err)
	}
	return errors.Join(tried...)
}

func (r *Client) isDead(l location) error {
	if !l.mirror {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead[l.domain]
}

// bury remembers mirrors that do not answer; ones that lack an image do.
func (r *Client) bury(l location, err error) {
	var se *statusError
	if !errors.As(err, &se) {
		r.abandon(l, err)
	}
}

// abandon asks a mirror no more.
func (r *Client) abandon(l location, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead[l.domain] = err
}
