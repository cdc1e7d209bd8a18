package builder

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// runStep executes a command on the tree so far.
type runStep struct {
	from
	argv    []string
	env     []string
	dir     string
	network sandbox.Network
}

func (s *runStep) do(ctx context.Context, b *building, _ int) error {
	b.lastRun = s.Instruction
	createdBy := "RUN " + strings.Join(s.argv, " ")
	key, err := s.key(b)
	if err != nil {
		return err
	}
	r, ok := b.cached(ctx, key)
	if ok {
		b.note("unchanged: the result is in the store")
	} else {
		if r, err = s.execute(ctx, b); err != nil {
			return err
		}
		if err := b.keep(key, r); err != nil {
			return err
		}
	}
	if r.Digest.Hex == "" {
		b.note("the command changed nothing in the image")
		b.image.addHistory(createdBy, b.Created, true)
		return nil
	}
	entries, err := viewLayer(ctx, b.Store, r.layer())
	if err != nil {
		return err
	}
	b.image.add(r, entries, createdBy, b.Created)
	return nil
}

// key is everything that the command's result can be known to depend on. That includes the tools of this machine,
// which the build sandbox shows.
func (s *runStep) key(b *building) (string, error) {
	h := b.newKey("run")
	for _, id := range b.image.config.RootFS.DiffIDs {
		fmt.Fprintf(h, "%s\n", id)
	}
	proxies := proxyArgs()
	env := slices.DeleteFunc(slices.Clone(s.env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(proxies, name)
	})
	fmt.Fprintf(h, "%q\n%q\n%q\n%q\n%q\n%t\n", s.argv, env, s.dir, s.network, b.AddHosts, os.Geteuid() == 0)
	if err := hashFiles(h, "/etc/os-release", "/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite"); err != nil {
		return "", fmt.Errorf("look at this machine's packages: %w", err)
	}
	return "build/run/" + hex.EncodeToString(h.Sum(nil)), nil
}

// execute runs the command and makes a layer of what it changed.
func (s *runStep) execute(ctx context.Context, b *building) (record, error) {
	trees, err := openTrees(b.Store)
	if err != nil {
		return record{}, err
	}
	work, remove, err := trees.temporary()
	if err != nil {
		return record{}, err
	}
	defer remove()
	var lowers []string
	for _, d := range slices.Backward(b.image.layers) {
		dir, err := trees.extract(ctx, d)
		if err != nil {
			return record{}, fmt.Errorf("unpack layer %s: %w", d.Digest, err)
		}
		lowers = append(lowers, dir)
	}
	c := sandbox.Config{
		Argv: s.argv, Env: s.env, Lowers: lowers, Upper: filepath.Join(work, "upper"), Work: filepath.Join(work, "work"),
		Dir: s.dir, Network: s.network, AddHosts: b.AddHosts, Stdout: b.Log, Stderr: b.Log,
	}
	if b.CAFile != "" {
		if c.CAFile, err = filepath.Abs(b.CAFile); err != nil {
			return record{}, err
		}
	}
	for _, dir := range []string{c.Upper, c.Work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return record{}, err
		}
	}
	if err := sandbox.Run(ctx, c); err != nil {
		return record{}, err
	}
	entries, err := changed(b.image.tree, c.Upper)
	if err != nil || len(entries) == 0 {
		return record{}, err
	}
	if err := b.Store.CheckSpace(totalSize(entries)); err != nil {
		return record{}, err
	}
	blob, err := b.writeLayer(ctx, layer.Sorted(entries))
	return recordOf(blob), err
}

// changed lists what an upper directory changes in the tree, without the traces of copying up: directories as they
// were, and deletions of what was not there.
func changed(t *tree, upper string) ([]layer.Entry, error) {
	var all []layer.Entry
	for e, err := range layer.FromOverlay(upper) {
		if err != nil {
			return nil, err
		}
		if os.Geteuid() != 0 { // the one id of the user namespace
			e.UID, e.GID = 0, 0
		}
		all = append(all, e)
	}
	needed := map[string]bool{}
	var kept []layer.Entry
	for _, e := range slices.Backward(all) {
		if needed[e.Name] || !unchanged(e, t) {
			kept = append(kept, e)
			needed[path.Dir(e.Name)] = true
		}
	}
	slices.Reverse(kept)
	return kept, nil
}

// unchanged says whether e leaves the tree as it is.
func unchanged(e layer.Entry, t *tree) bool {
	dir, base := path.Split(e.Name)
	dir = path.Clean(dir)
	if base == opaqueName {
		return !t.isDir(dir) || len(t.node(dir).children) == 0
	}
	if name, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return t.node(path.Join(dir, name)) == nil
	}
	n := t.node(e.Name)
	return e.Mode.IsDir() && n != nil && n.Mode == e.Mode && n.UID == e.UID && n.GID == e.GID && n.Mode&fs.ModeDir != 0
}
