package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// definition is a command in the words of a daemon.
type definition struct {
	llb     *llb.Definition
	offer   *offer
	secrets map[string][]byte // by ID
	targets []string          // where something is mounted over the root that the command sees
	name    string            // of the command's vertex
}

// definer turns one command into a definition.
type definer struct {
	*Engine
	definition
	command  builder.Command
	platform ocispecs.Platform
	opts     []llb.RunOption
}

// define returns the definition whose result is the tree after the command.
func (e *Engine) define(ctx context.Context, c builder.Command) (*definition, error) {
	if len(c.DiffIDs) != len(c.Layers) {
		return nil, fmt.Errorf("a tree of %d layers has %d diff IDs", len(c.Layers), len(c.DiffIDs))
	}
	p, err := e.platform(c.Platform)
	if err != nil {
		return nil, err
	}
	d := &definer{Engine: e, command: c, platform: p}
	d.offer, d.secrets, d.name = newOffer(), map[string][]byte{}, commandName(c)
	tree, err := d.offer.tree(ctx, e.store, c.Layers, c.DiffIDs, p)
	if err != nil {
		return nil, err
	}
	root := tree
	if !c.HasShell {
		if e.tools == nil {
			return nil, errNoTools
		}
		if root, err = e.tools.state(ctx, d.offer, v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}); err != nil {
			return nil, err
		}
		d.mount(sandbox.TreeDir, tree)
	}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	run := d.process(root).Run(d.opts...)
	result := run.Root()
	if !c.HasShell {
		result = run.GetMount(sandbox.TreeDir)
	}
	d.llb, err = result.Marshal(ctx, llb.Platform(p))
	return &d.definition, err
}

// commandName is what displays call the command.
func commandName(c builder.Command) string {
	if len(c.Script) > 0 {
		line, _, _ := strings.Cut(string(c.Script), "\n")
		return "RUN " + line
	}
	return "RUN " + strings.Join(c.Argv, " ")
}

// mount adds a mount and notes where it is.
func (d *definer) mount(target string, source llb.State, opts ...llb.MountOption) {
	d.targets = append(d.targets, target)
	d.opts = append(d.opts, llb.AddMount(target, source, opts...))
}

// secret adds a file that only the command sees.
func (d *definer) secret(id, target string, content []byte, opts ...llb.SecretOption) {
	d.secrets[id] = content
	if target == "" {
		d.opts = append(d.opts, llb.AddSecretWithDest(id, nil, opts...))
		return
	}
	d.targets = append(d.targets, target)
	d.opts = append(d.opts, llb.AddSecretWithDest(id, &target, opts...))
}

// prepare adds what the command runs, and all that is mounted for it.
func (d *definer) prepare(ctx context.Context) error {
	c := d.command
	argv := c.Argv
	if len(c.Script) > 0 {
		script := llb.Scratch().File(llb.Mkfile("/script", 0o755, c.Script), llb.WithCustomName("script of "+d.name))
		d.mount(sandbox.ScriptFile, script, llb.SourcePath("/script"), llb.Readonly)
		argv = []string{sandbox.ScriptFile}
	}
	if len(argv) == 0 {
		return errors.New("no command")
	}
	d.opts = append(d.opts, llb.Args(argv), llb.WithCustomName(d.name))
	if c.NoCache {
		d.opts = append(d.opts, llb.IgnoreCache)
	}
	for i, m := range c.Mounts {
		if err := d.userMount(ctx, i, m); err != nil {
			return fmt.Errorf("mount at %s: %w", m.Target, err)
		}
	}
	for _, pair := range c.AddHosts {
		host, ip, err := parseHost(pair)
		if err != nil {
			return err
		}
		d.opts = append(d.opts, llb.AddExtraHost(host, ip))
	}
	if c.CAFile == "" {
		return nil
	}
	bundle, err := sandbox.Certificates(c.CAFile, secretsprovider.MaxSecretSize)
	if err != nil {
		return err
	}
	d.secret("ca", sandbox.CABundle, bundle, llb.SecretFileOpt(0, 0, 0o444))
	return nil
}

// process returns root with what a process there begins with.
func (d *definer) process(root llb.State) llb.State {
	c := d.command
	for _, kv := range sandbox.Environ(c.Env, c.User, c.HasShell, c.CAFile != "") {
		name, value, _ := strings.Cut(kv, "=")
		root = root.AddEnv(name, value)
	}
	dir := path.Join("/", c.Dir)
	if !c.HasShell {
		dir = path.Join(sandbox.TreeDir, c.Dir)
	}
	root = root.Dir(dir).Hostname(sandbox.Hostname)
	if c.User != "" {
		root = root.User(c.User)
	}
	switch c.Network {
	case sandbox.NetworkNone:
		root = root.Network(pb.NetMode_NONE)
	case sandbox.NetworkHost:
		root = root.Network(pb.NetMode_HOST)
	}
	return root
}

// parseHost reads host:ip and host=ip, as sandbox.Config has them.
func parseHost(pair string) (string, net.IP, error) {
	host, text, ok := strings.Cut(pair, "=")
	if !ok {
		host, text, ok = strings.Cut(pair, ":")
	}
	ip := net.ParseIP(strings.Trim(text, "[]"))
	if !ok || host == "" || ip == nil {
		return "", nil, fmt.Errorf("add host %q: write it as name:address, such as registry.local:10.0.0.2", pair)
	}
	return host, ip, nil
}
