package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/sandbox"
	"github.com/sealrt/sealrt/kubefile"
)

// runStep executes a command on the tree so far.
type runStep struct {
	from
	argv    []string
	script  string // with an interpreter of its own, instead of argv
	env     []string
	dir     string
	user    string
	network sandbox.Network
	mounts  []runMount
}

// run replaces the variables of the flags of a RUN, and finds what it mounts.
func (p *planner) run(i *kubefile.Run) (step, error) {
	s := &runStep{from: from{i}, env: p.forRun(), dir: p.workdir, user: p.user}
	if i.Network != "default" {
		s.network = sandbox.Network(i.Network)
	}
	s.argv = i.Command
	h, isScript := i.Script()
	switch {
	case isScript && strings.HasPrefix(h.Text(), "#!"):
		s.argv, s.script = nil, h.Text()
	case i.Shell:
		s.argv = append(append([]string{}, p.shell...), shellText(i))
	}
	for _, value := range i.Mounts {
		m, err := p.mount(value)
		if err != nil {
			return nil, err
		}
		s.mounts = append(s.mounts, m)
	}
	return s, p.canRun()
}

// canRun says whether commands of the stage's platform can run.
func (p *planner) canRun() error {
	if p.Runner != nil {
		return nil // which knows its platforms
	}
	return localPlatform(*p.Platform, p.platform)
}

// shellText is what the shell of a RUN reads: its heredocs are the shell's own.
func shellText(i *kubefile.Run) string {
	if h, ok := i.Script(); ok {
		return h.Text()
	}
	text := strings.Join(i.Command, " ")
	for _, h := range i.Heredocs {
		text += "\n" + h.Content + h.Name
	}
	return text
}

// createdBy is the command as the image's history shows it.
func (s *runStep) createdBy() string {
	if s.script != "" {
		return "RUN " + s.script
	}
	return "RUN " + strings.Join(s.argv, " ")
}

func (s *runStep) await(ctx context.Context, m *image) error {
	for _, mount := range s.mounts {
		if mount.origin == nil {
			continue
		}
		if _, err := mount.origin.solve(ctx); err != nil {
			return err
		}
	}
	_, err := m.settle(ctx)
	return err
}

func (s *runStep) do(ctx context.Context, w *work) error {
	w.lastRun = s.Instruction
	c, err := s.command(ctx, w)
	if err != nil {
		return err
	}
	key, err := s.key(ctx, w, c)
	if err != nil {
		return err
	}
	made, err, _ := w.shared.Do(key, func() (any, error) {
		if r, ok := w.cache.find(ctx, key); ok {
			return r, nil
		}
		r, err := s.execute(ctx, w, c)
		if err == nil {
			err = w.cache.keep(key, r)
		}
		return r, err
	})
	if err != nil {
		return err
	}
	r := made.(record) //nolint:forcetypeassert // the function above returns nothing else
	if r.empty() {
		w.task.note("the command changed nothing in the image")
		w.image.addHistory(s.createdBy(), w.Created, true)
		return nil
	}
	w.OnLayer(ctx, r.layer())
	entries, err := w.viewLayer(ctx, r.layer())
	if err != nil {
		return err
	}
	w.image.add(there(r), entries, s.createdBy(), w.Created)
	if !c.HasShell {
		w.image.remark(remarkSandbox)
	}
	return nil
}

// remarkSandbox marks layers in the history that the tools of some machine made, and that another machine may make
// otherwise.
const remarkSandbox = "made with the tools of the builder's machine"

// command waits for the tree and looks up what is mounted.
func (s *runStep) command(ctx context.Context, w *work) (Command, error) {
	c := Command{
		Platform: w.platform, HasShell: hasShell(w.image.tree), Argv: s.argv, Script: []byte(s.script), Env: s.env, Dir: s.dir, User: s.user,
		Network: s.network, AddHosts: w.AddHosts, NoCache: w.NoCache, Log: w.task.output(),
	}
	if !c.HasShell {
		c.User = numbered(w.image.tree, c.User)
	}
	var err error
	if w.CAFile != "" {
		if c.CAFile, err = filepath.Abs(w.CAFile); err != nil {
			return c, err
		}
	}
	if c.Layers, c.DiffIDs, err = settledLayers(ctx, w.image); err != nil {
		return c, err
	}
	for _, m := range s.mounts {
		if _, given := w.Secrets[m.ID]; m.Type == MountSecret && !given {
			continue // or the plan would have failed
		}
		mount, err := m.lookUp(ctx, w)
		if err != nil {
			return c, fmt.Errorf("--mount=%s: %w", m.text, err)
		}
		c.Mounts = append(c.Mounts, mount)
	}
	return c, nil
}

// hasShell says whether commands can run inside the tree.
func hasShell(t *tree) bool {
	info, err := treeFS{t}.Stat("bin/sh")
	return err == nil && info.Mode().IsRegular()
}

// key is everything that the command's result can be known to depend on.
func (s *runStep) key(ctx context.Context, w *work, c Command) (string, error) {
	who, err := w.runner.Identity(ctx, c)
	if err != nil {
		return "", err
	}
	h := w.newKey("run")
	for _, id := range c.DiffIDs {
		fmt.Fprintf(h, "%s\n", id)
	}
	proxies := proxyArgs()
	env := slices.DeleteFunc(slices.Clone(s.env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(proxies, name)
	})
	fmt.Fprintf(h, "%q\n%q\n%q\n%q\n%q\n%q\n%q\n%q\n%s\n", who, c.Platform.String(), s.argv, s.script, env, s.dir, s.user, s.network, strings.Join(w.AddHosts, " "))
	for _, m := range c.Mounts { // a secret's content is no part of the key, as in Dockerfiles
		fmt.Fprintf(h, "%s %q %t %q %v %q %q %d %d %d %d\n", m.Type, m.Target, m.ReadOnly, m.Source, m.Layers, m.ID, m.Env, m.Size, m.Mode, m.UID, m.GID)
	}
	return store.HeldRecords + "/" + endKey("run", h), nil // what commands made is kept until the cache is pruned
}

// execute runs the command and makes a layer of what it changed.
func (s *runStep) execute(ctx context.Context, w *work, c Command) (r record, err error) {
	w.task.work()
	if w.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.Timeout, fmt.Errorf("the command took longer than %s: make it faster, or give it more time with --timeout", w.Timeout))
		defer cancel()
	}
	changes, err := w.runner.Run(ctx, c)
	if err != nil {
		return record{}, err
	}
	defer func() { err = errors.Join(err, changes.Close()) }()
	entries, err := changed(w.image.tree, changes.Entries)
	if err != nil || len(entries) == 0 {
		return record{}, err
	}
	if r, err = w.writeLayer(ctx, w.task, entries); err != nil {
		return record{}, err
	}
	v, err := viewOf(entries, r.layer())
	if err != nil {
		return record{}, err
	}
	return r, v.keep(w.Store, r.layer())
}

// settledLayers waits for the layers of an image.
func settledLayers(ctx context.Context, m *image) (layers []v1.Descriptor, diffIDs []v1.Hash, err error) {
	records, err := m.settle(ctx)
	for _, r := range records {
		layers = append(layers, r.layer())
		diffIDs = append(diffIDs, r.DiffID)
	}
	return layers, diffIDs, err
}
