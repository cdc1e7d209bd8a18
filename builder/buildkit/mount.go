package buildkit

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/sealrt/sealrt/builder"
)

// userMount adds mount i of the command.
func (d *definer) userMount(ctx context.Context, i int, m builder.Mount) error {
	switch m.Type {
	case builder.MountBind:
		tree, err := d.offer.tree(ctx, d.store, m.Layers, nil, d.platform)
		if err != nil {
			return err
		}
		d.mount(m.Target, tree, sourceOptions(m)...)
	case builder.MountCache:
		return d.cacheMount(ctx, m)
	case builder.MountTmpfs:
		d.mount(m.Target, llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(m.Size)))
	case builder.MountSecret:
		return d.secretMount(i, m)
	default:
		return fmt.Errorf("a BuildKit daemon has no mounts of type %q", m.Type)
	}
	return nil
}

// sourceOptions are those of mounts that show a tree. What a command writes to one is forgotten.
func sourceOptions(m builder.Mount) []llb.MountOption {
	mode := llb.ForceNoOutput
	if m.ReadOnly {
		mode = llb.Readonly
	}
	return []llb.MountOption{mode, llb.SourcePath("/" + m.Source)}
}

// cacheMount shows a directory that the daemon keeps. The tree is what it begins with.
func (d *definer) cacheMount(ctx context.Context, m builder.Mount) error {
	sharing, ok := map[string]llb.CacheMountSharingMode{
		"": llb.CacheMountShared, "shared": llb.CacheMountShared, "private": llb.CacheMountPrivate, "locked": llb.CacheMountLocked,
	}[m.Sharing]
	if !ok {
		return fmt.Errorf("unknown sharing %q: use shared, private or locked", m.Sharing)
	}
	tree, err := d.offer.tree(ctx, d.store, m.Layers, nil, d.platform)
	if err != nil {
		return err
	}
	if len(m.Layers) == 0 && (m.UID != 0 || m.GID != 0 || m.Mode != 0) {
		mode := m.Mode
		if mode == 0 {
			mode = 0o755
		}
		tree = tree.File(llb.Mkdir("/cache", mode, llb.WithUIDGID(m.UID, m.GID)), llb.WithCustomName("cache "+m.ID))
		m.Source = "cache"
	}
	opts := []llb.MountOption{llb.AsPersistentCacheDir("sealrt/"+m.ID, sharing), llb.SourcePath("/" + m.Source)}
	if m.ReadOnly {
		opts = append(opts, llb.Readonly)
	}
	d.mount(m.Target, tree, opts...)
	return nil
}

func (d *definer) secretMount(i int, m builder.Mount) error {
	if len(m.Secret) > secretsprovider.MaxSecretSize {
		return fmt.Errorf("the secret has %d bytes; a BuildKit daemon takes at most %d", len(m.Secret), secretsprovider.MaxSecretSize)
	}
	mode := m.Mode
	if mode == 0 {
		mode = 0o400
	}
	opts := []llb.SecretOption{llb.SecretFileOpt(m.UID, m.GID, int(mode.Perm()))}
	if m.Env != "" {
		opts = append(opts, llb.SecretAsEnvName(m.Env))
	}
	if m.Env == "" && m.Target == "" {
		return errors.New("the secret has neither a target nor a variable")
	}
	d.secret("secret/"+strconv.Itoa(i), m.Target, m.Secret, opts...)
	return nil
}
