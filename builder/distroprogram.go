package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// askFor is how long a distribution's program may take to say which images it needs.
const askFor = time.Minute

// maxAnswer is how many bytes of what it prints are read.
const maxAnswer = 1 << 20

// distroQuery is a command line of a distribution's program that prints images, one a line.
type distroQuery struct {
	args     []string
	optional bool // it prints those of all settings, not of the default ones alone
}

// distroQueries returns how the program of a distribution is asked: for k0s docs/cli/k0s_airgap_list-images.md, for
// kubeadm `kubeadm config images list`, which asks the network when it is told no version. k3s has files instead.
func distroQueries(kind artifact.Kind) []distroQuery {
	switch kind.Distro {
	case "k0s":
		return []distroQuery{{args: []string{"airgap", "list-images"}}, {args: []string{"airgap", "list-images", "--all"}, optional: true}}
	case "kubernetes":
		return []distroQuery{{args: []string{"config", "images", "list", "--kubernetes-version", kind.Version}}}
	}
	return nil
}

// distroConfigs are where an image may have what its distribution is told: k0s says other images for another configuration
// (spec.images, spec.network.nodeLocalLoadBalancing). The first that is there counts, as it does on hosts.
func distroConfigs(distro string) []string {
	if distro == "k0s" {
		return []string{"etc/k0s.yaml", "etc/k0s/k0s.yaml"}
	}
	return nil
}

// distroConfig returns the one that the tree has, "" if none; a template is none, and is told of in note.
func (w *work) distroConfig(distro string) (name, note string) {
	for _, name := range distroConfigs(distro) {
		switch {
		case w.hasFile(name + ".tmpl"):
			return "", name + ".tmpl is a template: what its images are called is not known here, and those of the defaults were asked for"
		case w.hasFile(name):
			return name, ""
		}
	}
	return "", ""
}

// program is a distribution's program in a tree.
type program struct {
	name   string   // where it is run
	names  []string // of the file, and of the links that lead to it
	kind   artifact.Kind
	config string // that it is asked about, in the tree; may be empty
}

// askProgram returns what a program of the tree says. The same program is asked once.
func (w *work) askProgram(ctx context.Context, name, config string, kind artifact.Kind) (answer, error) {
	names := w.image.tree.chain(name)
	p := program{name: names[0], names: names, kind: kind}
	if config != "" {
		more := w.image.tree.chain(config)
		p.names, p.config = slices.Concat(names, more), more[len(more)-1]
	}
	key := w.versionKey(p)
	if a, ok := w.recall(key); ok {
		return a, nil
	}
	if why, err := w.cannotRun(name); why != "" || err != nil {
		return answer{Why: why}, err
	}
	layers, diffIDs, err := w.layersOf(ctx, p.names)
	if err != nil {
		return answer{}, err
	}
	content := p.key("content", diffIDs)
	a, known := w.recall(content)
	if !known {
		if a, err = w.run(ctx, p, layers, diffIDs); err != nil {
			return answer{}, err
		}
		a.Digest = layers[len(layers)-1].Digest
	}
	if a.chance {
		return a, nil
	}
	return a, w.remember(a, key, content)
}

// cannotRun says why a program is no use here, if so.
func (w *work) cannotRun(name string) (why string, err error) {
	f, err := treeFS{w.image.tree}.Open(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", w.File.Name, err)
	}
	defer f.Close()
	arch, ok, err := programPlatform(f)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: read %s: %w", w.File.Name, name, err)
	case !ok:
		return "it is no program that this machine could run", nil
	case arch != w.Platform.Architecture:
		return fmt.Sprintf("it is a program for %s, and this machine is %s", arch, w.Platform.Architecture), nil
	}
	return "", nil
}

// chain returns the names that lead to a file: its own last, and those of links before it.
func (t *tree) chain(name string) (names []string) {
	for range maxLinks {
		dir, base := path.Split(name)
		name = path.Join(t.resolve(path.Clean(dir)), base)
		names = append(names, name)
		n := t.node(name)
		if n == nil || n.Mode&fs.ModeSymlink == 0 {
			break
		}
		if path.IsAbs(n.Linkname) {
			name = dotless(path.Clean(n.Linkname))
		} else {
			name = dotless(path.Join("/", path.Dir(name), n.Linkname))
		}
	}
	return names
}

// layersOf returns the layers that have the files, bottom first.
func (w *work) layersOf(ctx context.Context, names []string) (layers []v1.Descriptor, diffIDs []v1.Hash, err error) {
	left := slices.Clone(names)
	for i := len(w.image.layers) - 1; i >= 0 && len(left) > 0; i-- {
		r, err := w.image.layers[i].wait(ctx)
		if err != nil {
			return nil, nil, err
		}
		entries, err := w.viewLayer(ctx, r.layer())
		if err != nil {
			return nil, nil, err
		}
		before := len(left)
		for _, e := range entries {
			left = slices.DeleteFunc(left, func(name string) bool { return name == e.Name })
		}
		if len(left) < before {
			layers, diffIDs = slices.Insert(layers, 0, r.layer()), slices.Insert(diffIDs, 0, r.DiffID)
		}
	}
	if len(layers) == 0 {
		return nil, nil, fmt.Errorf("%s: no layer has it", names[0])
	}
	return layers, diffIDs, nil
}

// run asks a program, which sees no network and nothing of the tree but the layers with itself and its configuration. Whatever it does is an answer; an error
// is that of ctx.
func (w *work) run(ctx context.Context, p program, layers []v1.Descriptor, diffIDs []v1.Hash) (a answer, err error) {
	t := w.newTask("[" + w.target.String() + "] ask " + p.name + " which images it needs")
	t.work()
	defer t.done()
	timed, cancel := context.WithTimeoutCause(ctx, askFor, fmt.Errorf("it took longer than %s", askFor))
	defer cancel()
	ask := func(args []string) (string, error) {
		var said said
		changes, err := w.runner.Run(timed, Command{
			Layers: layers, DiffIDs: diffIDs, Platform: w.platform, Argv: append([]string{sandbox.TreeDir + "/" + p.name}, args...),
			Dir: "/", Network: sandbox.NetworkNone, Log: &said,
		})
		if err == nil {
			err = changes.Close()
		}
		var exit *sandbox.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("`%s %s`: %w: %s", path.Base(p.name), strings.Join(args, " "), err, said.last())
		}
		return said.String(), err
	}
	if p.kind.Distro == "kubernetes" && p.kind.Version == "" {
		text, err := ask([]string{"version", "-o", "short"})
		if err != nil {
			return failed(ctx, err)
		}
		p.kind.Version = strings.TrimSpace(text)
	}
	for _, q := range distroQueries(p.kind) {
		args := slices.Clone(q.args)
		if p.config != "" {
			args = append(args, "--config", sandbox.TreeDir+"/"+p.config)
		}
		text, err := ask(args)
		if err == nil {
			l := distroList{Args: args, Images: imagesIn(text), Optional: q.optional}
			if len(l.Images) > 0 {
				a.Lists = append(a.Lists, l)
				continue
			}
			err = &silence{fmt.Sprintf("`%s %s` printed no images", path.Base(p.name), strings.Join(args, " "))}
		}
		if q.optional && ctx.Err() == nil { // older programs do not know the question
			continue
		}
		return failed(ctx, err)
	}
	return a, nil
}

// silence is that a program ran and said nothing of use.
type silence struct{ text string }

func (e *silence) Error() string { return e.text }

// failed makes an answer of the error of asking.
func failed(ctx context.Context, err error) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, context.Cause(ctx)
	}
	var exit *sandbox.ExitError
	var nothing *silence
	return answer{Why: err.Error(), chance: !errors.As(err, &exit) && !errors.As(err, &nothing)}, nil
}

// said keeps the beginning of what a program prints.
type said struct{ bytes.Buffer }

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.Buffer.Write(p[:min(len(p), maxAnswer-s.Len())])
	return len(p), nil
}

// last returns the last line.
func (s *said) last() string {
	lines := strings.Split(strings.TrimSpace(s.String()), "\n")
	return shorten(lines[len(lines)-1])
}
