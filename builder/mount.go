package builder

import (
	"context"
	"fmt"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// cacheMounts is the directory of a store that holds what cache mounts keep.
const cacheMounts = "mounts"

// Ways in which RUN commands at the same time share a cache mount.
const (
	sharingShared  = "shared"
	sharingPrivate = "private"
	sharingLocked  = "locked"
)

// runMount is a --mount whose origin was found.
type runMount struct {
	mountSpec
	text    string
	origin  *stage        // from=; nil: the context, or nothing
	entries []layer.Entry // of a bind from the context
}

// mount plans one --mount.
func (p *planner) mount(value string) (runMount, error) {
	spec, err := expandMount(value, p.expand)
	if err != nil {
		return runMount{}, err
	}
	m, err := p.mountOrigin(runMount{mountSpec: spec, text: value})
	if err != nil {
		return m, fmt.Errorf("--mount=%s: %w", value, err)
	}
	return m, nil
}

// mountOrigin finds where the mount takes files from.
func (p *planner) mountOrigin(m runMount) (_ runMount, err error) {
	switch {
	case m.From != "" && m.From != scratch:
		if m.origin, err = p.takeFrom(p.ctx, m.From); err != nil {
			return m, err
		}
		p.needs = append(p.needs, m.origin)
	case m.Type == MountBind && m.From == "":
		sources, err := collect(p.files, []string{path.Join(m.Source, ".")}, nil, false)
		if err != nil {
			return m, err
		}
		for _, s := range sources {
			for _, e := range s.entries {
				e.Name = path.Join(cleanSource(m.Source), e.Name)
				m.entries = append(m.entries, e)
			}
			if s.isDir && cleanSource(m.Source) != "" {
				e := newDir(cleanSource(m.Source)).Entry
				m.entries = append(m.entries, *e)
			}
		}
		inOrder(m.entries)
	case m.Type == MountSecret:
		if _, ok := p.Secrets[m.ID]; !ok && m.Required {
			return m, fmt.Errorf("there is no secret %s: give it with --secret id=%s,src=FILE", m.ID, m.ID)
		}
	}
	return m, nil
}

// lookUp returns the mount with everything that a Runner needs.
func (m runMount) lookUp(ctx context.Context, w *work) (Mount, error) {
	found := Mount{
		Type: m.Type, Target: m.target(w), ReadOnly: m.ReadOnly, ID: m.ID, Sharing: m.Sharing, Size: m.Size, Mode: m.Mode, UID: m.UID, GID: m.GID,
		Env: m.Env, Secret: w.Secrets[m.ID],
	}
	switch {
	case m.origin != nil:
		from, err := m.origin.solve(ctx)
		if err != nil {
			return found, err
		}
		found.Source = from.tree.resolve(cleanSource(m.Source))
		if from.tree.node(found.Source) == nil {
			return found, treeOrigin{from.tree, m.From}.missing(found.Source)
		}
		found.Layers, _, err = settledLayers(ctx, from)
		return found, err
	case m.Type == MountBind && m.From == "":
		found.Source = cleanSource(m.Source)
		if len(m.entries) == 0 {
			return found, nil
		}
		r, err := w.fileLayer(ctx, w.task, m.entries)
		found.Layers = []v1.Descriptor{r.layer()}
		return found, err
	}
	return found, nil
}

// target resolves a relative target against the working directory of the command.
func (m runMount) target(w *work) string {
	if m.Target == "" || path.IsAbs(m.Target) {
		return m.Target
	}
	dir := w.image.config.Config.WorkingDir
	if !hasShell(w.image.tree) {
		dir = path.Join(sandbox.TreeDir, dir)
	}
	return path.Join("/", dir, m.Target)
}
